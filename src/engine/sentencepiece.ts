// Reads a sentencepiece model (tokenizer.model, a protocol buffer) as the vocabulary and merges of a BPE tokenizer.
import { CheckpointError } from './model-file.js'

/** What a piece is for, as the format numbers it. */
export const pieceTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

export interface SentencePiece {
  piece: string
  type: number
}

const maxPieces = 2 ** 22
const maxPieceLength = 512 // characters; sentencepiece itself makes none of more than a few dozen

const damaged = (name: string): CheckpointError => new CheckpointError(`${name} is damaged: it is not a sentencepiece model.`)

/** The fields of one protocol buffer message: number, and bytes or a number. */
function* fieldsOf(bytes: Buffer, name: string): Generator<{ field: number; data?: Buffer; value?: number }> {
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[at++]
      if (byte === undefined) throw damaged(name)
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw damaged(name)
  }
  while (at < bytes.length) {
    const tag = varint()
    const field = Math.floor(tag / 8)
    switch (tag % 8) {
      case 0:
        yield { field, value: varint() }
        break
      case 1:
        at += 8
        break
      case 2: {
        const size = varint()
        if (size > bytes.length - at) throw damaged(name)
        yield { field, data: bytes.subarray(at, at + size) }
        at += size
        break
      }
      case 5:
        at += 4
        break
      default:
        throw damaged(name)
    }
    if (at > bytes.length) throw damaged(name)
  }
}

/** The pieces in the order of their ids. Throws a CheckpointError that names the file by `name`. */
export function readSentencePieces(bytes: Buffer, name: string): SentencePiece[] {
  const pieces: SentencePiece[] = []
  for (const { field, data } of fieldsOf(bytes, name)) {
    if (field !== 1 || !data) continue // the rest says how it was trained
    const piece: SentencePiece = { piece: '', type: pieceTypes.normal }
    for (const part of fieldsOf(data, name)) {
      if (part.field === 1 && part.data) piece.piece = part.data.toString('utf8')
      if (part.field === 3 && part.value !== undefined) piece.type = part.value
    }
    if (pieces.length >= maxPieces || piece.piece.length > maxPieceLength) throw damaged(name)
    pieces.push(piece)
  }
  if (pieces.length === 0) throw damaged(name)
  return pieces
}

/**
 * The merges that build the pieces out of smaller ones, in the order transformers' generate_merges gives them: by the id of what is
 * built, then by the lengths of its halves, then by their ids.
 */
export function mergesOf(vocab: ReadonlyMap<string, number>): [left: string, right: string][] {
  const merges: { left: string; right: string; id: number; lengths: [number, number]; ids: [number, number] }[] = []
  for (const [piece, id] of vocab) {
    const characters = [...piece]
    for (let length = 1; length < characters.length; length++) {
      const left = characters.slice(0, length).join('')
      const leftId = vocab.get(left)
      if (leftId === undefined) continue
      const right = piece.slice(left.length)
      const rightId = vocab.get(right)
      if (rightId === undefined) continue
      merges.push({ left, right, id, lengths: [length, characters.length - length], ids: [leftId, rightId] })
    }
  }
  merges.sort(
    (a, b) => a.id - b.id || a.lengths[0] - b.lengths[0] || a.lengths[1] - b.lengths[1] || a.ids[0] - b.ids[0] || a.ids[1] - b.ids[1],
  )
  return merges.map(({ left, right }) => [left, right])
}
