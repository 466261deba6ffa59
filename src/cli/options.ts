// The command line of `tfserve [serve]`: one table, from which both the parser and --help are made.
import { parseArgs } from 'node:util'
import { z } from 'zod'

/** A mistake on the command line; printed as one sentence, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

type Convert = (text: string, flag: string) => unknown

interface Flag {
  /** undefined: a switch, on with --name and off with --no-name. */
  value?: string
  convert?: Convert
  help: string
  section: 'Serving' | 'Model' | 'Engine' | 'For users of transformers serve'
  hidden?: boolean
}

const wrong = (flag: string, expected: string, text: string) => new UsageError(`Expected ${expected} for --${flag} but received '${text}'.`)

const integer =
  (min: number, max: number): Convert =>
  (text, flag) => {
    const value = Number(text)
    if (!/^-?\d+$/.test(text) || value < min || value > max) throw wrong(flag, `an integer from ${min} to ${max}`, text)
    return value
  }

const decimal =
  (min: number, max: number): Convert =>
  (text, flag) => {
    const value = Number(text)
    if (text.trim() === '' || !(value >= min && value <= max)) throw wrong(flag, `a number from ${min} to ${max}`, text)
    return value
  }

const oneOf =
  (...choices: string[]): Convert =>
  (text, flag) => {
    if (!choices.includes(text)) throw wrong(flag, `one of ${choices.join(', ')}`, text)
    return text
  }

const units: Record<string, number> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 }

const bytes: Convert = (text, flag) => {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim())
  const value = match ? Math.floor(Number(match[1]) * (units[(match[2] ?? '').toLowerCase()] ?? 1)) : 0
  if (value <= 0) throw wrong(flag, 'a size such as 512MiB, 4GiB or a number of bytes', text)
  return value
}

const jsonObject: Convert = (text, flag) => {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(text))
  } catch {
    throw wrong(flag, 'a JSON object such as \'{"enable_thinking": false}\'', text)
  }
}

const maxInt = 2 ** 31 - 1

const flags = {
  host: {
    value: 'ADDRESS',
    section: 'Serving',
    help: 'Address to listen on; anything but localhost opens the server to others. Default: localhost.',
  },
  port: { value: 'N', convert: integer(0, 65535), section: 'Serving', help: 'Port; 0 takes a free one. Default: 8000.' },
  'enable-cors': { section: 'Serving', help: 'Let pages of any origin call the server.' },
  'body-limit': { value: 'SIZE', convert: bytes, section: 'Serving', help: 'Largest request body. Default: 16MiB.' },
  'drain-timeout': {
    value: 'SECONDS',
    convert: decimal(0, 86400),
    section: 'Serving',
    help: 'After SIGTERM or ctrl-C, let open requests finish for so long. Default: 30.',
  },
  'stall-timeout': {
    value: 'SECONDS',
    convert: decimal(1, 86400),
    section: 'Serving',
    help: '/health says unhealthy when work waits and no step has ended for so long. Default: 60.',
  },
  transport: {
    value: 'NAME',
    convert: oneOf('auto', 'uws', 'node'),
    section: 'Serving',
    help: 'HTTP by uWebSockets (uws) or node:http (node). Default: auto, uws where its binary fits.',
  },
  'log-level': {
    value: 'LEVEL',
    convert: oneOf('debug', 'info', 'warning', 'error'),
    section: 'Serving',
    help: 'debug, info, warning or error. Default: info.',
  },
  'model-id': {
    value: 'ID',
    section: 'Model',
    help: 'The name under which clients see the model. Default: its id or the name of its folder.',
  },
  dtype: {
    value: 'TYPE',
    convert: oneOf('auto', 'bfloat16', 'float16', 'float32'),
    section: 'Model',
    help: 'Weights: auto (as stored), bfloat16, float16 or float32. Default: auto.',
  },
  'chat-template-kwargs': {
    value: 'JSON',
    convert: jsonObject,
    section: 'Model',
    help: "Defaults for the chat template's variables; a request can override them.",
  },
  reasoning: {
    value: 'MODE',
    convert: oneOf('on', 'off', 'auto'),
    section: 'Model',
    help: "on or off sets the template's enable_thinking; auto leaves it to the template. Default: auto.",
  },
  'default-seed': {
    value: 'N',
    convert: integer(0, Number.MAX_SAFE_INTEGER),
    section: 'Model',
    help: 'Seed of requests that bring none. Default: drawn at random for each.',
  },
  'continuous-batching': { section: 'Engine', help: 'Always on; --no-continuous-batching runs one request at a time.' },
  'prefix-caching': {
    section: 'Engine',
    help: 'Reuse the keys and values of prompts that begin alike. On; --no-prefix-caching turns it off.',
  },
  'kv-cache-memory': {
    value: 'SIZE',
    convert: bytes,
    section: 'Engine',
    help: 'Bound on the KV cache, taken as it fills. Default: a share of free memory, no more than the model can use.',
  },
  'kv-cache-dtype': {
    value: 'TYPE',
    convert: oneOf('auto', 'float32', 'float16', 'bfloat16', 'q8_0'),
    section: 'Engine',
    help: 'auto (float32 for float32 weights, else float16), float32, float16, bfloat16 or q8_0.',
  },
  'max-batch-tokens': {
    value: 'N',
    convert: integer(1, maxInt),
    section: 'Engine',
    help: 'Tokens a step computes at most, prompts and answers together. Default: 512.',
  },
  'max-num-seqs': {
    value: 'N',
    convert: integer(1, 256),
    section: 'Engine',
    help: 'Sequences that run at once, at most 256. Default: 64.',
  },
  'max-model-len': {
    value: 'N',
    convert: integer(2, maxInt),
    section: 'Engine',
    help: "Prompt and answer of one request in tokens. Default: the model's own context.",
  },
  'max-waiting': {
    value: 'N',
    convert: integer(0, maxInt),
    section: 'Engine',
    help: 'Requests that may wait for a place; more are answered 429. Default: 1024.',
  },
  'block-size': {
    value: 'N',
    convert: integer(1, 1024),
    section: 'Engine',
    help: 'Tokens a page of the KV cache holds, a power of two. Default: 16.',
  },
  threads: {
    value: 'N',
    convert: integer(1, 1024),
    section: 'Engine',
    help: 'Threads that compute. Default: the cores this process may use.',
  },
  'paged-kv': { section: 'Engine', help: "--no-paged-kv runs on llama.cpp's own cache and attention, for comparison." },
  'stand-in': {
    value: 'JSON',
    convert: jsonObject,
    section: 'Engine',
    hidden: true,
    help: 'Serve a deterministic stand-in for the model.',
  },
  'model-timeout': {
    value: 'SECONDS',
    convert: integer(-1, maxInt),
    section: 'For users of transformers serve',
    help: 'Accepted; the model named on the command line stays loaded.',
  },
  'cb-block-size': { value: 'N', convert: integer(1, 1024), section: 'For users of transformers serve', help: 'Same as --block-size.' },
  'cb-max-batch-tokens': {
    value: 'N',
    convert: integer(1, maxInt),
    section: 'For users of transformers serve',
    help: 'Same as --max-batch-tokens.',
  },
  'cb-max-memory-percent': {
    value: 'SHARE',
    convert: decimal(0.001, 1),
    section: 'For users of transformers serve',
    help: 'KV cache as a share of free memory, 0 to 1.',
  },
  device: { value: 'NAME', convert: oneOf('auto', 'cpu'), section: 'For users of transformers serve', help: 'auto or cpu.' },
} as const satisfies Record<string, Flag>

type FlagName = keyof typeof flags

/** Parsed values under the flags' own names; absent where not given. */
export interface ServeArguments {
  model: string | undefined
  help: boolean
  version: boolean
  values: Partial<Record<FlagName, unknown>>
}

/** `--name -1` as `--name=-1`, since parseArgs takes a value that begins with a dash for another flag. */
function joinNegativeNumbers(args: readonly string[]): string[] {
  const joined: string[] = []
  for (const [i, arg] of args.entries()) {
    if (arg === '--') return [...joined, ...args.slice(i)]
    const flag = /^--([a-z-]+)$/.exec(joined.at(-1) ?? '')?.[1]
    const takesValue = flag !== undefined && Object.hasOwn(flags, flag) && 'value' in flags[flag as FlagName]
    if (takesValue && /^-[.\d]/.test(arg)) joined.push(`${joined.pop()}=${arg}`)
    else joined.push(arg)
  }
  return joined
}

/** Parses what follows `tfserve`. Throws a UsageError. */
export function parseServeArguments(args: string[]): ServeArguments {
  const options: Record<string, { type: 'string' | 'boolean'; short?: string }> = {
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean', short: 'v' },
  }
  for (const [name, flag] of Object.entries(flags) as [FlagName, Flag][]) options[name] = { type: flag.value ? 'string' : 'boolean' }
  let parsed: { values: Record<string, unknown>; positionals: string[] }
  try {
    parsed = parseArgs({ args: joinNegativeNumbers(args), options, allowPositionals: true, allowNegative: true, strict: true })
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const unknown = /^Unknown option '([^']+)'/.exec(message)
    throw new UsageError(unknown ? `Unknown option ${unknown[1]}. See tfserve --help.` : `${message.split('.')[0]}. See tfserve --help.`)
  }
  const positionals = parsed.positionals[0] === 'serve' ? parsed.positionals.slice(1) : parsed.positionals
  if (positionals.length > 1) throw new UsageError(`Expected one model but received ${positionals.length}: ${positionals.join(', ')}.`)
  const values: Partial<Record<FlagName, unknown>> = {}
  for (const [name, flag] of Object.entries(flags) as [FlagName, Flag][]) {
    const given = parsed.values[name]
    if (given === undefined) continue
    values[name] = typeof given === 'string' && flag.convert ? flag.convert(given, name) : given
  }
  return { model: positionals[0], help: parsed.values['help'] === true, version: parsed.values['version'] === true, values }
}

/** The text of `tfserve --help`. */
export function helpText(): string {
  const lines = [
    'tfserve: serve a model over the OpenAI API.',
    '',
    'Usage: tfserve [MODEL] [options]',
    '       tfserve download ID...     get models of the Hugging Face Hub into the cache',
    '       tfserve models             list the models in the cache',
    '',
    'MODEL  A checkpoint directory, a .gguf file, or the id of a model of the Hugging Face Hub (org/name, org/name@revision,',
    '       org/name:file.gguf, org/name:Q4_K_M), downloaded into the cache when it is not there. Default: the small demo model.',
  ]
  const entries = Object.entries(flags) as [FlagName, Flag][]
  for (const section of new Set(entries.map(([, flag]) => flag.section))) {
    lines.push('', `${section}:`)
    for (const [name, flag] of entries) {
      if (flag.section !== section || flag.hidden) continue
      const left = `  --${flag.value ? '' : '[no-]'}${name}${flag.value ? ` ${flag.value}` : ''}`
      lines.push(left.length > 32 ? `${left}\n${' '.repeat(34)}${flag.help}` : `${left.padEnd(34)}${flag.help}`)
    }
  }
  lines.push('', '  -h, --help                      This text.', '  -v, --version                   The version.', '')
  return lines.join('\n')
}
