// A prompt told back to its client.
import type { PromptEcho, PromptInput } from './types.js'

const decoder = new TextDecoder('utf-8')

/** @param bytesOf the bytes of a token as the vocabulary has them */
export function echoOf(input: PromptInput, ids: Int32Array, bytesOf: (id: number) => Uint8Array): PromptEcho {
  const first = bytesOf(ids[0] ?? 0)
  const token = { token: decoder.decode(first), bytes: [...first] }
  switch (input.kind) {
    case 'text':
      return { text: input.text, firstToken: token }
    case 'fill':
      return { text: input.prefix, firstToken: token }
    case 'chat':
    case 'tokens':
      return { text: decoder.decode(Buffer.concat(Array.from(ids, bytesOf))), firstToken: token }
  }
}
