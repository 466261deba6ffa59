// Text -> token ids by the checkpoint's own tokenizer: the official Rust library, or its JavaScript port where no binary fits.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { CheckpointError } from './model-file.js'
import type { TokenizerSource } from './tokenizer-source.js'

export interface Tokenizer {
  /** Ids of `text`. Special tokens written in the text become their ids, as in transformers. Runs off this thread where it can. */
  encode(text: string, addSpecialTokens: boolean): Promise<Int32Array>
}

const require = createRequire(import.meta.url)

type RustModule = typeof import('tokenizers')
type PortModule = typeof import('@huggingface/tokenizers')

function rustTokenizer(path: string, { json, added }: TokenizerSource): Tokenizer | undefined {
  let library: RustModule
  try {
    library = require('tokenizers') as RustModule
  } catch {
    return undefined // no binary for this platform
  }
  const tokenizer = json === undefined ? library.Tokenizer.fromFile(path) : library.Tokenizer.fromString(json)
  if (added.length > 0) {
    tokenizer.addAddedTokens(
      added.map(({ content, special, single_word, lstrip, rstrip, normalized }) => {
        const options = { singleWord: single_word, leftStrip: lstrip, rightStrip: rstrip, normalized }
        return new library.AddedToken(content, special, options)
      }),
    )
  }
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
export function portedTokenizer(path: string, tokenizerConfig: Record<string, unknown>, json?: string): Tokenizer {
  const library = require('@huggingface/tokenizers') as PortModule
  const tokenizer = new library.Tokenizer(JSON.parse(json ?? readFileSync(path, 'utf8')) as object, tokenizerConfig)
  return {
    encode: (text, addSpecialTokens) =>
      Promise.resolve(Int32Array.from(tokenizer.encode(text, { add_special_tokens: addSpecialTokens }).ids)),
  }
}

/** Opens the tokenizer of a checkpoint directory. Throws a CheckpointError when it cannot be read as one. */
export function openTokenizer(dir: string, source: TokenizerSource, tokenizerConfig: Record<string, unknown>): Tokenizer {
  const path = join(dir, 'tokenizer.json')
  try {
    const tokenizer = rustTokenizer(path, source) ?? portedTokenizer(path, tokenizerConfig, source.json)
    return { encode: (text, addSpecialTokens) => tokenizer.encode(text.toWellFormed(), addSpecialTokens) }
  } catch {
    throw new CheckpointError(
      `${source.converted ? 'tokenizer.model' : 'tokenizer.json'} cannot be read as a tokenizer: it is damaged, or of a kind that is not supported. Download it again.`,
    )
  }
}
