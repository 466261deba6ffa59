// Our paged cache and attention beside upstream's, over the same weights in one process. No HTTP, no tokenizer.
import { randomTokens, timedGeneration, withEngine } from './lib/engine.mjs'
import { count, counts, required } from './lib/options.mjs'
import { printHead, reportHead, writeReport } from './lib/report.mjs'
import { summarizeFields } from './lib/statistics.mjs'
import { formatSummary, table } from './lib/table.mjs'
import { randomSource } from './load-client.mjs'

const modes = [
  ['paged', true],
  ['upstream', false],
]
const fields = [
  ['prefillTokensPerSecond', 'prefill tok/s'],
  ['decodeTokensPerSecond', 'decode tok/s'],
]

function measure({ path, dtype, kvDtype, context, maxTokens, streams, pagedKv, seed }) {
  // room for all of them at once, so that neither mode preempts
  const options = {
    path,
    dtype,
    kvCacheDtype: kvDtype,
    pagedKv,
    prefixCaching: false,
    maxNumSeqs: streams,
    maxModelLen: context + maxTokens + 16,
  }
  return withEngine(options, async (engine) => {
    const random = randomSource(seed)
    const prompts = Array.from({ length: streams }, () => randomTokens(random, context, engine.info.vocabSize))
    await timedGeneration(engine, prompts[0].slice(0, 32), 4)
    const began = performance.now()
    const results = await Promise.all(prompts.map((prompt) => timedGeneration(engine, prompt, maxTokens)))
    const lastFirst = Math.max(...results.map((r) => r.times[0]))
    const firstLast = Math.min(...results.map((r) => r.times.at(-1)))
    const together = results.reduce((sum, r) => sum + r.times.filter((t) => t > lastFirst && t <= firstLast).length, 0)
    const { preemptions } = await engine.stats()
    return {
      prefillTokensPerSecond: (streams * context * 1000) / (lastFirst - began),
      decodeTokensPerSecond: firstLast > lastFirst ? (together * 1000) / (firstLast - lastFirst) : null,
      preemptions,
      kernel: engine.info.attentionKernel,
      threads: engine.info.threads,
    }
  })
}

export async function run(values) {
  const shape = {
    path: required(values, 'model'),
    dtype: values.dtype ?? 'bfloat16',
    kvDtype: values['kv-dtype'] ?? 'float16',
    context: count(values, 'context', 512),
    maxTokens: count(values, 'max-tokens', 64),
  }
  const streamCounts = counts(values, 'streams', '1,8,32')
  const rounds = count(values, 'rounds', 3)
  const head = reportHead('attention', { ...shape, streams: streamCounts, rounds })
  printHead(head)
  const runs = []
  for (let round = 0; round < rounds; round++) {
    for (const streams of streamCounts) {
      for (const [mode, pagedKv] of round % 2 ? [...modes].reverse() : modes) {
        const result = await measure({ ...shape, streams, pagedKv, seed: round * 100 + streams })
        runs.push({ mode, round, streams, ...result })
        console.log(
          `round ${round + 1}, ${streams} sequences, ${mode}: ${fields.map(([f, title]) => `${title} ${result[f]?.toFixed(1)}`).join(', ')}`,
        )
      }
    }
  }
  const names = fields.map(([field]) => field)
  const summaries = streamCounts.flatMap((streams) =>
    modes.map(([mode]) => ({
      streams,
      mode,
      ...summarizeFields(
        runs.filter((r) => r.streams === streams && r.mode === mode),
        names,
      ),
    })),
  )
  console.log()
  console.log(
    table(
      ['sequences, attention', ...fields.map(([, title]) => title)],
      summaries.map((s) => [`${s.streams}, ${s.mode}`, ...names.map((field) => formatSummary(s[field]))]),
    ),
  )
  for (const streams of streamCounts) {
    const of = (mode) => summaries.find((s) => s.streams === streams && s.mode === mode)
    const ratios = fields.map(([field, title]) => `${title} x${(of('paged')[field].median / of('upstream')[field].median).toFixed(2)}`)
    console.log(`${streams} sequences, paged / upstream: ${ratios.join(', ')}`)
  }
  const charts = fields.map(([field, title]) => ({
    title: title.replace(' tok/s', ''),
    unit: 'tok/s',
    groups: streamCounts.map((streams) => `${streams} sequences`),
    series: modes.map(([name]) => ({
      name,
      values: streamCounts.map((n) => summaries.find((s) => s.streams === n && s.mode === name)[field]),
    })),
  }))
  writeReport({ ...head, summaries, runs }, charts, values.json)
}
