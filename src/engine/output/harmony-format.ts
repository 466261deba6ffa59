// gpt-oss's harmony: the answer is a row of messages, each with a header that says which channel or tool it goes to.
import type { Constraint } from '../constraint.js'
import { argumentsText, parseExactly } from './call-json.js'
import { anyOf, argumentsOf, type CallableTool, literal, optional, sequence, textUntil, textWithout } from './constraints.js'
import type { AnswerFormat, ParserOptions } from './format.js'
import { findMarker } from './markers.js'
import { jsonDialect, ObjectReader } from './object-reader.js'
import { PiecewiseParser } from './piecewise-parser.js'

const start = '<|start|>'
const message = '<|message|>'
const channel = '<|channel|>'
const ends = ['<|end|>', '<|call|>', '<|return|>', start]

/** A header longer than this is none: the model does not keep to the notation, and what it says is content. */
const maxHeader = 256
const recipientOf = /\bto=(?:functions\.)?([^\s<]+)/
const channelOf = /<\|channel\|>\s*(\w+)/

interface CallBody {
  kind: 'call'
  header: string
  name: string
  /** Once the arguments have begun as an object; what is none is read as a whole. */
  reader?: ObjectReader
}
interface SpokenBody {
  kind: 'content' | 'reasoning'
  /** White space at its beginning belongs to the call before it. */
  behindCall?: boolean
}
type Body = SpokenBody | CallBody

class HarmonyParser extends PiecewiseParser {
  readonly #readCalls: boolean
  /** What is being said; undefined within a header. */
  #body: Body | undefined
  #searched = 0

  constructor(prompt: string, options: ParserOptions) {
    super(options.maxCalls)
    this.#readCalls = options.readCalls
    // the template has begun the header
    const begun = prompt.lastIndexOf(start)
    if (begun >= 0) this.push(prompt.slice(begun + start.length))
  }

  get inReasoning(): boolean {
    return this.#body?.kind === 'reasoning'
  }

  protected step(): boolean {
    return this.#body ? this.#stepBody(this.#body) : this.#stepHeader()
  }

  protected end(): void {
    const body = this.#body
    if (body?.kind === 'call') this.#endCall(body, this.text)
    // a header that names a tool is lost work; one that names a channel says nothing
    else if (!body && (recipientOf.test(this.text) || !this.text.includes(channel))) this.answer.content(spoken(this.text))
  }

  #stepHeader(): boolean {
    const { at, marker } = findMarker(this.text, [message], this.ended, this.#searched)
    this.#searched = at
    if (at <= maxHeader) {
      if (marker === undefined) return false
      this.#open(this.text.slice(0, at))
      this.#cut(at + marker.length)
      return true
    }
    this.#body = { kind: 'content' }
    this.text = spoken(this.text)
    this.#searched = 0
    return true
  }

  #open(header: string): void {
    const name = this.#readCalls ? recipientOf.exec(header)?.[1] : undefined
    if (name !== undefined) this.#body = { kind: 'call', header, name }
    else this.#body = { kind: channelOf.exec(header)?.[1] === 'analysis' ? 'reasoning' : 'content' }
    this.answer.border()
  }

  #stepBody(body: Body): boolean {
    if (body.kind !== 'call' && body.behindCall) {
      this.text = this.text.trimStart()
      body.behindCall = this.text === ''
    }
    const { at, marker } = findMarker(this.text, ends, this.ended, this.#searched)
    if (body.kind === 'call') {
      if (!body.reader && /^\s*\{/.test(this.text.slice(0, at))) {
        body.reader = new ObjectReader(jsonDialect)
        this.text = this.text.trimStart()
        this.answer.beginCall(body.name)
        return this.#stepBody(body)
      }
      if (body.reader) return this.#stepArguments(body.reader, at, marker)
      this.#searched = at
      if (marker === undefined) return false
      this.#endCall(body, this.text.slice(0, at) + marker)
    } else {
      if (body.kind === 'reasoning') this.answer.reasoning(this.text.slice(0, at))
      else this.answer.content(this.text.slice(0, at))
      if (marker === undefined) {
        this.#cut(at)
        return false
      }
    }
    this.#endBody(at + marker.length)
    return true
  }

  #stepArguments(reader: ObjectReader, at: number, marker: string | undefined): boolean {
    this.answer.callArguments(reader.push(this.text.slice(0, at), marker !== undefined || this.ended))
    this.#cut(at)
    if (reader.over || marker !== undefined || this.ended) this.answer.endCall(reader.whole)
    if (reader.over) {
      this.text = reader.rest + this.text
      this.#body = { kind: 'content', behindCall: true }
      return true
    }
    if (marker !== undefined) this.#endBody(marker.length)
    return marker !== undefined
  }

  #endBody(end: number): void {
    this.#cut(end)
    this.#body = undefined
    this.answer.border()
  }

  /** A call that has not begun. @param said the arguments, and the marker where there is one */
  #endCall({ header, name, reader }: CallBody, said: string): void {
    if (reader) return
    const end = ends.find((marker) => said.endsWith(marker)) ?? ''
    const body = said.slice(0, said.length - end.length).trim()
    const text = body === '' ? (this.cut ? undefined : '{}') : argumentsText(parseExactly(body) ?? false)
    if (text === undefined) this.answer.content(spoken(header) + message + said)
    else this.answer.call({ name, arguments: text })
  }

  #cut(at: number): void {
    this.text = this.text.slice(at)
    this.#searched = 0
  }
}

// a header's text without the words that only open a message
const spoken = (text: string): string => text.replace(/^(?:<\|start\|>)?\s*(?:assistant)?/, '')

const analysis = sequence(literal(`${channel}analysis${message}`), textUntil(['<|end|>']), literal(`${start}assistant`))

// as the template writes it, and as the model was taught to
const header = ({ name }: CallableTool): Constraint =>
  anyOf([
    literal(` to=functions.${name}${channel}commentary json${message}`),
    literal(`${channel}commentary to=functions.${name} <|constrain|>json${message}`),
  ])

const recipient = 'to='
/** What follows the recipient in the headers that models write. */
const afterRecipient = anyOf(
  ['', ' json', ' <|constrain|>json', `${channel}commentary`, `${channel}commentary json`, `${channel}commentary <|constrain|>json`].map(
    (words) => literal(words + message),
  ),
)

/** Messages of any kind up to one to a tool, which must be a call and is the last. The template has begun the first header. */
function guarded(tools: readonly CallableTool[]): Constraint {
  const header = textUntil([message], [recipient])
  const spokenMessage = sequence(header, textUntil([...ends]))
  const call = tools.map((tool) => sequence(literal(`functions.${tool.name}`), afterRecipient, argumentsOf(tool)))
  return sequence(
    { type: 'repeat', item: spokenMessage, min: 0, max: null },
    anyOf([
      textWithout([message, recipient]),
      sequence(header, textWithout([...ends])),
      sequence(textUntil([recipient], [message]), anyOf(call)),
    ]),
  )
}

export const harmonyFormat: AnswerFormat = {
  name: 'harmony',
  markers: [channel, message, '<|constrain|>', ...ends],
  parser: (prompt, options) => new HarmonyParser(prompt, options),
  constrain({ content, calls }) {
    const options = content ? [sequence(literal(`${channel}final${message}`), content)] : []
    // one call: the model ends its turn with it
    if (calls) options.push(anyOf(calls.tools.map((tool) => sequence(header(tool), argumentsOf(tool)))))
    return sequence(optional(analysis), anyOf(options))
  },
  guardCalls: ({ tools }) => guarded(tools),
}
