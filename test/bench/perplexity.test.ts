// npm run bench -- perplexity, on the embedded model.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Engine } from '../../src/index.js'
import { modelPath } from '../support/goldens.js'

const main = fileURLToPath(new URL('../../bench/main.mjs', import.meta.url))
const text = 'A page holds sixteen tokens. A sequence holds pages. When pages run out, the youngest sequence waits. '.repeat(6)

interface Result {
  tokens: number
  scored: number
  nll: number
  perplexity: number
}
interface Report {
  context: number
  stride: number
  differencePercent?: number
  results: Result[]
}

let folder: string
let engine: Engine
let ids: number[]
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tfserve-perplexity-'))
  engine = await Engine.load({ path: modelPath('tfserve-demo'), dtype: 'float32', threads: 1, logLevel: 'error' })
  ids = [...(await engine.tokenize(text))]
  writeFileSync(join(folder, 'text.txt'), text)
  writeFileSync(join(folder, 'ids.json'), JSON.stringify(ids))
})
afterAll(async () => {
  rmSync(folder, { recursive: true })
  await engine.close()
})

async function bench(...args: string[]): Promise<{ report: Report; stdout: string }> {
  const json = join(folder, 'report.json')
  const common = ['--dtype', 'float32', '--threads', '1', '--json', json]
  const { stdout } = await promisify(execFile)(process.execPath, [main, 'perplexity', ...args, ...common])
  return { report: JSON.parse(readFileSync(json, 'utf8')) as Report, stdout }
}

/** Negative log probabilities of tokens [1, n) of one window. */
async function nllsOf(window: number[]): Promise<number[]> {
  const nlls: number[] = []
  for await (const { promptLogprobs } of engine.generate({ tokens: window, max_new_tokens: 0, prompt_logprobs: 0 })) {
    for (const entry of promptLogprobs ?? []) if (entry) nlls.push(-entry.logprob)
  }
  return nlls
}
const sum = (values: number[]) => values.reduce((total, value) => total + value, 0)

describe('bench perplexity', () => {
  test('is exp of the mean over a text in one window, and compares it with a reference', async () => {
    const nlls = await nllsOf(ids)
    const perplexity = Math.exp(sum(nlls) / nlls.length)
    const { report, stdout } = await bench('--text', join(folder, 'text.txt'), '--at', '16', '--reference', String(perplexity * 2))
    const [first, whole] = report.results as [Result, Result]
    expect(first).toMatchObject({ tokens: 16, scored: 15 })
    expect(first.nll).toBeCloseTo(sum(nlls.slice(0, 15)), 2)
    expect(whole).toMatchObject({ tokens: ids.length, scored: ids.length - 1 })
    expect(whole.perplexity / perplexity).toBeCloseTo(1, 5)
    expect(report.differencePercent).toBeCloseTo(-50, 3)
    expect(stdout).toContain('-50.0')
  })

  test('counts every token once where windows overlap', async () => {
    const [context, stride, n] = [32, 20, 101]
    const counted: number[] = []
    for (let begin = 0; counted.length < n - 1; begin += stride) {
      const nlls = await nllsOf(ids.slice(begin, Math.min(begin + context, n)))
      counted.push(...nlls.slice(counted.length - begin))
    }
    const { report } = await bench(
      '--ids',
      join(folder, 'ids.json'),
      '--tokens',
      `${n}`,
      '--context',
      `${context}`,
      '--stride',
      `${stride}`,
    )
    expect(report).toMatchObject({ context, stride, results: [{ tokens: n, scored: n - 1 }] })
    expect(report.results[0]!.nll).toBeCloseTo(sum(counted), 2)
  })

  test('leaves out the first token of each window where they do not overlap', async () => {
    const { report } = await bench('--ids', join(folder, 'ids.json'), '--tokens', '100', '--context', '30')
    expect(report.results[0]).toMatchObject({ tokens: 100, scored: 96 })
  })

  test.each([
    [['--text', 'x', '--ids', 'y'], /not both/],
    [['--tokens', '1'], /fewer than two tokens/],
    [['--reference', '0'], /--reference/],
    [['one', 'two'], /Name one model/],
    [['./no-such-model'], /no-such-model/],
  ])('%j ends with a sentence', async (args, sentence) => {
    await expect(bench(...args)).rejects.toMatchObject({ code: 1, stderr: expect.stringMatching(sentence) as string })
  })
})
