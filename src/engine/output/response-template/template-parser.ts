// Reads answers by a response_template: in the field without a beginning every other one may open, in the others only their end counts.
import { isJsonObject } from '../call-json.js'
import { asText, callsIn, type Role, fieldRole } from '../declared-fields.js'
import type { ParserOptions } from '../format.js'
import { PiecewiseParser } from '../piecewise-parser.js'
import { allMatches, firstMatch, MatchTimeout } from './bounded-match.js'
import { applyTransform, ContentError, parseContent } from './content.js'
import type { Delimiter, ResponseTemplate, TemplateField } from './template.js'

interface Hit {
  field: TemplateField
  kind: 'open' | 'close'
  at: number
  text: string
  groups: Record<string, string>
}

const roleOf = (field: TemplateField | undefined): Role => fieldRole(field?.name ?? '')
// text as it comes; what needs its whole body is given out at its end
const streams = (field: TemplateField): boolean => field.content === 'text' && field.transform === undefined

export class TemplateParser extends PiecewiseParser {
  /** The field that is open; undefined: the one without a beginning. */
  #field: TemplateField | undefined
  #groups: Record<string, string> = {}
  #opening = ''
  #body = ''
  #givenUp = false

  constructor(
    private readonly template: ResponseTemplate,
    prompt: string,
    private readonly options: ParserOptions,
  ) {
    super(options.maxCalls)
    let begin = -1
    try {
      for (const match of allMatches(template.anchor.full, template.anchor.cost, prompt)) begin = match.index + match[0].length
    } catch (error) {
      if (!(error instanceof MatchTimeout)) throw error
    }
    // the template has begun the answer; a prompt in which nothing can be found has not
    if (begin >= 0) this.push(prompt.slice(begin))
  }

  get inReasoning(): boolean {
    return roleOf(this.#field ?? this.template.implicit) === 'reasoning'
  }

  protected end(): void {
    // half a call may read like a whole one, but for JSON
    const half = this.cut && this.#field?.content !== 'json' && roleOf(this.#field) === 'calls'
    if (half) this.answer.content(this.#opening + this.#body)
    else this.#close('')
  }

  protected step(): boolean {
    if (this.#givenUp) return this.#sayRest()
    let scanned: { hit: Hit | undefined; hold: number }
    try {
      scanned = this.#scan()
    } catch (error) {
      if (!(error instanceof MatchTimeout)) throw error
      this.#givenUp = true
      return this.#sayRest()
    }
    const { hit, hold } = scanned
    if (!hit) {
      this.#say(this.text.slice(0, hold))
      this.text = this.text.slice(hold)
      return false
    }
    this.#say(this.text.slice(0, hit.at))
    this.text = this.text.slice(hit.at + hit.text.length)
    if (hit.kind === 'close') this.#close(hit.text)
    else {
      this.#close('')
      this.#open(hit)
    }
    // a match of nothing would be found again for ever
    return hit.text !== '' || hit.at > 0
  }

  // a text on which the patterns take too long is not read any further: all of it is content
  #sayRest(): false {
    if (this.#body !== '') this.answer.content(this.#opening + this.#body)
    this.answer.content(this.text)
    this.#field = undefined
    this.#body = ''
    this.text = ''
    return false
  }

  /** The first delimiter that can be decided, and the place from which on the text may be part of one that cannot. */
  #scan(): { hit: Hit | undefined; hold: number } {
    let hit: Hit | undefined
    let hold = this.text.length
    for (const [kind, field, delimiter] of this.#watched()) {
      const pending = this.ended ? this.text.length : this.#pendingAt(delimiter)
      const match = firstMatch(delimiter.full, delimiter.cost, this.text)
      const end = match ? match.index + match[0].length : 0
      const grows = match && !this.ended && end === this.text.length && (match[0] === '' || delimiter.canGrow)
      if (!match || grows || pending < match.index) {
        hold = Math.min(hold, pending, match ? match.index : pending)
        continue
      }
      const better = !hit || match.index < hit.at || (match.index === hit.at && match[0].length > hit.text.length)
      if (better) hit = { field, kind, at: match.index, text: match[0], groups: namedGroups(match) }
    }
    return hit && hit.at < hold ? { hit, hold } : { hit: hit && this.ended ? hit : undefined, hold }
  }

  #pendingAt({ partial, cost }: Delimiter): number {
    return firstMatch(partial, cost, this.text)?.index ?? this.text.length
  }

  #watched(): [Hit['kind'], TemplateField, Delimiter][] {
    const field = this.#field
    if (field) return field.close ? [['close', field, field.close]] : []
    const { fields, implicit } = this.template
    const opens = fields.flatMap((each): [Hit['kind'], TemplateField, Delimiter][] =>
      each.open && this.#wanted(each) ? [['open', each, each.open]] : [],
    )
    return implicit?.close ? [...opens, ['close', implicit, implicit.close]] : opens
  }

  #wanted(field: TemplateField): boolean {
    return this.options.readCalls || roleOf(field) !== 'calls'
  }

  #say(text: string): void {
    const field = this.#field ?? this.template.implicit
    if (text === '') return
    if (field && streams(field) && roleOf(field) === 'content') this.answer.content(text)
    else if (field && streams(field) && roleOf(field) === 'reasoning') this.answer.reasoning(text)
    else if (field) this.#body += text
    // a template without a field for it leaves text outside of all others out; here it is content
    else this.answer.content(text)
  }

  #open({ field, text, groups }: Hit): void {
    this.#field = field
    this.#groups = groups
    this.#opening = text
    this.#body = ''
    this.answer.border()
  }

  /** @param closing the delimiter's text; '' where the field ends without one */
  #close(closing: string): void {
    const field = this.#field ?? this.template.implicit
    const body = this.#body
    const explicit = this.#field !== undefined
    this.#field = undefined
    this.#body = ''
    if (!field) return
    if (!streams(field) && (explicit || body !== '')) this.#emit(field, body, closing)
    if (explicit || closing !== '') this.answer.border()
  }

  #emit(field: TemplateField, body: string, closing: string): void {
    const role = roleOf(field)
    if (role === 'unknown') return
    const value = this.#valueOf(field, body)
    const calls = role === 'calls' ? callsIn(value, this.options.tools) : undefined
    if (calls) for (const call of calls) this.answer.call(call)
    else if (role === 'reasoning' && value !== undefined) this.answer.reasoning(asText(value))
    else if (role === 'content' && value !== undefined) this.answer.content(asText(value))
    else this.answer.content(this.#opening + body + closing)
  }

  #valueOf(field: TemplateField, body: string): unknown {
    try {
      const value = parseContent(body, field.content, field.args)
      if (field.transform === undefined) return value
      if (!field.transformEach) return applyTransform(field.transform, { ...this.#groups, content: value })
      return Array.isArray(value) && value.every(isJsonObject)
        ? value.map((item) => applyTransform(field.transform, { ...this.#groups, ...item }))
        : undefined
    } catch (error) {
      if (error instanceof ContentError || error instanceof MatchTimeout) return undefined
      throw error
    }
  }
}

const namedGroups = (match: RegExpExecArray): Record<string, string> =>
  Object.fromEntries(Object.entries(match.groups ?? {}).filter(([, value]) => (value as string | undefined) !== undefined))
