// Groups tokens into words, with the times of their tokens: transformers' _combine_tokens_into_words and its pipeline's word timestamps.
import type { TranscriptWord } from '../speech-types.js'
import { type TextTokens, textOf } from './byte-pairs.js'
import { spaceless } from './languages.js'

const opening = '"\'“¡¿([{-'
const closing = '"\'.。,，!！?？:：”)]}、'
const marks = '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'
const replacement = '\ufffd'

/** A stretch of tokens, from and up to, and its text. */
interface Piece {
  text: string
  from: number
  to: number
}

/** The shortest runs of tokens that are whole characters. */
function characters(tokens: TextTokens, ids: readonly number[]): Piece[] {
  const whole = textOf(tokens, ids)
  const pieces: Piece[] = []
  let from = 0
  let seen = 0
  for (let to = 1; to <= ids.length; to++) {
    const text = textOf(tokens, ids.slice(from, to))
    const broken = text.indexOf(replacement)
    // a mark of broken text may also be what the text really has
    if (broken >= 0 && seen + broken < whole.length && whole[seen + broken] !== replacement) continue
    pieces.push({ text, from, to })
    seen += text.length
    from = to
  }
  const last = pieces.at(-1)
  if (last && from < ids.length) {
    last.text += textOf(tokens, ids.slice(from))
    last.to = ids.length
  }
  return pieces
}

// a piece joins the word before it unless a space or a mark parts them
function joined(pieces: readonly Piece[]): Piece[] {
  const words: Piece[] = []
  for (const piece of pieces) {
    const last = words.at(-1)
    if (!last || piece.text.startsWith(' ') || marks.includes(piece.text.trim())) words.push({ ...piece })
    else {
      last.text += piece.text
      last.to = piece.to
    }
  }
  return words
}

const merge = (left: Piece, right: Piece): Piece => ({ text: left.text + right.text, from: left.from, to: right.to })

// marks that open go to the word after them, those that close to the one before
function withMarks(words: readonly Piece[]): Piece[] {
  const opened: Piece[] = []
  for (const word of words.toReversed()) {
    const next = opened[0]
    if (next && word.text.startsWith(' ') && opening.includes(word.text.trim())) opened[0] = merge(word, next)
    else opened.unshift(word)
  }
  const closed: Piece[] = []
  for (const word of opened) {
    const before = closed.at(-1)
    if (before && !before.text.endsWith(' ') && closing.includes(word.text)) closed[closed.length - 1] = merge(before, word)
    else closed.push(word)
  }
  return closed
}

/**
 * Words of text tokens. @param language code @param startOf seconds at which the token with an index begins to be said @param endOf the end
 */
export function wordsOf(
  tokens: TextTokens,
  ids: readonly number[],
  language: string,
  startOf: (index: number) => number,
  endOf: (index: number) => number,
): TranscriptWord[] {
  const pieces = characters(tokens, ids)
  const words = withMarks(spaceless.has(language) ? pieces : joined(pieces))
  return words.flatMap(({ text, from, to }) => {
    const word = text.trim()
    return word === '' ? [] : [{ word, start: startOf(from), end: endOf(to - 1) }]
  })
}
