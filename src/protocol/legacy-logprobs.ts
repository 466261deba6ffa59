// Log probabilities in the shape of OpenAI's first completions API: lists side by side, with where in the text each token begins.
import type { PromptEcho, TokenLogprob, TopLogprob } from '../engine/types.js'

/** Entry i of each list belongs to token i. */
export interface LegacyLogprobs {
  tokens: string[]
  /** Null for the first token of a prompt. */
  token_logprobs: (number | null)[]
  /** The best tokens, and the token itself. */
  top_logprobs: (Record<string, number> | null)[]
  /** Characters (code points) of the text before the token. */
  text_offset: number[]
}

/** A token's text, or where it is a part of a character its bytes, so that different tokens have different names. */
function nameOf({ token, bytes }: Pick<TopLogprob, 'token' | 'bytes'>): string {
  if (!token.includes('\ufffd') || Buffer.from(token).equals(Buffer.from(bytes))) return token
  return `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`
}

const charactersOf = (bytes: Uint8Array): number => bytes.reduce((count, byte) => count + ((byte & 0xc0) === 0x80 ? 0 : 1), 0)

// text that no token brought, such as what stands for bytes that are no character
const mostUnexplained = 16

/** Finds tokens in the text that they became: control tokens may have left none, and text may come later than its token. */
class TextPlace {
  #unread = Buffer.alloc(0)
  // bytes of tokens whose text has not come yet
  #owed = 0
  #characters = 0

  text(text: string): void {
    if (text === '') return
    const bytes = Buffer.from(text)
    const paid = Math.min(this.#owed, bytes.length)
    this.#owed -= paid
    this.#unread = Buffer.concat([this.#unread, bytes.subarray(paid)])
  }

  /** Where the token begins. */
  token(bytes: readonly number[]): number {
    const begin = this.#characters
    if (bytes.length === 0) return begin
    const token = Buffer.from(bytes)
    const at = this.#unread.subarray(0, token.length + mostUnexplained).indexOf(token)
    if (at >= 0) {
      const skipped = charactersOf(this.#unread.subarray(0, at))
      this.#characters += skipped + charactersOf(token)
      this.#unread = this.#unread.subarray(at + token.length)
      return begin + skipped
    }
    if (token.subarray(0, this.#unread.length).equals(this.#unread)) {
      this.#owed += token.length - this.#unread.length
      this.#unread = Buffer.alloc(0)
      this.#characters += charactersOf(token)
    }
    return begin
  }
}

/** Follows one choice: its text, and the log probabilities of its tokens. */
export class LegacyLogprobsWriter {
  readonly #place = new TextPlace()

  /** To be told of all text, before the tokens that it came from. */
  text(text: string): void {
    this.#place.text(text)
  }

  write(entries: readonly (TokenLogprob | null)[], echo?: PromptEcho): LegacyLogprobs {
    const lists: LegacyLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] }
    for (const entry of entries) {
      const token = entry ?? echo?.firstToken ?? { token: '', bytes: [] }
      lists.tokens.push(nameOf(token))
      lists.text_offset.push(this.#place.token(token.bytes))
      lists.token_logprobs.push(entry ? entry.logprob : null)
      lists.top_logprobs.push(entry ? topOf(entry) : null)
    }
    return lists
  }
}

function topOf(entry: TokenLogprob): Record<string, number> {
  // a token may be called like a property of every object
  const top = Object.create(null) as Record<string, number>
  for (const one of [...entry.top_logprobs, entry]) top[nameOf(one)] ??= one.logprob
  return top
}

/** Adds `next` to `lists`. */
export function appendLogprobs(lists: LegacyLogprobs, next: LegacyLogprobs): void {
  for (const value of next.tokens) lists.tokens.push(value)
  for (const value of next.token_logprobs) lists.token_logprobs.push(value)
  for (const value of next.top_logprobs) lists.top_logprobs.push(value)
  for (const value of next.text_offset) lists.text_offset.push(value)
}
