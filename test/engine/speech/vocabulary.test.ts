import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { bytePairs, textOf } from '../../../src/engine/speech/byte-pairs.js'
import { checkpointVocabulary } from '../../../src/engine/speech/checkpoint-vocabulary.js'
import { firstTime, isTime } from '../../../src/engine/speech/vocabulary.js'

const checkpoint = fileURLToPath(new URL('../../fixtures/whisper-random', import.meta.url))
const golden = JSON.parse(readFileSync(new URL('../../fixtures/goldens/whisper-random.json', import.meta.url), 'utf8')) as {
  generation_config: { suppress_tokens: number[]; lang_to_id: Record<string, number> }
  audio: { no_timestamps?: { ids: number[]; text: string }; timestamps?: { ids: number[]; text: string } }[]
  tokenizer: { cases: { text: string; ids: number[] }[] }
}

const size = 2208
const made: string[] = []
afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true })
})

type Json = Record<string, unknown>

/** The checkpoint with files changed; null removes one. */
function changed(files: Record<string, ((json: Json) => unknown) | null>): string {
  const folder = mkdtempSync(join(tmpdir(), 'vocabulary-'))
  made.push(folder)
  for (const name of ['config.json', 'generation_config.json', 'tokenizer.json']) cpSync(join(checkpoint, name), join(folder, name))
  for (const [name, change] of Object.entries(files)) {
    const path = join(folder, name)
    if (!change) rmSync(path)
    else {
      const before = ['config.json', 'generation_config.json', 'tokenizer.json'].includes(name)
        ? (JSON.parse(readFileSync(path, 'utf8')) as Json)
        : {}
      const after = change(before)
      writeFileSync(path, typeof after === 'string' ? after : JSON.stringify(after))
    }
  }
  return folder
}

interface TokenizerJson {
  added_tokens: { id: number; content: string }[]
  model: { vocab: Record<string, number>; merges: (string | [string, string])[] }
}
const tokenizerJson = JSON.parse(readFileSync(join(checkpoint, 'tokenizer.json'), 'utf8')) as TokenizerJson

describe('the vocabulary of a checkpoint', () => {
  const vocabulary = checkpointVocabulary(checkpoint)

  it('says what its tokens mean', () => {
    expect(vocabulary).toMatchObject({ start: 601, end: 600, noTimestamps: 706, previous: 704, noSpeech: 705, multilingual: true })
    expect(vocabulary.tasks).toEqual({ transcribe: 702, translate: 701 })
    expect(vocabulary.languages.get('de')).toBe(604)
    expect(vocabulary.languages.size).toBe(99)
    expect([...vocabulary.suppress]).toEqual(golden.generation_config.suppress_tokens)
    expect([...vocabulary.beginSuppress]).toEqual([220, 600])
    expect(vocabulary).toMatchObject({
      maxInitialTime: 50,
      alignmentHeads: [
        [0, 0],
        [1, 1],
      ],
      maxLength: 448,
      thresholds: {},
    })
    expect(firstTime(vocabulary)).toBe(707)
    expect([706, 707, 2207].map((id) => isTime(vocabulary, id))).toEqual([false, true, true])
  })

  it('encodes as transformers does, and decodes what it has encoded', () => {
    const plain = golden.tokenizer.cases.filter(({ text }) => !text.includes('<|'))
    expect(plain.length).toBeGreaterThan(10)
    for (const { text, ids } of plain) {
      expect(vocabulary.text.encode(text), text).toEqual(ids)
      expect(textOf(vocabulary.text, ids)).toBe(text)
    }
  })

  it('decodes answers as transformers does: control and time tokens are no text', () => {
    for (const { no_timestamps: plain, timestamps } of golden.audio) {
      if (plain) expect(textOf(vocabulary.text, plain.ids)).toBe(plain.text)
      if (timestamps) expect(textOf(vocabulary.text, timestamps.ids)).toBe(timestamps.text)
    }
    expect(textOf(vocabulary.text, [600, 601, 706, 707, 5000])).toBe('')
  })

  it('control tokens written in a text are text', () => {
    const ids = vocabulary.text.encode('a <|endoftext|> b')
    expect(ids.every((id) => id < 600)).toBe(true)
    expect(textOf(vocabulary.text, ids)).toBe('a <|endoftext|> b')
  })

  it('bytes that are no whole characters are marked', () => {
    const bytes = vocabulary.text.encode('ä')
    const [first] = [...'Ã'].map((letter) => tokenizerJson.model.vocab[letter]!)
    expect(textOf(vocabulary.text, bytes)).toBe('ä')
    expect(textOf(vocabulary.text, [first!])).toBe('\ufffd')
  })

  it('reads vocab.json, merges.txt and added_tokens.json where there is no tokenizer.json', () => {
    const merges = tokenizerJson.model.merges.map((pair) => (typeof pair === 'string' ? pair : pair.join(' ')))
    const folder = changed({
      'tokenizer.json': null,
      'vocab.json': () => tokenizerJson.model.vocab,
      'merges.txt': () => `#version: 0.2\n${merges.join('\n')}\n`,
      'added_tokens.json': () => Object.fromEntries(tokenizerJson.added_tokens.map(({ id, content }) => [content, id])),
    })
    const same = checkpointVocabulary(folder)
    const { text } = same
    expect({ ...same, text: undefined }).toEqual({ ...vocabulary, text: undefined })
    for (const { text: sample } of golden.tokenizer.cases) expect(text.encode(sample)).toEqual(vocabulary.text.encode(sample))
    for (let id = 0; id < size; id++) expect(text.bytes(id)).toEqual(vocabulary.text.bytes(id))
  })

  it('derives from the names of tokens what an old generation config does not say', () => {
    const old = checkpointVocabulary(changed({ 'generation_config.json': () => ({ is_multilingual: true }) }))
    for (const field of ['start', 'end', 'noTimestamps', 'previous', 'noSpeech', 'tasks', 'languages', 'multilingual'] as const) {
      expect(old[field], field).toEqual(vocabulary[field])
    }
    expect([...old.suppress]).toEqual(golden.generation_config.suppress_tokens) // config.json has them
    expect(old).toMatchObject({ alignmentHeads: undefined, maxInitialTime: undefined })
    const none = checkpointVocabulary(changed({ 'generation_config.json': null }))
    expect(none.multilingual).toBe(false)
    expect(none.languages.size).toBe(0)
  })

  it('takes thresholds that the checkpoint sets', () => {
    const folder = changed({ 'generation_config.json': (json) => ({ ...json, logprob_threshold: -1, no_speech_threshold: 0.6 }) })
    expect(checkpointVocabulary(folder).thresholds).toEqual({ logprob_threshold: -1, no_speech_threshold: 0.6 })
  })

  it.each([
    ['no config', { 'config.json': null }, 'no config.json'],
    ['broken JSON', { 'generation_config.json': () => '{' }, 'generation_config.json is not valid JSON'],
    ['a wrong type', { 'generation_config.json': () => ({ suppress_tokens: 'all' }) }, 'suppress_tokens'],
    ['ids without end', { 'generation_config.json': () => ({ suppress_tokens: [2 ** 31] }) }, 'suppress_tokens'],
    ['no tokenizer', { 'tokenizer.json': null }, 'neither a tokenizer.json nor a vocab.json'],
    ['another tokenizer', { 'tokenizer.json': () => ({ model: { type: 'Unigram', vocab: [] } }) }, 'tokenizer.json'],
    [
      'no control tokens',
      { 'generation_config.json': () => ({}), 'tokenizer.json': (json: Json) => ({ ...json, added_tokens: [] }) },
      'is not a Whisper model',
    ],
  ])('refuses a checkpoint with %s', (_, files, message) => {
    expect(() => checkpointVocabulary(changed(files))).toThrow(message)
  })

  it('ids that the model has not are left out', () => {
    const folder = changed({
      'generation_config.json': (json) => ({ ...json, suppress_tokens: [1, 99_999], lang_to_id: { '<|en|>': 602, '<|xx|>': 99_999 } }),
    })
    const { suppress, languages } = checkpointVocabulary(folder)
    expect([...suppress]).toEqual([1])
    expect([...languages]).toEqual([['en', 602]])
  })
})

describe('byte pairs by the order of their ids', () => {
  const bytes = (text: string): Uint8Array => Buffer.from(text)
  const tokens = bytePairs([undefined, ...['a', 'b', 'c', ' ', 'bc', 'ab', 'abc', ' a'].map(bytes)])

  it('merges the pair whose token is oldest first', () => {
    expect(tokens.encode('abc')).toEqual([7])
    expect(tokens.encode('abab')).toEqual([6, 6])
    // b and c first: the space and the a have then lost each other
    expect(tokens.encode(' abc')).toEqual([4, 7])
    expect(tokens.encode('xa')).toEqual([1])
  })

  it('a very long word takes no longer than its length', () => {
    const ids = tokens.encode('abc'.repeat(10_000))
    expect(textOf(tokens, ids)).toBe('abc'.repeat(10_000))
  })
})
