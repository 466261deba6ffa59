// Reads answers by a response_schema. Its patterns are searched for while the text comes; what they agree on is given out at once, the rest
// when it is decided, which may be at the end.
import { TrimmedText } from '../answer.js'
import { isJsonObject } from '../call-json.js'
import { asText, callsIn, fieldRole, type Role } from '../declared-fields.js'
import type { ParserOptions } from '../format.js'
import { PiecewiseParser } from '../piecewise-parser.js'
import { type Budget, Search, SearchLimit, type Span } from '../python-regex/search.js'
import { ContentError } from '../response-template/content.js'
import { Evaluator, matchValue } from './evaluate.js'
import type { SchemaNode } from './schema.js'

/** Steps of the automaton that an answer may take: a second or two. */
const maxSteps = 1e7

type TextRole = 'content' | 'reasoning'

/** A group of a pattern that is a text of the answer. */
interface Stream {
  role: TextRole
  group: number
  /** Where the text that has been given out begins and ends. */
  begun: number | undefined
  given: number
}

/** A group whose value is made of its whole text. */
interface LateField {
  role: Role
  node: SchemaNode
  group: number
  done: boolean
}

/** A pattern that is searched for in the whole answer. */
interface Track {
  search: Search
  streams: Stream[]
  late: LateField[]
  /** Each match is an item of this node. */
  repeats?: SchemaNode
  over: boolean
}

/** Nothing is done to the text but that the pattern finds it. */
function isPlain(node: SchemaNode): boolean {
  const { constant, substitutions, iterator, keyValue, parser, mapping, mappingRegex, type } = node
  const steps = [constant, iterator, keyValue, parser, mapping, substitutions[0], mappingRegex[0]]
  return steps.every((step) => step === undefined) && (type === 'string' || type === 'any')
}

/** The root only hands the text, or the groups of its pattern, on to the properties. */
function handsOn({ constant, substitutions, iterator, keyValue, parser, mapping, mappingRegex, regex }: SchemaNode): boolean {
  const steps = [constant, iterator, keyValue, parser, mapping, substitutions[0], mappingRegex[0]]
  return steps.every((step) => step === undefined) && (!regex || regex.names.size > 0)
}

/** Half of what the node reads does not read like a whole one. */
function isJson({ parser, allowNonJson, items, properties }: SchemaNode): boolean {
  if (parser) return !allowNonJson
  return [items, ...(properties?.values() ?? [])].some((node) => node !== undefined && isJson(node))
}

export class SchemaParser extends PiecewiseParser {
  readonly #budget: Budget = { steps: maxSteps }
  readonly #evaluator = new Evaluator(this.#budget)
  readonly #tracks: Track[] = []
  /** Fields whose value is made of the whole answer. */
  readonly #late: { role: Role; node: SchemaNode }[] = []
  /** The whole answer is read by the root at once. */
  readonly #whole: boolean
  readonly #content = new TrimmedText(true, true)
  /** What looked like calls and is none. */
  readonly #unread: { start: number; end: number }[] = []
  #lastSaid: Role = 'unknown'
  #givenUp = false

  constructor(
    private readonly root: SchemaNode,
    private readonly options: ParserOptions,
  ) {
    super(options.maxCalls, false)
    this.#whole = !handsOn(root)
    if (this.#whole) return
    const fields = [...root.properties!].map(([name, node]) => ({ name, role: fieldRole(name), node }))
    const wanted = fields.filter(({ role, node }) => role !== 'unknown' && !node.constant)
    if (root.regex) this.#trackGroups(root, wanted)
    else for (const { role, node } of wanted) this.#trackField(role, node)
  }

  get inReasoning(): boolean {
    return this.#lastSaid === 'reasoning'
  }

  #trackGroups(root: SchemaNode, fields: readonly { name: string; role: Role; node: SchemaNode }[]): void {
    const track: Track = { search: new Search(root.regex!, this.#budget), streams: [], late: [], over: false }
    for (const { name, role, node } of fields) {
      const group = root.regex!.names.get(name)
      if (group !== undefined) this.#listen(track, role, node, group, isPlain(node) && !node.regex)
    }
    this.#tracks.push(track)
  }

  #trackField(role: Role, node: SchemaNode): void {
    const first = node.regex ?? node.iterator
    if (!first || node.substitutions.length > 0 || (node.regex && node.regex.names.size > 0)) {
      this.#late.push({ role, node })
      return
    }
    const track: Track = { search: new Search(first, this.#budget), streams: [], late: [], over: false }
    if (node.regex) this.#listen(track, role, node, 1, isPlain(node))
    else if (role === 'calls' && node.items && !node.parser) track.repeats = node
    else {
      this.#late.push({ role, node })
      return
    }
    this.#tracks.push(track)
  }

  #listen(track: Track, role: Role, node: SchemaNode, group: number, plain: boolean): void {
    if (plain && (role === 'content' || role === 'reasoning')) track.streams.push({ role, group, begun: undefined, given: 0 })
    else track.late.push({ role, node, group, done: false })
  }

  protected step(): boolean {
    if (this.#givenUp) return this.#sayRest(this.text.length)
    const before = this.text.length
    try {
      for (const track of this.#tracks) this.#advance(track)
    } catch (error) {
      if (!(error instanceof SearchLimit)) throw error
      this.#givenUp = true
      return this.#sayRest(before)
    }
    return false
  }

  // a text on which the patterns take too long is not read any further: all of it is content
  #sayRest(end: number): false {
    const streams = this.#tracks.flatMap((track) => track.streams)
    const from = Math.max(0, ...streams.map(({ given }) => given))
    this.#say('content', this.text.slice(from, end))
    for (const stream of streams) stream.given = 0
    this.text = this.text.slice(end)
    return false
  }

  #advance(track: Track): void {
    while (!track.over) {
      const stepped = track.search.step(this.text, this.ended)
      if (!stepped && !track.search.done) return
      if (!track.search.done || !this.#brokenStream(track)) {
        for (const stream of track.streams) this.#hear(track.search, stream)
        for (const field of track.late) this.#hearField(track, field)
      }
      if (track.search.done) this.#endSearch(track)
    }
  }

  /** The pattern has been found, or will not be. */
  #endSearch(track: Track): void {
    const { match } = track.search
    if (!track.repeats || !match) {
      track.over = true
      return
    }
    const { repeats } = track
    const read = (): unknown => this.#evaluator.value(repeats.items!, matchValue(repeats.iterator!, match, this.text))
    const half = this.#isHalf(repeats, track.search, 0, match.end)
    if (half || !this.#sayCalls(read)) this.#unread.push(match)
    track.search = new Search(repeats.iterator!, this.#budget, { from: match.end, mustAdvance: match.start === match.end })
  }

  #hear(search: Search, stream: Stream): void {
    const settled = search.settled(stream.group)
    // where nothing is found the answer is content, too
    const safe = settled && (settled.sure || (stream.role === 'content' && settled.span.start === 0)) ? settled.span : undefined
    const span = safe ?? search.likely(stream.group)
    if (span && span.end > span.start && (stream.begun ?? span.start) === span.start) this.#give(stream, span)
  }

  #give(stream: Stream, { start, end }: Span): void {
    const from = stream.begun === undefined ? start : stream.given
    stream.begun = start
    if (end <= from) return
    stream.given = end
    this.#say(stream.role, this.text.slice(from, end))
  }

  #hearField(track: Track, field: LateField): void {
    if (field.done) return
    const settled = track.search.settled(field.group)
    if (settled?.sure && settled.span.closed) field.done = this.#readField(track, field, settled.span)
  }

  /** False: the text is no value of the field. */
  #readField({ search }: Track, { role, node, group }: LateField, { start, end }: Span): boolean {
    const text = this.text.slice(start, end)
    if (role === 'calls' && this.#isHalf(node, search, group, end)) return false
    // a field with a pattern of its own has matched it already
    const own = this.root.regex === undefined
    return this.#sayValue(role, () => (own ? this.#evaluator.fromMatch(node, text) : this.#evaluator.value(node, text)))
  }

  protected end(): void {
    if (this.#givenUp) return
    try {
      if (this.#whole) this.#readWhole()
      else this.#readRest()
    } catch (error) {
      if (!(error instanceof SearchLimit)) throw error
      this.#sayRest(this.text.length)
    }
    // nothing of it is lost where the schema finds nothing
    if (this.#lastSaid === 'unknown') this.#say('content', this.text)
  }

  #readRest(): void {
    const broken = this.#tracks.map((track) => this.#brokenStream(track)).find((stream) => stream !== undefined)
    if (broken) {
      this.#say(broken.role, this.text.slice(broken.given))
      this.#sayUnread(broken.given)
      return
    }
    for (const track of this.#tracks) {
      const { match } = track.search
      const spans = match?.spans ?? []
      for (const stream of track.streams) {
        const span = spans[stream.group]
        if (span) this.#give(stream, span)
      }
      for (const field of track.late) {
        const span = spans[field.group]
        if (!span || field.done || this.#readField(track, field, span)) continue
        this.#unread.push(this.root.regex ? span : match!)
      }
    }
    for (const { role, node } of this.#late) this.#sayValue(role, () => this.#evaluator.value(node, this.text))
    this.#sayUnread(this.text.length)
  }

  /** As content, up to a place; where nothing else has been said, the whole answer will be. */
  #sayUnread(before: number): void {
    if (this.#lastSaid === 'unknown') return
    for (const { start, end } of this.#unread) if (start < before) this.#say('content', this.text.slice(start, end))
  }

  /** The last text given out that the match, now that it is known, does not have there: the answer ended within it. */
  #brokenStream({ search, streams }: Track): Stream | undefined {
    const wrong = streams.filter(({ begun, given, group }) => {
      const span = search.match?.spans[group]
      return begun !== undefined && !(span?.start === begun && span.end >= given)
    })
    return wrong.sort((a, b) => b.given - a.given)[0]
  }

  /** The answer was cut off where the group ends, and would not have ended there otherwise. Half a call may read like a whole one, but for JSON. */
  #isHalf(node: SchemaNode, search: Search, group: number, end: number): boolean {
    if (!this.cut || end !== this.text.length || isJson(node)) return false
    return search.again().run(`${this.text}\uffff`, true)?.spans[group]?.end !== end
  }

  #readWhole(): void {
    let value: unknown
    try {
      value = this.#evaluator.value(this.root, this.text)
    } catch (error) {
      if (!(error instanceof ContentError)) throw error
    }
    if (!isJsonObject(value)) return
    for (const [name, part] of Object.entries(value)) {
      this.#sayValue(fieldRole(name), () => part)
    }
  }

  #say(role: TextRole, text: string): void {
    if (text === '') return
    // calls may be given out before or after the text beside them: the white space at its ends is left out either way
    if (role === 'content') this.answer.content(this.#content.push(text))
    else this.answer.reasoning(text)
    this.#lastSaid = role
  }

  /** False: there is no value. */
  #sayValue(role: Role, read: () => unknown): boolean {
    if (role === 'calls') return this.#sayCalls(read)
    const value = this.#read(read)
    if ((role === 'content' || role === 'reasoning') && value !== undefined && value !== null) this.#say(role, asText(value))
    return value !== undefined
  }

  #sayCalls(read: () => unknown): boolean {
    const value = this.options.readCalls ? this.#read(read) : undefined
    if (value === null) return true
    const none = Array.isArray(value) && value.length === 0
    const calls = none ? [] : callsIn(value, this.options.tools)
    for (const call of calls ?? []) this.answer.call(call)
    if (calls) this.#lastSaid = 'calls'
    return calls !== undefined
  }

  /** undefined: the text is no value of its kind. */
  #read(read: () => unknown): unknown {
    try {
      return read()
    } catch (error) {
      if (error instanceof ContentError) return undefined
      throw error
    }
  }
}
