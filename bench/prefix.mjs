// What the prefix cache saves: time to the first token of a long prompt, of the same prompt again, and of another end on the same prefix.
import { randomTokens, timedGeneration, withEngine } from './lib/engine.mjs'
import { count, required } from './lib/options.mjs'
import { printHead, reportHead, writeReport } from './lib/report.mjs'
import { summarizeFields } from './lib/statistics.mjs'
import { formatSummary, table } from './lib/table.mjs'
import { randomSource } from './load-client.mjs'

const tailTokens = 16
const fields = [
  ['firstMs', 'first time'],
  ['againMs', 'the same prompt again'],
  ['otherEndMs', `same prefix, ${tailTokens} other tokens`],
]

async function measure(engine, tokens, rounds) {
  const random = randomSource(11)
  const make = (n) => randomTokens(random, n, engine.info.vocabSize)
  const ttft = async (ids) => {
    const { start, times, cachedTokens } = await timedGeneration(engine, ids, 1)
    return { ms: times[0] - start, cachedTokens }
  }
  await timedGeneration(engine, make(64), 4)
  const runs = []
  for (let round = 0; round < rounds; round++) {
    const prefix = make(tokens)
    const prompt = [...prefix, ...make(tailTokens)]
    const first = await ttft(prompt)
    const again = await ttft(prompt)
    const other = await ttft([...prefix, ...make(tailTokens)])
    runs.push({
      round,
      firstMs: first.ms,
      againMs: again.ms,
      otherEndMs: other.ms,
      cachedTokens: [first, again, other].map((r) => r.cachedTokens),
    })
    console.log(
      `round ${round + 1}: ${first.ms.toFixed(0)} ms, again ${again.ms.toFixed(1)} ms, other end ${other.ms.toFixed(1)} ms (cached ${other.cachedTokens})`,
    )
  }
  return runs
}

export async function run(values) {
  const path = required(values, 'model')
  const tokens = count(values, 'tokens', 2000)
  const rounds = count(values, 'rounds', 5)
  const dtype = values.dtype ?? 'bfloat16'
  const head = reportHead('prefix', { model: path, dtype, tokens, tailTokens, rounds })
  printHead(head)
  const runs = await withEngine({ path, dtype }, (engine) => measure(engine, tokens, rounds))
  const summary = summarizeFields(
    runs,
    fields.map(([field]) => field),
  )
  console.log()
  console.log(
    table(
      [`${tokens} + ${tailTokens} tokens`, 'ms', 'share of the first'],
      fields.map(([field, title]) => [
        title,
        formatSummary(summary[field]),
        `${((100 * summary[field].median) / summary.firstMs.median).toFixed(1)} %`,
      ]),
    ),
  )
  const charts = [
    {
      title: 'Time to first token',
      unit: 'ms',
      groups: fields.map(([, title]) => title),
      series: [{ name: 'tfserve', values: fields.map(([field]) => summary[field]) }],
    },
  ]
  writeReport({ ...head, summary, runs }, charts, values.json)
}
