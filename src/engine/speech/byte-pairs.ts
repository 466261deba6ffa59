// Whisper's text tokens: byte-level byte pair encoding, both ways.

/** Bytes of each text token by its id, and how texts become tokens. */
export interface TextTokens {
  /** undefined: no text token. */
  bytes(id: number): Uint8Array | undefined
  /** Ids of a text in which nothing is a control token. */
  encode(text: string): number[]
}

/** A byte as it is written in vocabularies of byte-level encodings: those that print stand for themselves, others for the letters from U+0100 on. */
const byteOfLetter = ((): readonly (number | undefined)[] => {
  const prints = (byte: number): boolean => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
  const letters: (number | undefined)[] = []
  let next = 0x100
  for (let byte = 0; byte < 256; byte++) letters[prints(byte) ? byte : next++] = byte
  return letters
})()

/** The bytes that a token of a byte-level vocabulary is written for; undefined: it holds a letter that stands for none. */
export function bytesOfWritten(token: string): Uint8Array | undefined {
  const bytes = new Uint8Array(token.length)
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfLetter[token.charCodeAt(i)]
    if (byte === undefined) return undefined
    bytes[i] = byte
  }
  return bytes
}

// GPT-2's: contractions, words, numbers and marks with the space before them, and spaces
const pieces = /'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu
// one piece is merged in quadratic time
const longestPiece = 128

const key = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')

/**
 * @param vocabulary bytes of the text tokens by id; an id that is none has undefined
 * @param mergeRank how early two neighbours are merged, lower first; undefined: never. Absent: by the id of what they become, which is
 * the order in which byte pair encodings are learnt.
 */
export function bytePairs(
  vocabulary: readonly (Uint8Array | undefined)[],
  mergeRank?: (left: string, right: string) => number | undefined,
): TextTokens {
  // few models are ever given a text
  let found: Map<string, number> | undefined
  const tokenIds = (): Map<string, number> => {
    if (found) return found
    found = new Map()
    for (const [id, bytes] of vocabulary.entries()) if (bytes && !found.has(key(bytes))) found.set(key(bytes), id)
    return found
  }

  const encodePiece = (piece: string): number[] => {
    const ids = tokenIds()
    const rank = mergeRank ?? ((left: string, right: string) => ids.get(left + right))
    let parts = [...piece]
    for (;;) {
      let best: number | undefined
      let at = -1
      for (let i = 0; i + 1 < parts.length; i++) {
        const next = rank(parts[i]!, parts[i + 1]!)
        if (next === undefined || (best !== undefined && next >= best)) continue
        best = next
        at = i
      }
      if (at < 0) break
      parts = [...parts.slice(0, at), parts[at]! + parts[at + 1]!, ...parts.slice(at + 2)]
    }
    // a vocabulary without some byte has no token for it
    return parts.map((part) => ids.get(part)).filter((id) => id !== undefined)
  }

  return {
    bytes: (id) => vocabulary[id],
    encode(text) {
      const tokens: number[] = []
      for (const [piece] of text.toWellFormed().matchAll(pieces)) {
        const bytes = Buffer.from(piece).toString('latin1')
        for (let at = 0; at < bytes.length; at += longestPiece) tokens.push(...encodePiece(bytes.slice(at, at + longestPiece)))
      }
      return tokens
    },
  }
}

/** The text of some tokens; what is no text is left out. Bytes that are no whole characters become U+FFFD. */
export function textOf(tokens: TextTokens, ids: Iterable<number>): string {
  const parts: Uint8Array[] = []
  for (const id of ids) {
    const bytes = tokens.bytes(id)
    if (bytes) parts.push(bytes)
  }
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(parts))
}
