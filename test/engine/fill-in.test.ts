// Prompts for filling in, with the tokens of each notation added to a tokenizer.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { FillIn } from '../../src/engine/fill-in.js'
import { openTokenizer, type Tokenizer } from '../../src/engine/tokenizer.js'
import { modelPath } from '../support/goldens.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tfserve-fill-in-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** A fixture's tokenizer with further tokens. */
function withTokens(name: string, tokens: readonly string[]): Tokenizer {
  const file = JSON.parse(readFileSync(join(modelPath(name), 'tokenizer.json'), 'utf8')) as {
    added_tokens: object[]
    model: { vocab: Record<string, number> }
  }
  const first = Math.max(...Object.values(file.model.vocab)) + 100
  for (const [i, content] of tokens.entries()) {
    file.added_tokens.push({ id: first + i, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })
  }
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(file))
  return openTokenizer(folder, { converted: false, added: [] }, {})
}

const ids = async (tokenizer: Tokenizer, text: string): Promise<number[]> => [...(await tokenizer.encode(text, false))]

// byte-level: the ids of parts side by side are those of the whole text with the tokens in it
test.each([
  ['Qwen2.5-Coder', ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>'], '<|fim_prefix|>def f(<|fim_suffix|>):\n  pass<|fim_middle|>'],
  ['StarCoder', ['<fim_prefix>', '<fim_suffix>', '<fim_middle>'], '<fim_prefix>def f(<fim_suffix>):\n  pass<fim_middle>'],
  ['SantaCoder', ['<fim-prefix>', '<fim-suffix>', '<fim-middle>'], '<fim-prefix>def f(<fim-suffix>):\n  pass<fim-middle>'],
  ['DeepSeek Coder', ['<｜fim▁begin｜>', '<｜fim▁hole｜>', '<｜fim▁end｜>'], '<｜fim▁begin｜>def f(<｜fim▁hole｜>):\n  pass<｜fim▁end｜>'],
  ['Codestral', ['[PREFIX]', '[SUFFIX]', '[MIDDLE]'], '[SUFFIX]):\n  pass[PREFIX]def f('],
  ['Seed-Coder', ['<[fim-prefix]>', '<[fim-suffix]>', '<[fim-middle]>'], '<[fim-suffix]>):\n  pass<[fim-prefix]>def f(<[fim-middle]>'],
])('the notation of %s', async (_name, tokens, text) => {
  const tokenizer = withTokens('llama', tokens)
  const head = [...(await tokenizer.encode('', true))]
  expect(head).toHaveLength(1)
  const fillIn = await FillIn.of(tokenizer)
  expect([...(await fillIn.ids('def f(', '):\n  pass'))]).toEqual([...head, ...(await ids(tokenizer, text))])
})

test('Code Llama: no space before either part, and an end of its own', async () => {
  const tokenizer = withTokens('llama2', ['▁<PRE>', '▁<SUF>', '▁<MID>', '▁<EOT>'])
  const [pre, suf, mid, eot] = (await Promise.all(['▁<PRE>', '▁<SUF>', '▁<MID>', '▁<EOT>'].map((token) => ids(tokenizer, token)))).flat()
  const fillIn = await FillIn.of(tokenizer)
  expect(fillIn.ends).toEqual([eot])
  const prompt = [...(await fillIn.ids('the river', 'a server'))]
  const bare = async (text: string) => (await ids(tokenizer, `\n${text}`)).slice((await ids(tokenizer, '\n')).length)
  expect(prompt.slice(1)).toEqual([pre, ...(await bare('the river')), suf, ...(await bare('a server')), mid])
  expect(await bare('the river')).not.toEqual(await ids(tokenizer, 'the river'))
})

test('what ends an answer is what the tokenizer has of it', async () => {
  const tokenizer = withTokens('llama', ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>', '<|fim_pad|>', '<|file_sep|>'])
  const ends = (await Promise.all(['<|fim_pad|>', '<|file_sep|>'].map((token) => ids(tokenizer, token)))).flat()
  expect((await FillIn.of(tokenizer)).ends).toEqual(expect.arrayContaining(ends))
})

test.each(['llama', 'llama2'])('%s has no tokens for it', async (name) => {
  await expect(FillIn.of(withTokens(name, []))).rejects.toMatchObject({ code: 'unsupported_parameter', param: 'suffix' })
})

test('a part of a notation is none', async () => {
  await expect(FillIn.of(withTokens('llama', ['<fim_prefix>', '<fim_suffix>']))).rejects.toMatchObject({ param: 'suffix' })
})
