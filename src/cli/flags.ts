// The options of `tfserve [serve]`, as one table, and what their values may be.
import { z } from 'zod'
import { parseQuantization, quantizationChoices } from '../engine/quantization.js'

/** A mistake on the command line; printed as one sentence, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

type Convert = (text: string, flag: string) => unknown

/** One option, as the parser, --help and the docs have it. */
export interface Flag {
  /** undefined: a switch, on with --name and off with --no-name. */
  value?: string
  convert?: Convert
  help: string
  section: 'Serving' | 'Model' | 'Speech' | 'Models on demand' | 'Engine' | 'For users of transformers serve'
  hidden?: boolean
  /** May be given several times: the value is an array. */
  multiple?: boolean
  short?: string
  /** It is accepted, but changes nothing: what to tell whoever switches it on. */
  noEffect?: string
  /** It cannot be honoured, and to go on without it would not be what was asked for: what to do instead. */
  refused?: string
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

const directory: Convert = (text, flag) => {
  if (text.trim() === '' || text.includes('\0')) throw wrong(flag, 'a directory', text)
  return text
}

// the names of Python's logging, as transformers takes them
const logLevels: Readonly<Record<string, string>> = { warn: 'warning', critical: 'error', fatal: 'error' }

const logLevel: Convert = (text, flag) => {
  const name = text.toLowerCase()
  return oneOf('debug', 'info', 'warning', 'error')(logLevels[name] ?? name, flag)
}

const device: Convert = (text, flag) => {
  if (text === 'auto' || text === 'cpu') return text
  throw new UsageError(`--${flag} ${text} cannot be honoured: this build computes on the processor. Expected auto or cpu.`)
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

const quantization: Convert = (text, flag) => {
  if (!parseQuantization(text)) throw wrong(flag, `one of ${quantizationChoices.join(', ')}`, text)
  return text
}

const maxInt = 2 ** 31 - 1

/** The options of `tfserve [serve]`. */
export const flags = {
  host: {
    value: 'ADDRESS',
    section: 'Serving',
    help: 'Address to listen on; anything but localhost opens the server to others. Default: localhost.',
  },
  port: { value: 'N', convert: integer(0, 65535), section: 'Serving', help: 'Port; 0 takes a free one. Default: 8000.' },
  'enable-cors': { section: 'Serving', help: 'Let pages of any origin call the server.' },
  'allow-unknown-fields': {
    section: 'Serving',
    help: 'Ignore request fields that the API does not know; they are answered 422 otherwise.',
  },
  'body-limit': { value: 'SIZE', convert: bytes, section: 'Serving', help: 'Largest request body. Default: 16MiB.' },
  'api-key': {
    value: 'KEY',
    multiple: true,
    section: 'Serving',
    help: 'A key that every request must bring, but for /health. Repeatable; also TFSERVE_API_KEY (several with commas).',
  },
  'api-key-file': {
    value: 'FILE',
    section: 'Serving',
    help: 'A file of API keys, one a line. Other users of this machine see flags, not files.',
  },
  'response-store': {
    value: 'FILE',
    section: 'Serving',
    help: 'Keep responses and conversations in this SQLite file. Default: in memory, gone with the server.',
  },
  'response-store-size': { value: 'SIZE', convert: bytes, section: 'Serving', help: 'Bound on what is kept of them. Default: 256MiB.' },
  'response-store-count': {
    value: 'N',
    convert: integer(1, maxInt),
    section: 'Serving',
    help: 'Responses and conversations kept at most. Default: 10000.',
  },
  'response-store-age': {
    value: 'SECONDS',
    convert: integer(1, maxInt),
    section: 'Serving',
    help: 'How long they are kept after their last change. Default: 30 days.',
  },
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
    convert: logLevel,
    section: 'Serving',
    help: 'debug, info, warning or error. Default: info.',
  },
  'force-model': {
    value: 'MODEL',
    section: 'Model',
    help: 'Same as MODEL without a flag: the only model that is served.',
  },
  'model-id': {
    value: 'ID',
    section: 'Model',
    help: 'The name under which clients see MODEL. Default: its id or the name of its folder.',
  },
  dtype: {
    value: 'TYPE',
    convert: oneOf('auto', 'bfloat16', 'float16', 'float32'),
    section: 'Model',
    help: 'Weights: auto (as stored), bfloat16, float16 or float32. Default: auto.',
  },
  quantization: {
    value: 'NAME',
    convert: quantization,
    section: 'Model',
    help: `Quantise the weights while they are loaded: ${quantizationChoices.join(', ')}. Default: none.`,
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
  'max-audio-bytes': {
    value: 'SIZE',
    convert: bytes,
    section: 'Speech',
    help: 'Largest recording; uploads may hold four times as much together. Default: 512MiB.',
  },
  'max-audio-seconds': {
    value: 'SECONDS',
    convert: decimal(1, 16_777),
    section: 'Speech',
    help: 'Longest recording, 16777 at most. Default: 3600.',
  },
  'no-speech-threshold': {
    value: 'P',
    convert: decimal(0, 1),
    section: 'Speech',
    help: 'A window is silence when its probability of silence is above P, and with --logprob-threshold its text is doubtful. Default: off.',
  },
  'logprob-threshold': {
    value: 'X',
    convert: decimal(-100, 0),
    section: 'Speech',
    help: 'Write a window again at a higher temperature when its mean log probability is below X. Default: off.',
  },
  'compression-ratio-threshold': {
    value: 'X',
    convert: decimal(0, 100),
    section: 'Speech',
    help: 'The same when its tokens repeat themselves so that they compress to less than 1/X. Default: off.',
  },
  'model-timeout': {
    value: 'SECONDS',
    convert: integer(-1, maxInt),
    section: 'Models on demand',
    help: 'Unload a model that no request has used for so long; -1: never. Default: 300.',
  },
  'load-timeout': {
    value: 'SECONDS',
    convert: decimal(1, 86400),
    section: 'Models on demand',
    help: 'A request waits no longer for its model to be downloaded and loaded. Default: 600.',
  },
  'max-loaded-models': {
    value: 'N',
    convert: integer(1, 1024),
    section: 'Models on demand',
    help: 'Models in memory at once; the least recently used one makes room. Default: as many as fit.',
  },
  'memory-limit': {
    value: 'SIZE',
    convert: bytes,
    section: 'Models on demand',
    help: 'Memory of all models together, KV caches included. Default: 0.9 of what is free at the start.',
  },
  'allow-local': {
    value: 'DIR',
    convert: directory,
    multiple: true,
    section: 'Models on demand',
    help: 'Let requests name models in this directory by their path. May be given several times. Default: none.',
  },
  'cache-dir': {
    value: 'DIR',
    convert: directory,
    section: 'Models on demand',
    help: 'The Hugging Face cache. Default: HF_HUB_CACHE, else the hub folder in HF_HOME.',
  },
  offline: { section: 'Models on demand', help: 'Download nothing: serve what the cache holds. Same as HF_HUB_OFFLINE=1.' },
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
  'max-waiting-tokens': {
    value: 'N',
    convert: integer(0, maxInt),
    section: 'Engine',
    help: 'Prompt tokens that may wait, all requests together; more are answered 429. Default: 4194304.',
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
  'cb-num-blocks': {
    value: 'N',
    section: 'For users of transformers serve',
    help: 'Refused: bound the KV cache with --kv-cache-memory.',
    refused: 'bound the KV cache in bytes with --kv-cache-memory SIZE, or with --cb-max-memory-percent SHARE',
  },
  device: { value: 'NAME', convert: device, section: 'For users of transformers serve', help: 'auto or cpu.' },
  'attn-implementation': {
    value: 'NAME',
    section: 'For users of transformers serve',
    help: 'Without effect: attention is paged, by the kernel that fits the processor.',
    noEffect: 'attention is paged, by the kernel that fits the processor',
  },
  compile: {
    section: 'For users of transformers serve',
    help: 'Without effect: nothing is compiled at run time.',
    noEffect: 'nothing is compiled at run time',
  },
  'cb-use-cuda-graph': {
    section: 'For users of transformers serve',
    help: 'Without effect: the model runs on the processor.',
    noEffect: 'the model runs on the processor',
  },
  'trust-remote-code': {
    section: 'For users of transformers serve',
    help: 'Without effect: code from model repositories is never run.',
    noEffect: 'code from model repositories is never run; a model that needs its own code cannot be served',
  },
  'decision-config': {
    value: 'FILE',
    section: 'For users of transformers serve',
    help: 'Refused: there is no /v1/systemone.',
    refused: 'this server has no /v1/systemone',
  },
  // formatting options of its command line; they change nothing of a server there either
  format: { value: 'NAME', section: 'For users of transformers serve', hidden: true, help: 'Without effect.' },
  json: { section: 'For users of transformers serve', hidden: true, help: 'Without effect.' },
  quiet: { section: 'For users of transformers serve', hidden: true, short: 'q', help: 'Without effect.' },
  truncate: { section: 'For users of transformers serve', hidden: true, help: 'Without effect.' },
} as const satisfies Record<string, Flag>

export type FlagName = keyof typeof flags
