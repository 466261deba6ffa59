// The vocabulary of a ggml file: it has the text tokens; what the others mean follows from their number, as in OpenAI's own tokenizers.
import { CheckpointError } from '../model-file.js'
import { bytePairs, type TextTokens } from './byte-pairs.js'
import { languageNames } from './languages.js'
import { defaultAlignmentWidth, defaultMaxLength, type SpeechVocabulary } from './vocabulary.js'

/** Ids of the English models: text, end, start, 99 languages, six control tokens, 1501 times. */
const englishSize = 51_864
const timeTokens = 1501
const controlTokens = 6
const maxInitialTime = 50

// OpenAI's list of what is written and not said
const marks = '" # ( ) * + / : ; < = > @ [ \\ ] ^ _ ` { | } ~ 「 」 『 』'
const markPairs = `<< >> <<< >>> -- --- -( -[ (' (" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪`
const notes = '♩ ♪ ♫ ♬ ♭ ♮ ♯'

/** Text tokens of what is written and not said: marks, and the dash and quote that begin a word. */
function unspoken(text: TextTokens): number[] {
  const ids = [text.encode(' -')[0], text.encode(" '")[0]]
  for (const written of [...marks.split(' '), ...markPairs.split(' '), ...notes.split(' ')]) {
    for (const form of [written, ` ${written}`]) {
      const tokens = text.encode(form)
      if (tokens.length === 1 || notes.includes(written)) ids.push(tokens[0])
    }
  }
  return [...new Set(ids.filter((id) => id !== undefined))].sort((a, b) => a - b)
}

export interface GgmlTokens {
  /** Of the text tokens, one after the other. */
  tokenBytes: Uint8Array
  /** Token i has the bytes from offset i to offset i + 1. */
  tokenOffsets: ArrayLike<number>
}

/** Throws a CheckpointError for a number of tokens that no Whisper model has. @param size of the model's output */
export function ggmlVocabulary({ tokenBytes, tokenOffsets }: GgmlTokens, size: number): SpeechVocabulary {
  const multilingual = size > englishSize
  const end = multilingual ? 50_257 : 50_256
  const codes = Object.keys(languageNames).slice(0, multilingual ? size - end - 2 - controlTokens - timeTokens : 99)
  const start = end + 1
  const translate = start + 1 + codes.length
  if (translate + controlTokens + timeTokens !== size || tokenOffsets.length <= end) {
    throw new CheckpointError(`A ggml file with ${size} tokens is none of a Whisper model that is known.`)
  }
  const bytes = Array.from({ length: end }, (_, id) => tokenBytes.subarray(tokenOffsets[id], tokenOffsets[id + 1]))
  const text = bytePairs(bytes)
  const [transcribe, startOfModel, previous, noSpeech, noTimestamps] = [1, 2, 3, 4, 5].map((after) => translate + after) as [
    number,
    number,
    number,
    number,
    number,
  ]
  const space = text.encode(' ')[0]
  return {
    text,
    size,
    start,
    end,
    noTimestamps,
    previous,
    noSpeech,
    languages: new Map(multilingual ? codes.map((code, index) => [code, start + 1 + index]) : []),
    tasks: multilingual ? { transcribe, translate } : undefined,
    multilingual,
    suppress: Int32Array.from([...unspoken(text), start, translate, transcribe, startOfModel, previous, noSpeech]),
    beginSuppress: Int32Array.from(space === undefined ? [end] : [space, end]),
    maxInitialTime,
    alignmentHeads: undefined,
    alignmentWidth: defaultAlignmentWidth,
    maxLength: defaultMaxLength,
    thresholds: {},
  }
}
