import { describe, expect, it } from 'vitest'
import { textOf } from '../../../src/engine/speech/byte-pairs.js'
import { ggmlVocabulary } from '../../../src/engine/speech/ggml-vocabulary.js'

/** As many text tokens as Whisper has: all bytes, some that are longer, and fillers. */
function tokens(count: number) {
  const made = [
    ...Array.from({ length: 256 }, (_, byte) => Buffer.from([byte])),
    ...[' -', ' (', '((', '♪', ' a', 'bc'].map((text) => Buffer.from(text)),
  ]
  while (made.length < count) made.push(Buffer.from(`~${made.length}~`))
  const tokenOffsets = [0]
  for (const bytes of made) tokenOffsets.push(tokenOffsets.at(-1)! + bytes.length)
  return { tokenBytes: Buffer.concat(made), tokenOffsets }
}

describe('the vocabulary of a ggml file', () => {
  it('of an English model', () => {
    const vocabulary = ggmlVocabulary(tokens(50_256 + 1), 51_864)
    expect(vocabulary).toMatchObject({
      end: 50_256,
      start: 50_257,
      previous: 50_360,
      noSpeech: 50_361,
      noTimestamps: 50_362,
      multilingual: false,
      tasks: undefined,
    })
    expect(vocabulary.languages.size).toBe(0)
  })

  it('of a multilingual model, and of the third large one with its hundredth language', () => {
    const small = ggmlVocabulary(tokens(50_257 + 1), 51_865)
    expect(small).toMatchObject({
      end: 50_257,
      start: 50_258,
      previous: 50_361,
      noSpeech: 50_362,
      noTimestamps: 50_363,
      multilingual: true,
    })
    expect(small.tasks).toEqual({ translate: 50_358, transcribe: 50_359 })
    expect([...small.languages].slice(0, 3)).toEqual([
      ['en', 50_259],
      ['zh', 50_260],
      ['de', 50_261],
    ])
    expect([...small.languages].at(-1)).toEqual(['su', 50_357])
    const large = ggmlVocabulary(tokens(50_257 + 1), 51_866)
    expect([...large.languages].at(-1)).toEqual(['yue', 50_358])
    expect(large).toMatchObject({ noTimestamps: 50_364, tasks: { translate: 50_359, transcribe: 50_360 } })
  })

  it('suppresses what is written and not said', () => {
    const vocabulary = ggmlVocabulary(tokens(50_256 + 1), 51_864)
    const suppressed = (text: string) => vocabulary.text.encode(text).map((id) => vocabulary.suppress.includes(id))
    expect(['"', '~', ' (', '((', ' -'].flatMap(suppressed)).toEqual([true, true, true, true, true])
    expect(['a', '.', ' a', 'bc', '!'].flatMap(suppressed)).toEqual([false, false, false, false, false])
    // the first byte of a note that has no token of its own
    expect(suppressed('♬')[0]).toBe(true)
    expect(vocabulary.suppress.includes(vocabulary.start)).toBe(true)
    expect([...vocabulary.beginSuppress]).toEqual([32, 50_256])
    expect(textOf(vocabulary.text, [262, 263])).toBe('~262~~263~')
  })

  it.each([[51_863], [51_966], [100], [2 ** 20]])('refuses one with %i tokens', (size) => {
    expect(() => ggmlVocabulary(tokens(50_258), size)).toThrow(`${size} tokens`)
  })

  it('refuses one that has fewer text tokens than it should', () => {
    expect(() => ggmlVocabulary(tokens(100), 51_865)).toThrow('none of a Whisper model')
  })
})
