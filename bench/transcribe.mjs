// Speech to text: our server beside the transformers library on the same recording, one at a time, in a rotated order.
import { spawn } from 'node:child_process'
import { openAsBlob } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { root } from './lib/machine.mjs'
import { count, counts, required } from './lib/options.mjs'
import { peakResidentBytes, startServer } from './lib/process.mjs'
import { printHead, reportHead, writeReport } from './lib/report.mjs'
import { median, summarizeFields } from './lib/statistics.mjs'
import { format, formatSummary, table } from './lib/table.mjs'

const fields = [
  ['speed', 'x real time'],
  ['realTimeFactor', 'real-time factor'],
  ['latencyP50', 'answer p50 s'],
]

async function ask(url, file) {
  const form = new FormData()
  form.set('file', await openAsBlob(file), basename(file))
  form.set('response_format', 'json')
  const began = performance.now()
  const response = await fetch(`${url}/v1/audio/transcriptions`, { method: 'POST', body: form })
  const answer = await response.json()
  if (!response.ok) throw new Error(answer.error?.message ?? `status ${response.status}`)
  return { seconds: (performance.now() - began) / 1000, duration: answer.usage.seconds, text: answer.text }
}

/** `streams` clients at once, each with so many requests, after one that warms up. */
async function measureOurs({ model, file, flags, requests }, streams) {
  const args = (port) => [join(root, 'dist', 'cli', 'main.js'), model, '--port', String(port), '--log-level', 'warning', ...flags]
  const server = await startServer(process.execPath, args)
  try {
    await ask(server.url, file)
    const began = performance.now()
    const client = async () => {
      const answers = []
      for (let i = 0; i < requests; i++) answers.push(await ask(server.url, file))
      return answers
    }
    const answers = (await Promise.all(Array.from({ length: streams }, client))).flat()
    return figures(answers, (performance.now() - began) / 1000, server.pid)
  } finally {
    await server.stop()
  }
}

/** The library works one recording off after the other, however many wait. */
async function measureLibrary({ model, file, python, threads, requests }, streams) {
  const child = spawn(python, [join(root, 'bench', 'lib', 'whisper-peer.py'), model, String(threads)], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, HF_HUB_OFFLINE: '1' },
  })
  let errors = ''
  child.stderr.on('data', (data) => (errors = (errors + data).slice(-2000)))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => {
    const { value, done } = await lines.next()
    if (done) throw new Error(`${python} ended:\n${errors}`)
    return JSON.parse(value)
  }
  const one = () => {
    child.stdin.write(`${file}\n`)
    return next()
  }
  try {
    const { ready } = await next()
    await one()
    const began = performance.now()
    const answers = []
    for (let i = 0; i < streams * requests; i++) {
      const answer = await one()
      // those that come at once wait for each other
      answers.push({ ...answer, seconds: streams > 1 ? (performance.now() - began) / 1000 : answer.seconds })
    }
    return { ready, ...figures(answers, (performance.now() - began) / 1000, child.pid) }
  } finally {
    child.stdin.end()
    child.kill()
  }
}

function figures(answers, seconds, pid) {
  const audio = answers.reduce((sum, { duration }) => sum + duration, 0)
  return {
    audioSeconds: audio,
    seconds,
    speed: audio / seconds,
    realTimeFactor: seconds / audio,
    latencyP50: median(answers.map((answer) => answer.seconds)),
    peakResidentBytes: peakResidentBytes(pid),
    text: answers[0].text,
  }
}

export async function run(values) {
  const options = {
    model: required(values, 'model'),
    file: required(values, 'file'),
    python: values.python,
    flags: (values.flags ?? '--dtype float32').split(' ').filter(Boolean),
    threads: count(values, 'threads', availableParallelism()),
    requests: count(values, 'requests', 2),
  }
  options.flags.push('--threads', String(options.threads))
  const streamCounts = counts(values, 'streams', '1,4')
  const rounds = count(values, 'rounds', 3)
  const all = [{ name: 'tfserve', measure: measureOurs }]
  if (options.python) all.push({ name: 'transformers', measure: measureLibrary })
  const head = reportHead('transcribe', { ...options, streams: streamCounts, rounds })
  printHead(head)

  const runs = []
  for (let round = 0; round < rounds; round++) {
    for (const streams of streamCounts) {
      for (const { name, measure } of all.map((_, i) => all[(i + round) % all.length])) {
        const result = await measure(options, streams)
        runs.push({ contender: name, round, streams, ...result })
        console.log(
          `round ${round + 1}, ${streams} at once, ${name}: ${format(result.speed)} x real time, answer after ${format(result.latencyP50)} s`,
        )
      }
    }
  }
  const summaries = streamCounts.flatMap((streams) =>
    all.map(({ name }) => {
      const own = runs.filter((r) => r.streams === streams && r.contender === name)
      return { streams, contender: name, ...summarizeFields(own, [...fields.map(([field]) => field), 'peakResidentBytes']) }
    }),
  )
  for (const streams of streamCounts) {
    const of = summaries.filter((s) => s.streams === streams)
    console.log(`\n${streams} at once`)
    console.log(
      table(
        ['', ...fields.map(([, title]) => title), 'peak GB'],
        of.map((s) => [s.contender, ...fields.map(([field]) => formatSummary(s[field])), format(s.peakResidentBytes.median / 1e9)]),
      ),
    )
    if (of.length < 2) continue
    // ratios within a round, then their median: what a slow minute of the machine does to both is left out
    const speed = (name, round) => runs.find((r) => r.streams === streams && r.round === round && r.contender === name).speed
    const ratios = Array.from({ length: rounds }, (_, round) => speed('tfserve', round) / speed('transformers', round))
    console.log(`tfserve / transformers: x${format(median(ratios))}`)
  }
  const texts = new Set(runs.map(({ text }) => text.trim()))
  if (texts.size > 1) console.log(`\nThe texts differ:\n${[...texts].join('\n---\n')}`)
  const charts = fields.map(([field, title]) => ({
    title,
    unit: field === 'latencyP50' ? 's' : '',
    groups: streamCounts.map((streams) => `${streams} at once`),
    series: all.map(({ name }) => ({
      name,
      values: streamCounts.map((streams) => summaries.find((s) => s.streams === streams && s.contender === name)[field]),
    })),
  }))
  writeReport({ ...head, summaries, runs }, charts, values.json)
}
