// Text -> token ids by the checkpoint's own tokenizer.json: the official Rust library, or its JavaScript port where no binary fits.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename } from 'node:path'
import { CheckpointError } from './checkpoint.js'

export interface Tokenizer {
  /** Ids of `text`. Special tokens written in the text become their ids, as in transformers. Runs off this thread where it can. */
  encode(text: string, addSpecialTokens: boolean): Promise<Int32Array>
}

const require = createRequire(import.meta.url)

type RustModule = typeof import('tokenizers')
type PortModule = typeof import('@huggingface/tokenizers')

function rustTokenizer(path: string): Tokenizer | undefined {
  let library: RustModule
  try {
    library = require('tokenizers') as RustModule
  } catch {
    return undefined // no binary for this platform
  }
  const tokenizer = library.Tokenizer.fromFile(path)
  // a tokenizer.json may carry the lengths its training used; transformers sets both anew on every call
  tokenizer.disableTruncation()
  tokenizer.disablePadding()
  return {
    async encode(text, addSpecialTokens) {
      return Int32Array.from((await tokenizer.encode(text, null, { addSpecialTokens })).getIds())
    },
  }
}

/** The JavaScript port; exported for the tests that hold both to the same ids. */
export function portedTokenizer(path: string, tokenizerConfig: Record<string, unknown>): Tokenizer {
  const library = require('@huggingface/tokenizers') as PortModule
  const tokenizer = new library.Tokenizer(JSON.parse(readFileSync(path, 'utf8')) as object, tokenizerConfig)
  return {
    encode: (text, addSpecialTokens) =>
      Promise.resolve(Int32Array.from(tokenizer.encode(text, { add_special_tokens: addSpecialTokens }).ids)),
  }
}

/** Opens a tokenizer.json. Throws a CheckpointError when it cannot be read as one. */
export function openTokenizer(path: string, tokenizerConfig: Record<string, unknown>): Tokenizer {
  try {
    const tokenizer = rustTokenizer(path) ?? portedTokenizer(path, tokenizerConfig)
    return { encode: (text, addSpecialTokens) => tokenizer.encode(text.toWellFormed(), addSpecialTokens) }
  } catch (cause) {
    throw new CheckpointError(
      `${basename(path)} cannot be read as a tokenizer: ${cause instanceof Error ? cause.message.split('\n')[0] : 'unknown error'}`,
    )
  }
}
