// What the HTTP side costs: the server over a stand-in whose steps take a fixed time and no CPU to speak of. The front cannot tell it from a model:
// it gets the same frames from the same worker, one a step. Requests, connections and their ends are counted in; so is what the kernel does on the
// receiving side, as the client is on this machine. The clients and the worker take turns with the front on the same cores, so that it finds its
// caches cold at every step, as beside a model; at shorter steps than those of 2,000 tokens a second a token costs less.
import { join } from 'node:path'
import { root } from './lib/machine.mjs'
import { count, counts } from './lib/options.mjs'
import { childrenOf, cpuSeconds, kernelSeconds, startServer } from './lib/process.mjs'
import { printHead, reportHead, writeReport } from './lib/report.mjs'
import { summarizeFields } from './lib/statistics.mjs'
import { formatSummary, table } from './lib/table.mjs'
import { runLoad } from './load-client.mjs'

// tokens a second that the shares of a core are told for
const rate = 2000

const transports = ['uws', 'node']
const fields = [
  ['frontShare', 'front CPU % at 2,000 tok/s'],
  ['frontKernelShare', 'of it kernel'],
  ['workerShare', 'worker CPU % at 2,000 tok/s'],
  ['outputTokensPerSecond', 'tok/s'],
  ['itlP50', 'ITL p50 ms'],
  ['itlP99', 'ITL p99 ms'],
]

async function measure(transport, streams, maxTokens, stepMs, seed) {
  const standIn = JSON.stringify({ stepMicros: Math.round(stepMs * 1000), tokenMicros: 0 })
  const args = (port) => [
    ...[join(root, 'dist', 'cli', 'main.js'), '--port', String(port), '--log-level', 'warning'],
    ...['--transport', transport, '--stand-in', standIn, '--max-num-seqs', String(Math.max(streams, 1))],
  ]
  const server = await startServer(process.execPath, args)
  try {
    // a server lives for long: what compiling its hot paths takes in the first seconds is not in the figure
    await runLoad({ url: server.url, streams, requests: 2, words: 10, maxTokens: 128, seed })
    const workers = childrenOf(server.pid)
    const cpu = () => [cpuSeconds(server.pid), kernelSeconds(server.pid), workers.reduce((sum, pid) => sum + cpuSeconds(pid), 0)]
    const [front, frontKernel, worker] = cpu()
    const result = await runLoad({ url: server.url, streams, requests: 2, words: 10, maxTokens, seed: seed + 1 })
    const [frontAfter, frontKernelAfter, workerAfter] = cpu()
    const share = (seconds) => (100 * seconds * rate) / result.outputTokens
    return {
      transport,
      ...result,
      frontCpuSeconds: frontAfter - front,
      frontShare: share(frontAfter - front),
      frontKernelShare: share(frontKernelAfter - frontKernel),
      workerShare: share(workerAfter - worker),
    }
  } finally {
    await server.stop()
  }
}

export async function run(values) {
  const streamCounts = counts(values, 'streams', '64')
  const rounds = count(values, 'rounds', 3)
  const maxTokens = count(values, 'max-tokens', 256)
  const stepMs = Number(values['step-ms'] ?? 30)
  const head = reportHead('front', { streams: streamCounts, rounds, maxTokens, stepMs })
  printHead(head)
  const runs = []
  for (let round = 0; round < rounds; round++) {
    for (const streams of streamCounts) {
      for (const transport of round % 2 ? [...transports].reverse() : transports) {
        const result = await measure(transport, streams, maxTokens, stepMs, round * 100)
        runs.push({ round, ...result })
        console.log(
          `round ${round + 1}, ${streams} streams, ${transport}: front ${result.frontShare.toFixed(1)} % of a core at 2,000 tok/s`,
        )
        if (result.failed) console.log(`  ${result.failed} of ${result.requests} FAILED: ${result.error}`)
      }
    }
  }
  const names = fields.map(([field]) => field)
  const summaries = streamCounts.flatMap((streams) =>
    transports.map((transport) => ({
      streams,
      transport,
      ...summarizeFields(
        runs.filter((r) => r.streams === streams && r.transport === transport),
        names,
      ),
    })),
  )
  console.log()
  console.log(
    table(
      ['streams, transport', ...fields.map(([, title]) => title)],
      summaries.map((s) => [`${s.streams}, ${s.transport}`, ...names.map((field) => formatSummary(s[field]))]),
    ),
  )
  const chart = (field, title, unit) => ({
    title,
    unit,
    groups: streamCounts.map((streams) => `${streams} streams`),
    series: transports.map((name) => ({
      name,
      values: streamCounts.map((n) => summaries.find((s) => s.streams === n && s.transport === name)[field]),
    })),
  })
  const charts = [
    chart('frontShare', 'Front process at 2,000 tokens/s', '% of a core'),
    chart('workerShare', 'Worker at 2,000 tokens/s', '% of a core'),
  ]
  writeReport({ ...head, summaries, runs }, charts, values.json)
}
