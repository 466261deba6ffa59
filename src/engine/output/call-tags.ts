// Calls written as tags: <function=NAME><parameter=KEY>VALUE</parameter>…</function>
import type { Constraint } from '../constraint.js'
import { castArgument, isJsonObject, isTextFirst, takesText } from './call-json.js'
import { type CallReader, type CallStart, escapedText, maxCallHead, wholeCharacters } from './call-reader.js'
import { anyOf, type CallableTool, literal, optional, sequence, textUntil } from './constraints.js'
import type { ToolSchemas } from './format.js'
import { findMarker } from './markers.js'
import { asOwnSchema, withReferences } from './schema-references.js'

const opening = /^\s*<function=([^>\n]+)>/
const closing = '</function>'
const parameter = '<parameter='
const parameterEnd = '</parameter>'
// one line break at each end of a value is the notation's
const textEnds = [parameterEnd, `\n${parameterEnd}`, `\r\n${parameterEnd}`]
const leadingBreak = /^\r?\n/

interface OpenValue {
  schema: unknown
  /** Its text is the value whatever it is: it need not be waited for. */
  streams: boolean
  /** Its first character has been seen. */
  begun: boolean
}

/** Reads parameters, whose values are cast to the types of the tool's schema. What follows a mistake is no part of the call. */
class TagReader implements CallReader {
  readonly #schemas: Readonly<Record<string, unknown>>
  #text = ''
  #json = '{'
  #keys = 0
  #value: OpenValue | undefined
  #searched = 0
  #whole = false
  #broken = false

  constructor(schemas: Readonly<Record<string, unknown>>) {
    this.#schemas = schemas
  }

  get whole(): boolean {
    return this.#whole
  }

  get broken(): boolean {
    return this.#broken
  }

  get over(): boolean {
    return this.#whole || this.#broken
  }

  get rest(): string {
    return this.#text
  }

  push(text: string, last: boolean): string {
    this.#text += text
    while (!this.over && (this.#value ? this.#stepValue(this.#value, last) : this.#stepTag(last)));
    const json = this.#json
    this.#json = ''
    return json
  }

  #stepTag(last: boolean): boolean {
    this.#text = this.#text.trimStart()
    const text = this.#text
    if (text.startsWith(closing)) {
      this.#whole = true
      this.#json += '}'
      return this.#cut(closing.length)
    }
    const end = text.startsWith(parameter) ? text.slice(0, maxCallHead).indexOf('>') : -1
    if (end < 0) {
      const begun = text.startsWith(parameter) ? text.length < maxCallHead : parameter.startsWith(text) || closing.startsWith(text)
      this.#broken = last ? text !== '' : !begun
      return false
    }
    const key = text.slice(parameter.length, end).trim()
    const schema = Object.hasOwn(this.#schemas, key) ? this.#schemas[key] : undefined
    this.#json += `${this.#keys++ === 0 ? '' : ','}${JSON.stringify(key)}:`
    this.#value = { schema, streams: isTextFirst(schema), begun: false }
    return this.#cut(end + 1)
  }

  #stepValue(value: OpenValue, last: boolean): boolean {
    if (!value.begun) {
      // the break at the beginning may be cut in two
      if (!last && (this.#text === '' || this.#text === '\r')) return false
      value.begun = true
      this.#text = this.#text.replace(leadingBreak, '')
      if (value.streams) this.#json += '"'
    }
    const { at, marker } = findMarker(this.#text, textEnds, last, this.#searched)
    if (value.streams) {
      const end = marker === undefined && !last ? wholeCharacters(this.#text.slice(0, at)) : at
      this.#json += escapedText(this.#text.slice(0, end))
      if (marker === undefined) {
        this.#cut(end)
        return false
      }
      this.#json += '"'
    } else {
      this.#searched = at
      if (marker === undefined) {
        if (last) {
          // an open string, so that no end of the value ends the object
          this.#json += `"${escapedText(this.#text)}`
          this.#cut(at)
        }
        return false
      }
      this.#json += JSON.stringify(castArgument(this.#text.slice(0, at), value.schema))
    }
    this.#value = undefined
    return this.#cut(at + marker.length)
  }

  #cut(at: number): true {
    this.#text = this.#text.slice(at)
    this.#searched = 0
    return true
  }
}

/** A call whose name is known. */
export function tagCallStart(body: string, tools: ToolSchemas): CallStart | undefined {
  const head = opening.exec(body.slice(0, maxCallHead))
  const name = head?.[1]?.trim()
  if (!head || !name) return undefined
  const properties = tools.get(name)?.['properties']
  return { name, reader: new TagReader(isJsonObject(properties) ? properties : {}), at: head[0].length }
}

const end = `\n${parameterEnd}\n`
const anyParameters: Constraint = {
  type: 'repeat',
  item: sequence(literal(parameter), { type: 'regex', pattern: '[^<>\\s]{1,64}' }, literal('>\n'), textUntil([end])),
  min: 0,
  max: null,
}

// a text ends where its closing tag begins; everything else is JSON
function valueConstraint(schema: unknown, root: Readonly<Record<string, unknown>>): Constraint {
  const said = withReferences(schema, root)
  const choices = listedTexts(said)
  if (choices) return sequence(anyOf(choices.map(literal)), literal(end))
  if (takesText(said)) return textUntil([end])
  return sequence({ type: 'json_schema', schema: isJsonObject(schema) ? asOwnSchema(schema, root) : true }, literal(end))
}

/** The values of a schema that lists them itself, or by a reference; undefined: it does not, or not all are texts. */
function listedTexts(schema: unknown): string[] | undefined {
  if (!isJsonObject(schema)) return undefined
  const { enum: values, allOf } = schema
  if (!Array.isArray(values)) return Array.isArray(allOf) && allOf.length === 1 ? listedTexts(allOf[0]) : undefined
  return values.every((value) => typeof value === 'string') ? values : undefined
}

/** A call of the tool, its parameters in the order of the schema. */
export function tagCallConstraint({ name, parameters }: CallableTool): Constraint {
  const schema = isJsonObject(parameters) ? parameters : {}
  // an object of which nothing is said
  const isOpen = parameters !== undefined && schema['properties'] === undefined && schema['additionalProperties'] !== false
  const properties = isJsonObject(schema['properties']) ? schema['properties'] : {}
  const required = new Set<unknown>(Array.isArray(schema['required']) ? schema['required'] : [])
  const values = Object.entries(properties).map(([key, value]) => {
    const part = sequence(literal(`${parameter}${key}>\n`), valueConstraint(value, schema))
    return required.has(key) ? part : optional(part)
  })
  return sequence(literal(`<function=${name}>\n`), ...values, ...(isOpen ? [anyParameters] : []), literal(closing))
}
