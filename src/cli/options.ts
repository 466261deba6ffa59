// The command line of `tfserve [serve]`: the parser and --help, both made from the table in flags.ts.
import { parseArgs } from 'node:util'
import { type Flag, type FlagName, flags, UsageError } from './flags.js'

export { UsageError } from './flags.js'

/** Parsed values under the flags' own names; absent where not given. */
export interface ServeArguments {
  /** The model given on the command line, as MODEL or with --force-model. */
  model: string | undefined
  /** `serve` was spelled out: with no model given, models are loaded on demand only. */
  serve: boolean
  /** What to tell whoever gave flags that change nothing here. */
  notes: string[]
  help: boolean
  version: boolean
  values: Partial<Record<FlagName, unknown>>
}

/** `--name -1` as `--name=-1`, since parseArgs takes a value that begins with a dash for another flag. */
export function joinNegativeNumbers(args: readonly string[]): string[] {
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

const allFlags = Object.entries(flags) as [FlagName, Flag][]

/** What Node's parser found; throws a UsageError. */
function parsed(args: string[]): { values: Record<string, unknown>; positionals: string[] } {
  const options: Record<string, { type: 'string' | 'boolean'; short?: string; multiple?: boolean }> = {
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean', short: 'v' },
  }
  for (const [name, { value, multiple = false, short }] of allFlags) {
    options[name] = { type: value ? 'string' : 'boolean', multiple, ...(short && { short }) }
  }
  try {
    return parseArgs({ args: joinNegativeNumbers(args), options, allowPositionals: true, allowNegative: true, strict: true })
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const unknown = /^Unknown option '([^']+)'/.exec(message)
    throw new UsageError(unknown ? `Unknown option ${unknown[1]}. See tfserve --help.` : `${message.split('.')[0]}. See tfserve --help.`)
  }
}

/** A flag's value as its table says. Throws a UsageError. */
export function converted(name: FlagName, flag: Flag, given: unknown): unknown {
  if (Array.isArray(given)) return given.map((each) => converted(name, flag, each))
  return typeof given === 'string' && flag.convert ? flag.convert(given, name) : given
}

function onlyModel(positionals: readonly string[], forced: string | undefined): string | undefined {
  const named = [...new Set([...positionals, ...(forced === undefined ? [] : [forced])])]
  if (named.length > 1) throw new UsageError(`Expected one model but received ${named.length}: ${named.join(', ')}.`)
  return named[0]
}

/** Parses what follows `tfserve`. Throws a UsageError. */
export function parseServeArguments(args: string[]): ServeArguments {
  const { values: found, positionals } = parsed(args)
  const serve = positionals[0] === 'serve'
  const values: Partial<Record<FlagName, unknown>> = {}
  const notes: string[] = []
  for (const [name, flag] of allFlags) {
    const given = found[name]
    if (given === undefined) continue
    if (flag.refused !== undefined) throw new UsageError(`--${name} cannot be honoured: ${flag.refused}.`)
    if (flag.noEffect !== undefined && given !== false) notes.push(`--${name} has no effect: ${flag.noEffect}`)
    values[name] = converted(name, flag, given)
  }
  const model = onlyModel(serve ? positionals.slice(1) : positionals, values['force-model'] as string | undefined)
  return { model, serve, notes, help: found['help'] === true, version: found['version'] === true, values }
}

/** The text of `tfserve --help`. */
export function helpText(): string {
  const lines = [
    'tfserve: serve language models over the OpenAI API.',
    '',
    'Usage: tfserve serve [options]         load any model on demand, as requests name it',
    '       tfserve [serve] MODEL [options] serve this model only',
    '       tfserve [options]               the small demo model, and others on demand',
    '       tfserve download ID...          get models of the Hugging Face Hub into the cache',
    '       tfserve models                  list the models in the cache',
    '       tfserve transcribe FILE...      write down what is said in recordings',
    '',
    'MODEL  A checkpoint directory, a .gguf file, or the id of a model of the Hugging Face Hub (org/name, org/name@revision,',
    '       org/name:file.gguf, org/name:Q4_K_M), downloaded into the cache when it is not there.',
  ]
  for (const section of new Set(allFlags.map(([, flag]) => flag.section))) {
    lines.push('', `${section}:`)
    for (const [name, flag] of allFlags) {
      if (flag.section !== section || flag.hidden) continue
      const left = `  --${flag.value ? '' : '[no-]'}${name}${flag.value ? ` ${flag.value}` : ''}`
      lines.push(left.length > 32 ? `${left}\n${' '.repeat(34)}${flag.help}` : `${left.padEnd(34)}${flag.help}`)
    }
  }
  lines.push('', '  -h, --help                      This text.', '  -v, --version                   The version.', '')
  return lines.join('\n')
}
