// A tokenizer's `response_schema`: a JSON schema whose nodes say how their values are found in the text (transformers before 5.16).
import { isJsonObject } from '../call-json.js'
import { compileProgram, type Program } from '../python-regex/program.js'
import { compileJmespath, type Expression } from './jmespath.js'

/** A part of a replacement: a text, or what a group took. */
export type ReplacementPart = string | number

export interface Substitution {
  program: Program
  replacement: readonly ReplacementPart[]
}

export type ValueParser = 'json' | 'gemma4-tool-call'

const types = ['object', 'array', 'string', 'integer', 'number', 'boolean', 'any'] as const
export type NodeType = (typeof types)[number]

/** What is done at one place of the value, in the order of the fields. */
export interface SchemaNode {
  constant: { value: unknown } | undefined
  substitutions: readonly Substitution[]
  regex: Program | undefined
  iterator: Program | undefined
  keyValue: Program | undefined
  parser: ValueParser | undefined
  /** A text that is no JSON stays as it is. */
  allowNonJson: boolean
  transform: Expression | undefined
  mapping: ReadonlyMap<string, unknown> | undefined
  mappingRegex: readonly Substitution[]
  type: NodeType
  properties: ReadonlyMap<string, SchemaNode> | undefined
  /** undefined: other properties are left out. */
  additional: SchemaNode | undefined
  items: SchemaNode | undefined
  prefixItems: readonly SchemaNode[] | undefined
  required: readonly string[]
  fallback: { value: unknown } | undefined
}

const maxNodes = 500
const maxPatterns = 100
const maxDepth = 50

/** A value is taken as it is. */
const untouched: SchemaNode = {
  constant: undefined,
  substitutions: [],
  regex: undefined,
  iterator: undefined,
  keyValue: undefined,
  parser: undefined,
  allowNonJson: false,
  transform: undefined,
  mapping: undefined,
  mappingRegex: [],
  type: 'any',
  properties: undefined,
  additional: undefined,
  items: undefined,
  prefixItems: undefined,
  required: [],
  fallback: undefined,
}

type Json = Readonly<Record<string, unknown>>

function replacementOf(source: string, program: Program): ReplacementPart[] {
  const controls: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v', a: '\x07', '\\': '\\' }
  const number = (group: number | undefined): number => {
    if (group === undefined || group > program.groups) throw new Error(`a replacement names a group that does not exist: ${source}`)
    return group
  }
  return [...source.matchAll(/\\(?:g<(\w+)>|([1-9]\d?)|([\s\S]))|[^\\]+|\\$/g)].map(([text, name, digits, char]) => {
    if (name !== undefined) return number(/^\d+$/.test(name) ? Number(name) : program.names.get(name))
    if (digits !== undefined) return number(Number(digits))
    if (!text.startsWith('\\')) return text
    const control = char === undefined ? undefined : controls[char]
    if (control === undefined && (char === undefined || /\w/.test(char))) throw new Error(`a replacement has a bad escape: ${source}`)
    return control ?? text
  })
}

class Reader {
  #nodes = 0
  #patterns = 0

  node(value: unknown, path: string, depth: number): SchemaNode {
    if (!isJsonObject(value)) throw new Error(`${path} is no object`)
    if (++this.#nodes > maxNodes || depth > maxDepth) throw new Error('it is too large')
    const args = value['x-parser-args'] ?? {}
    if (!isJsonObject(args)) throw new Error(`${path}: x-parser-args is no object`)
    const child = (key: string): SchemaNode | undefined =>
      value[key] === undefined ? undefined : this.node(value[key], `${path}.${key}`, depth + 1)
    const node: SchemaNode = {
      constant: Object.hasOwn(value, 'const') ? { value: value['const'] } : undefined,
      substitutions: this.#substitutions(value['x-regex-substitutions'], `${path}: x-regex-substitutions`),
      regex: this.#program(value, 'x-regex', path),
      iterator: this.#program(value, 'x-regex-iterator', path),
      keyValue: this.#program(value, 'x-regex-key-value', path),
      parser: this.#parser(value['x-parser'], path),
      allowNonJson: args['allow_non_json'] === true,
      transform: this.#transform(args['transform'], path),
      mapping: isJsonObject(value['x-mapping']) ? new Map(Object.entries(value['x-mapping'])) : undefined,
      mappingRegex: this.#substitutions(Object.entries(value['x-mapping-regex'] ?? {}), `${path}: x-mapping-regex`),
      type: this.#type(value['type'], path),
      properties: this.#properties(value['properties'], path, depth),
      additional: this.#additional(value['additionalProperties'], path, depth),
      items: child('items'),
      prefixItems: this.#prefixItems(value['prefixItems'], path, depth),
      required: Array.isArray(value['required']) ? value['required'].filter((key) => typeof key === 'string') : [],
      fallback: Object.hasOwn(value, 'default') ? { value: value['default'] } : undefined,
    }
    this.#check(node, path)
    return node
  }

  #check({ type, regex, iterator, keyValue, items, prefixItems }: SchemaNode, path: string): void {
    if (iterator && type !== 'array') throw new Error(`${path}: x-regex-iterator needs the type array`)
    if (keyValue && type !== 'object') throw new Error(`${path}: x-regex-key-value needs the type object`)
    if (keyValue && !(keyValue.names.has('key') && keyValue.names.has('value')))
      throw new Error(`${path}: x-regex-key-value needs the groups key and value`)
    if (type === 'array' && !items && !prefixItems) throw new Error(`${path}: an array needs items or prefixItems`)
    for (const program of [regex, iterator]) {
      if (program && program.names.size === 0 && program.groups !== 1) {
        throw new Error(`${path}: a pattern needs either one group or names for its groups`)
      }
    }
  }

  #program(value: Json, key: string, path: string): Program | undefined {
    const source = value[key]
    if (source === undefined || source === null) return undefined
    return this.#compiled(source, `${path}: ${key}`)
  }

  #compiled(source: unknown, path: string): Program {
    if (typeof source !== 'string') throw new Error(`${path} is no text`)
    if (++this.#patterns > maxPatterns) throw new Error('it has too many patterns')
    try {
      return compileProgram(source)
    } catch (error) {
      throw new Error(`${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
  }

  #substitutions(value: unknown, path: string): Substitution[] {
    if (value === undefined) return []
    if (!Array.isArray(value) || value.length > maxNodes) throw new Error(`${path} is no list of pairs`)
    return value.map((pair: unknown) => {
      const [pattern, replacement] = Array.isArray(pair) ? (pair as unknown[]) : []
      if (typeof replacement !== 'string') throw new Error(`${path} is no list of pairs`)
      const program = this.#compiled(pattern, path)
      return { program, replacement: replacementOf(replacement, program) }
    })
  }

  #parser(value: unknown, path: string): ValueParser | undefined {
    if (value === undefined || value === 'json' || value === 'gemma4-tool-call') return value
    throw new Error(`${path}: x-parser ${JSON.stringify(value)} is not known`)
  }

  #transform(value: unknown, path: string): Expression | undefined {
    if (value === undefined || value === null) return undefined
    if (typeof value !== 'string') throw new Error(`${path}: the transform is no text`)
    return compileJmespath(value)
  }

  #type(value: unknown, path: string): NodeType {
    if (value === undefined || value === null) return 'any'
    const type = types.find((name) => name === value)
    if (!type) throw new Error(`${path}: the type ${JSON.stringify(value)} is not known`)
    return type
  }

  #properties(value: unknown, path: string, depth: number): ReadonlyMap<string, SchemaNode> | undefined {
    if (value === undefined) return undefined
    if (!isJsonObject(value)) throw new Error(`${path}: properties is no object`)
    return new Map(Object.entries(value).map(([key, node]) => [key, this.node(node, `${path}.${key}`, depth + 1)]))
  }

  #additional(value: unknown, path: string, depth: number): SchemaNode | undefined {
    if (value === false) return undefined
    return isJsonObject(value) && Object.keys(value).length > 0 ? this.node(value, `${path}.additionalProperties`, depth + 1) : untouched
  }

  #prefixItems(value: unknown, path: string, depth: number): SchemaNode[] | undefined {
    if (value === undefined) return undefined
    if (!Array.isArray(value)) throw new Error(`${path}: prefixItems is no list`)
    return value.map((node, index) => this.node(node, `${path}.${index}`, depth + 1))
  }
}

/** Reads a schema; throws an Error that says what is wrong with it. */
export function readResponseSchema(value: unknown): SchemaNode {
  const root = new Reader().node(value, 'the schema', 0)
  if (root.type !== 'object' || !root.properties) throw new Error('the schema is not one of an object with properties')
  return root
}
