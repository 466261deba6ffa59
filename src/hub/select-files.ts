// Which files of a repository a model needs: what describes it, and its weights in one form.
import { z } from 'zod'
import { HubError } from './errors.js'
import { ggufParts, isGguf, type ModelSpec, pickGguf } from './model-spec.js'

const index = 'model.safetensors.index.json'

// at the root of the repository only: folders hold the same model in other forms
const describing = [
  /^config[^/]*\.json$/,
  /^generation_config\.json$/,
  /^(?:tokenizer|vocab|added_tokens|special_tokens_map|tekken)[^/]*\.json$/,
  /^(?:tokenizer|spiece|sentencepiece)[^/]*\.model$/,
  /^(?:vocab|merges)\.txt$/,
  /^[^/]+\.tiktoken$/,
  /^chat_template\.(?:json|jinja)$/,
  /^additional_chat_templates\/[^/]+\.jinja$/,
  /^(?:processor|preprocessor|[^/]+_preprocessor|feature_extractor)_config\.json$/,
]

export interface Selection {
  kind: 'checkpoint' | 'gguf' | 'chosen'
  /** The GGUF file to load, the first part of a split one. */
  gguf?: string
  files: string[]
}

/** Reads a small file of the repository as text. */
export type ReadText = (path: string) => Promise<string>

const weightMap = z.looseObject({ weight_map: z.record(z.string(), z.string()) })

/** The files that an index of shards names. Throws a HubError for text that is none. */
export function shardsOf(text: string): string[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new HubError('no_model', `${index} is not valid JSON.`)
  }
  const parsed = weightMap.safeParse(value)
  if (!parsed.success) throw new HubError('no_model', `${index} has no weight_map of file names.`)
  return [...new Set(Object.values(parsed.data.weight_map))].sort()
}

/**
 * Chooses among all files of a repository. A checkpoint goes before a GGUF file unless the name means one.
 * Throws a HubError when there is nothing to load or parts of it are missing.
 */
export async function selectFiles(spec: ModelSpec, paths: readonly string[], readText: ReadText): Promise<Selection> {
  const present = new Set(paths)
  const wantsGguf = spec.file !== undefined || spec.tag !== undefined
  if (wantsGguf || !present.has('config.json') || !paths.some(isWeights)) {
    const gguf = pickGguf(spec, paths)
    if (gguf !== undefined) {
      const files = ggufParts(gguf)
      requireAll(spec, files, present, `the other parts of ${gguf}`)
      return { kind: 'gguf', gguf, files }
    }
  }
  const described = paths.filter((path) => describing.some((pattern) => pattern.test(path)))
  const weights = await weightsOf(spec, present, paths, readText)
  return { kind: 'checkpoint', files: [...new Set([...described, ...weights])].sort() }
}

const isWeights = (path: string): boolean => /^[^/]+\.safetensors$/.test(path) || path === index

async function weightsOf(spec: ModelSpec, present: ReadonlySet<string>, paths: readonly string[], readText: ReadText): Promise<string[]> {
  if (!present.has('config.json')) {
    throw new HubError('no_model', `'${spec.id}' holds no model that can be loaded: neither a config.json nor a GGUF file.`)
  }
  if (present.has(index)) {
    const shards = shardsOf(await readText(index))
    requireAll(spec, shards, present, `shards that ${index} names`)
    return [index, ...shards]
  }
  if (present.has('model.safetensors')) return ['model.safetensors']
  // "consolidated" is the same again in its author's own form
  const others = paths.filter((path) => isWeights(path) && !path.startsWith('consolidated') && !path.startsWith('adapter_'))
  if (others.length > 0) return others
  const forms = [
    ['pytorch_model', '.bin'],
    ['tf_model', '.h5'],
    ['flax_model', '.msgpack'],
    ['', '.onnx'],
  ] as const
  const form = forms.find(([start, end]) =>
    paths.some((path) => path.slice(path.lastIndexOf('/') + 1).startsWith(start) && path.endsWith(end)),
  )
  const why = form ? `its weights are only there as ${form[1]} files` : 'it has no weights'
  throw new HubError('no_model', `'${spec.id}' cannot be loaded: ${why}; safetensors or a GGUF file are needed.`)
}

function requireAll(spec: ModelSpec, files: readonly string[], present: ReadonlySet<string>, what: string): void {
  const missing = files.filter((file) => !present.has(file))
  if (missing.length === 0) return
  const more = missing.length > 5 ? ` and ${missing.length - 5} more` : ''
  throw new HubError('no_model', `'${spec.id}' is incomplete: ${what} are missing: ${missing.slice(0, 5).join(', ')}${more}.`)
}

/** The files that match any of the patterns; `*` also goes over slashes, as for the Hub's other tools. Throws a HubError for none. */
export function includeFiles(spec: ModelSpec, paths: readonly string[], globs: readonly string[]): Selection {
  const patterns = globs.map(globPattern)
  const files = paths.filter((path) => patterns.some((pattern) => pattern.test(path)))
  if (files.length === 0)
    throw new HubError('file_not_found', `No file of '${spec.id}' matches ${globs.map((glob) => `'${glob}'`).join(' or ')}.`)
  const gguf = files.filter(isGguf)
  return { kind: 'chosen', ...(gguf.length === 1 && { gguf: gguf[0]! }), files }
}

function globPattern(glob: string): RegExp {
  const whole = glob.endsWith('/') ? `${glob}*` : glob
  let source = ''
  for (let at = 0; at < whole.length; at++) {
    const char = whole[at]!
    const set = char === '[' ? /^\[(!?)(\]?[^\]]*)\]/.exec(whole.slice(at)) : null
    if (set) {
      source += `[${set[1] ? '^' : ''}${set[2]!.replace(/[\\\]^]/g, '\\$&')}]`
      at += set[0].length - 1
    } else if (char === '*') {
      if (!source.endsWith('.*')) source += '.*'
    } else source += char === '?' ? '.' : char.replace(/[\\^$.|+()[\]{}/]/g, '\\$&')
  }
  try {
    return new RegExp(`^${source}$`, 's')
  } catch {
    throw new HubError('invalid_id', `'${glob}' is no pattern of file names.`)
  }
}
