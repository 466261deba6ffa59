// gpt-oss's harmony: the answer is a row of messages, each with a header that says which channel or tool it goes to.
import type { Constraint } from '../constraint.js'
import { Answer, type AnswerParser, type AnswerPart } from './answer.js'
import { argumentsText, parseExactly } from './call-json.js'
import { anyOf, argumentsOf, type CallableTool, literal, optional, sequence, textUntil, textWithout } from './constraints.js'
import type { AnswerFormat, ParserOptions } from './format.js'
import { findMarker } from './markers.js'

const start = '<|start|>'
const message = '<|message|>'
const channel = '<|channel|>'
const ends = ['<|end|>', '<|call|>', '<|return|>', start]

/** A header longer than this is none: the model does not keep to the notation, and what it says is content. */
const maxHeader = 256
const recipientOf = /\bto=(?:functions\.)?([^\s<]+)/
const channelOf = /<\|channel\|>\s*(\w+)/

type Body = { kind: 'content' | 'reasoning' } | { kind: 'call'; header: string; name: string }

class HarmonyParser implements AnswerParser {
  readonly #answer: Answer
  readonly #readCalls: boolean
  /** What is being said; undefined within a header. */
  #body: Body | undefined
  #text = ''
  #searched = 0
  #ended = false

  constructor(prompt: string, options: ParserOptions) {
    this.#answer = new Answer(options.maxCalls)
    this.#readCalls = options.readCalls
    // the template has begun the header
    const begun = prompt.lastIndexOf(start)
    if (begun >= 0) this.push(prompt.slice(begun + start.length))
    this.#answer.take()
  }

  get inReasoning(): boolean {
    return this.#body?.kind === 'reasoning'
  }

  get endsWithCall(): boolean {
    return this.#answer.endsWithCall
  }

  get full(): boolean {
    return this.#answer.full
  }

  push(text: string): AnswerPart {
    this.#text += text
    while (this.#body ? this.#stepBody(this.#body) : this.#stepHeader());
    return this.#answer.take()
  }

  finish(cut: boolean): AnswerPart {
    this.#ended = true
    while (this.#body ? this.#stepBody(this.#body) : this.#stepHeader());
    if (this.#body?.kind === 'call') this.#endCall(this.#body, this.#text, cut)
    // a header that names a tool is lost work; one that names a channel says nothing
    else if (!this.#body && (recipientOf.test(this.#text) || !this.#text.includes(channel))) this.#answer.content(spoken(this.#text))
    return this.#answer.finish()
  }

  #stepHeader(): boolean {
    const { at, marker } = findMarker(this.#text, [message], this.#ended, this.#searched)
    this.#searched = at
    if (marker !== undefined) {
      this.#open(this.#text.slice(0, at))
      this.#cut(at + marker.length)
      return true
    }
    if (this.#text.length <= maxHeader) return false
    this.#body = { kind: 'content' }
    this.#text = spoken(this.#text)
    this.#searched = 0
    return true
  }

  #open(header: string): void {
    const name = this.#readCalls ? recipientOf.exec(header)?.[1] : undefined
    if (name !== undefined) this.#body = { kind: 'call', header, name }
    else this.#body = { kind: channelOf.exec(header)?.[1] === 'analysis' ? 'reasoning' : 'content' }
    this.#answer.border()
  }

  #stepBody(body: Body): boolean {
    const { at, marker } = findMarker(this.#text, ends, this.#ended, this.#searched)
    if (body.kind === 'call') {
      this.#searched = at
      if (marker === undefined) return false
      this.#endCall(body, this.#text.slice(0, at) + marker, false)
    } else {
      if (body.kind === 'reasoning') this.#answer.reasoning(this.#text.slice(0, at))
      else this.#answer.content(this.#text.slice(0, at))
      if (marker === undefined) {
        this.#cut(at)
        return false
      }
    }
    this.#cut(at + marker.length)
    this.#body = undefined
    this.#answer.border()
    return true
  }

  /** @param said the arguments, and the marker where there is one */
  #endCall({ header, name }: Body & { kind: 'call' }, said: string, cut: boolean): void {
    const end = ends.find((marker) => said.endsWith(marker)) ?? ''
    const body = said.slice(0, said.length - end.length).trim()
    const text = body === '' ? (cut ? undefined : '{}') : argumentsText(parseExactly(body) ?? false)
    if (text === undefined) this.#answer.content(spoken(header) + message + said)
    else this.#answer.call({ name, arguments: text })
  }

  #cut(at: number): void {
    this.#text = this.#text.slice(at)
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
