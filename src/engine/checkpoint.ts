// Reads the small files of a Hugging Face checkpoint: generation defaults, tokenizer flags, chat template.
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { CheckpointError, readModelText } from './model-file.js'

export { CheckpointError } from './model-file.js'

const maxJsonBytes = 64 * 1024 * 1024
const maxTemplateBytes = 4 * 1024 * 1024
const maxTemplates = 64

const specialToken = z.union([z.string(), z.looseObject({ content: z.string() }).transform((token) => token.content)])
const namedTemplates = z.array(z.looseObject({ name: z.string(), template: z.string() }))
const templateField = z.union([z.string(), namedTemplates])

const jsonObject = z.record(z.string(), z.unknown())

/** The names under which a template sees the tokenizer's special tokens. */
const specialTokenNames = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'] as const

export interface Checkpoint {
  /** generation_config.json, or {} where the checkpoint has none. */
  generationDefaults: Record<string, unknown>
  eosTokenIds: number[]
  /** Name -> Jinja source; 'default' is the one for plain chats, 'tool_use' the one for tools where there is one. */
  chatTemplates: Record<string, string>
  /** bos_token, eos_token, …: what the template may print. */
  specialTokens: Record<string, string>
  tokenizerConfig: Record<string, unknown>
  /** `model_type` of config.json; '' where it has none. */
  modelType: string
  /** The tokenizer's `response_template`, where it has one. */
  responseTemplate?: unknown
  /** The tokenizer's `response_schema`, where it has one. */
  responseSchema?: unknown
}

function readJson(dir: string, name: string): Record<string, unknown> | undefined {
  const text = readModelText(dir, name, maxJsonBytes)
  if (text === undefined) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new CheckpointError(`${name} is not valid JSON.`)
  }
  const object = jsonObject.safeParse(value)
  if (!object.success) throw new CheckpointError(`${name} is not a JSON object.`)
  return object.data
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function chatTemplatesOf(dir: string, tokenizerConfig: Record<string, unknown>): Record<string, string> {
  const templates: Record<string, string> = {}
  const add = (value: unknown, file: string) => {
    if (value === undefined || value === null) return
    const field = templateField.safeParse(value)
    if (!field.success) throw new CheckpointError(`The chat_template in ${file} is neither a string nor a list of named templates.`)
    if (typeof field.data === 'string') templates['default'] = field.data
    else for (const { name, template } of field.data) templates[name] = template
  }
  // later ones win, as in transformers: a file of its own goes before the entry in tokenizer_config.json
  add(tokenizerConfig['chat_template'], 'tokenizer_config.json')
  add(readJson(dir, 'chat_template.json')?.['chat_template'], 'chat_template.json')
  const jinja = readModelText(dir, 'chat_template.jinja', maxTemplateBytes)
  if (jinja !== undefined) templates['default'] = jinja
  const folder = 'additional_chat_templates'
  for (const file of namesIn(join(dir, folder))
    .filter((name) => name.endsWith('.jinja'))
    .sort()
    .slice(0, maxTemplates)) {
    const source = readModelText(join(dir, folder), file, maxTemplateBytes)
    if (source !== undefined) templates[file.slice(0, -'.jinja'.length)] = source
  }
  return templates
}

/** The ids in a field that holds one id, a list or nothing. */
export function tokenIdList(value: unknown): number[] {
  const parsed = z
    .union([
      z
        .int()
        .nonnegative()
        .transform((id) => [id]),
      z.array(z.int().nonnegative()),
    ])
    .safeParse(value)
  return parsed.success ? parsed.data : []
}

/** Reads a checkpoint directory. Throws a CheckpointError that says which file is wrong and how. */
export function readCheckpoint(dir: string): Checkpoint {
  const config = readJson(dir, 'config.json')
  if (!config) throw new CheckpointError(`${basename(dir)} holds no config.json: it is not a Hugging Face checkpoint.`)
  const generationDefaults = readJson(dir, 'generation_config.json') ?? {}
  const tokenizerConfig = readJson(dir, 'tokenizer_config.json') ?? {}
  const specialTokensMap = readJson(dir, 'special_tokens_map.json') ?? {}
  const specialTokens: Record<string, string> = {}
  for (const name of specialTokenNames) {
    const token = specialToken.safeParse(tokenizerConfig[name] ?? specialTokensMap[name])
    if (token.success) specialTokens[name] = token.data
  }
  return {
    generationDefaults,
    eosTokenIds: tokenIdList(generationDefaults['eos_token_id'] ?? config['eos_token_id']),
    chatTemplates: chatTemplatesOf(dir, tokenizerConfig),
    specialTokens,
    tokenizerConfig,
    responseTemplate: tokenizerConfig['response_template'],
    responseSchema: tokenizerConfig['response_schema'],
    modelType: typeof config['model_type'] === 'string' ? config['model_type'] : '',
  }
}
