// Our server beside a llama-server: each round starts every contender anew, one at a time, in a rotated order.
import { join } from 'node:path'
import { root } from './lib/machine.mjs'
import { count, counts, required } from './lib/options.mjs'
import { peakResidentBytes, startServer } from './lib/process.mjs'
import { printHead, reportHead, writeReport } from './lib/report.mjs'
import { median, summarizeFields } from './lib/statistics.mjs'
import { format, formatSummary, table } from './lib/table.mjs'
import { runLoad } from './load-client.mjs'

const fields = [
  ['totalTokensPerSecond', 'all tok/s'],
  ['outputTokensPerSecond', 'output tok/s'],
  ['decodeTokensPerSecond', 'decode tok/s'],
  ['ttftP50', 'TTFT p50 ms'],
  ['ttftP99', 'TTFT p99 ms'],
  ['itlP50', 'ITL p50 ms'],
  ['itlP90', 'ITL p90 ms'],
  ['itlP99', 'ITL p99 ms'],
]

// tokens of one stream of the peer's divided cache: the prompt (about 1.15 tokens a word, and the template's own), the answer, some air
const streamTokens = (words, maxTokens) => Math.ceil((words * 1.15 + 100 + maxTokens) / 64) * 64

function contenders({ model, peer, peerModel, flags, words, maxTokens }) {
  const ours = {
    name: 'tfserve',
    command: process.execPath,
    args: () => (port) => [join(root, 'dist', 'cli', 'main.js'), model, '--port', String(port), '--log-level', 'warning', ...flags],
  }
  if (!peer) return [ours]
  const base = (port) => ['-m', peerModel, '--host', '127.0.0.1', '--port', String(port)]
  return [
    ours,
    { name: 'llama-server', command: peer, args: () => base },
    {
      name: 'llama-server, best flags',
      command: peer,
      args: (streams) => (port) => [
        ...base(port),
        ...['-np', String(streams), '--no-kv-unified', '-fa', 'on', '-c', String(streams * streamTokens(words, maxTokens)), '-cram', '0'],
      ],
    },
  ]
}

const requestsFor = (streams) => (streams === 1 ? 4 : streams <= 8 ? 2 : 1)

export async function run(values) {
  const options = {
    model: required(values, 'model'),
    peer: values.peer,
    peerModel: values.peer ? required(values, 'peer-model') : undefined,
    flags: (values.flags ?? '--dtype bfloat16').split(' ').filter(Boolean),
    words: count(values, 'words', 380),
    maxTokens: count(values, 'max-tokens', 64),
  }
  const streamCounts = counts(values, 'streams', '1,8,32')
  const rounds = count(values, 'rounds', 3)
  const all = contenders(options)
  const head = reportHead(
    'serve',
    { ...options, streams: streamCounts, rounds, commands: all.map((c) => [c.name, c.args(streamCounts.at(-1))('PORT').join(' ')]) },
    options.peer,
  )
  printHead(head)

  const runs = []
  for (let round = 0; round < rounds; round++) {
    for (const streams of streamCounts) {
      const order = all.map((_, i) => all[(i + round) % all.length])
      for (const contender of order) {
        const server = await startServer(contender.command, contender.args(streams))
        try {
          const requests = count(values, 'requests', requestsFor(streams))
          const seed = round * 1000 + streams
          const result = await runLoad({ url: server.url, streams, requests, words: options.words, maxTokens: options.maxTokens, seed })
          runs.push({ contender: contender.name, round, ...result, peakResidentBytes: peakResidentBytes(server.pid) })
          const failed = result.failed ? `, ${result.failed} FAILED (${result.error})` : ''
          console.log(
            `round ${round + 1}, ${streams} streams, ${contender.name}: ${format(result.totalTokensPerSecond)} tok/s, ` +
              `TTFT ${format(result.ttftP50)} ms, ITL ${format(result.itlP50)} ms${failed}`,
          )
        } finally {
          await server.stop()
        }
      }
    }
  }

  const summaries = streamCounts.flatMap((streams) =>
    all.map(({ name }) => {
      const own = runs.filter((r) => r.streams === streams && r.contender === name)
      const names = [...fields.map(([field]) => field), 'peakResidentBytes', 'inputTokens', 'outputTokens', 'failed']
      return { streams, contender: name, ...summarizeFields(own, names) }
    }),
  )
  for (const streams of streamCounts) {
    const of = summaries.filter((s) => s.streams === streams)
    console.log(`\n${streams} stream${streams === 1 ? '' : 's'}`)
    console.log(
      table(
        ['', ...fields.map(([, title]) => title), 'peak GB'],
        of.map((s) => [s.contender, ...fields.map(([field]) => formatSummary(s[field])), format(s.peakResidentBytes.median / 1e9)]),
      ),
    )
    for (const other of of.slice(1)) {
      // ratios within a round, then their median: what a slow minute of the machine does to both is left out
      const ratio = (field) => {
        const value = (name, round) => runs.find((r) => r.streams === streams && r.round === round && r.contender === name)?.[field] ?? NaN
        return median(
          Array.from({ length: rounds }, (_, round) => value('tfserve', round) / value(other.contender, round)).filter(Number.isFinite),
        )
      }
      console.log(`tfserve / ${other.contender}: ${fields.map(([field, title]) => `${title} x${format(ratio(field))}`).join(', ')}`)
    }
    const inputs = new Set(of.map((s) => s.inputTokens.median))
    if (inputs.size > 1) console.log(`Prompt tokens differ between contenders (${[...inputs].join(', ')}): compare with care.`)
  }

  const charts = [fields[0], fields[2], fields[3], fields[7]].map(([field, title]) => ({
    title: title.replace(/ (tok\/s|ms)$/, ''),
    unit: title.endsWith('ms') ? 'ms' : 'tok/s',
    groups: streamCounts.map((streams) => `${streams} streams`),
    series: all.map(({ name }) => ({
      name,
      values: streamCounts.map((streams) => summaries.find((s) => s.streams === streams && s.contender === name)[field]),
    })),
  }))
  writeReport({ ...head, summaries, runs }, charts, values.json)
  const failed = runs.reduce((sum, r) => sum + r.failed, 0)
  if (failed > 0) throw new Error(`${failed} requests failed: these figures are no measurement.`)
}
