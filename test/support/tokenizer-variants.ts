// Checkpoint directories that differ from the fixtures in their tokenizer, with the ids that transformers gives for each.
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { modelPath, type TokenizerCase } from './goldens.js'

type Json = Record<string, unknown>

export interface TokenizerVariant {
  name: string
  /** The fixture it is made of. */
  base: string
  /** Fields that differ; 'DELETE' takes one away. In `tokenizer`, fields of `model` are merged. */
  tokenizer?: Json
  tokenizer_config?: Json
  config?: Json
  remove?: string[]
  /** The class that transformers chose. */
  class: string
  cases: TokenizerCase[]
}

export const tokenizerVariants = JSON.parse(
  readFileSync(new URL('../fixtures/goldens/tokenizer-variants.json', import.meta.url), 'utf8'),
) as TokenizerVariant[]

// pieces with falling scores: what a Unigram model has in place of merges
const scored = (vocab: Record<string, number>): [string, number][] =>
  Object.entries(vocab)
    .sort(([, a], [, b]) => a - b)
    .map(([piece, id]) => [piece, id < 3 ? 0 : -1 - id / 200])

function changed(file: string, changes: Json): void {
  const json = JSON.parse(readFileSync(file, 'utf8')) as Json
  for (const [key, value] of Object.entries(changes)) {
    if (value === 'DELETE') delete json[key]
    else if (key === 'model') {
      const model = { ...(json['model'] as Json), ...(value as Json) }
      if (model['type'] === 'Unigram') {
        model['vocab'] = scored(model['vocab'] as Record<string, number>)
        delete model['merges']
      }
      json[key] = model
    } else json[key] = value
  }
  writeFileSync(file, JSON.stringify(json))
}

/** Makes the directory, without weights unless asked for, and removes it after `use`. */
export async function withVariant(variant: TokenizerVariant, use: (directory: string) => Promise<void>, weights = false): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tfserve-variant-'))
  try {
    for (const file of readdirSync(modelPath(variant.base))) {
      if ((!weights && file === 'model.safetensors') || variant.remove?.includes(file)) continue
      copyFileSync(join(modelPath(variant.base), file), join(directory, file))
    }
    if (variant.tokenizer) changed(join(directory, 'tokenizer.json'), variant.tokenizer)
    if (variant.tokenizer_config) changed(join(directory, 'tokenizer_config.json'), variant.tokenizer_config)
    if (variant.config) changed(join(directory, 'config.json'), variant.config)
    await use(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
