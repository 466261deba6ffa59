// What is stored of responses and conversations, in SQLite. Synchronous: it runs in a thread of its own.
import { closeSync, openSync } from 'node:fs'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import type { Item } from '../../protocol/responses/items.js'
import type { ResponseResource } from '../../protocol/responses/resource.js'

/** Bounds on what is kept; the oldest goes first. */
export interface StoreLimits {
  /** Bytes of JSON. */
  bytes: number
  /** Responses and conversations together. */
  count: number
  /** Seconds since the last change. */
  age: number
}

export interface Conversation {
  id: string
  object: 'conversation'
  /** Unix seconds. */
  created_at: number
  metadata: Record<string, string>
}

/** A part of a list of items. */
export interface ItemPage {
  items: Item[]
  hasMore: boolean
}

export interface PageRequest {
  limit: number
  order: 'asc' | 'desc'
  /** The id of the item before the page. */
  after?: string
}

export interface StoredResponse {
  resource: ResponseResource
  input: Item[]
  /** The server-sent events of a streamed background response. */
  events?: EventText
}

/** Whole events, one after the other as they stand in a stream. */
export interface EventText {
  /** The number of the first of them. */
  first: number
  text: string
}

/** Stored events from some number on. */
export interface EventPage {
  /** Empty: there are no more. */
  text: string
  /** The number that the next page begins with. */
  next: number
  /** The number of the first event that is stored. */
  oldest: number
}

/** Why a lookup failed: the id that was not found. */
export class NotStoredError extends Error {
  override readonly name = 'NotStoredError'
  constructor(
    readonly kind: 'response' | 'conversation' | 'item',
    readonly id: string,
  ) {
    super(`No ${kind} with id '${id}' found.`)
  }
}

/** What was said before is more than one request may go on from. */
export class HistoryTooLongError extends Error {
  override readonly name = 'HistoryTooLongError'
  constructor(readonly kind: NotStoredError['kind']) {
    super('The history is too long.')
  }
}

/** Characters of JSON: all of it goes to the thread that serves HTTP at once. */
export const maxHistoryLength = 16 << 20

// characters of events that a reader gets at once
const pageLength = 64 << 10

// a chain of turns longer than this does not fit any model
const maxChain = 4096

const schema = `
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA foreign_keys = ON;
PRAGMA user_version = 2;
CREATE TABLE IF NOT EXISTS holders (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, created INTEGER NOT NULL, changed INTEGER NOT NULL,
  body TEXT NOT NULL, previous TEXT, bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS holders_by_age ON holders (changed);
CREATE TABLE IF NOT EXISTS items (
  holder TEXT NOT NULL REFERENCES holders (id) ON DELETE CASCADE, position INTEGER NOT NULL, direction TEXT NOT NULL,
  id TEXT NOT NULL, item TEXT NOT NULL,
  PRIMARY KEY (holder, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_by_id ON items (id);
CREATE TABLE IF NOT EXISTS event_pages (
  holder TEXT NOT NULL REFERENCES holders (id) ON DELETE CASCADE, first INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (holder, first)
) STRICT;
`

type Row = Record<string, SQLInputValue>

const text = (row: Row, name: string): string => String(row[name])

export class ResponseDatabase {
  readonly #db: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()
  #bytes = 0

  /** @param path a file; '' keeps everything in memory. @param now milliseconds since 1970 */
  constructor(
    path: string,
    private readonly limits: StoreLimits,
    private readonly now: () => number = Date.now,
  ) {
    // what clients say is not for other users of this machine; SQLite gives its further files the mode of this one
    if (path !== '') closeSync(openSync(path, 'a', 0o600))
    this.#db = new DatabaseSync(path === '' ? ':memory:' : path)
    this.#db.exec(schema)
    this.#bytes = Number(this.#row('SELECT coalesce(sum(bytes), 0) AS n FROM holders')?.n ?? 0)
    this.#interrupted()
  }

  close(): void {
    this.#db.close()
  }

  /** Stores a response or replaces what is stored of it. */
  putResponse(owner: string, { resource, input, events }: StoredResponse): void {
    const { output, ...body } = resource
    this.#transaction(() => {
      this.#drop(resource.id)
      const text = JSON.stringify(body)
      const created = this.now()
      this.#run('INSERT INTO holders (id, owner, kind, created, changed, body, previous, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)', [
        resource.id,
        owner,
        'response',
        created,
        created,
        text,
        resource.previous_response_id,
        text.length,
      ])
      this.#bytes += text.length
      if (events) this.#putEvents(resource.id, events)
      this.#append(resource.id, 'in', input)
      this.#append(resource.id, 'out', output)
    })
    this.#evict(resource.id)
  }

  getResponse(owner: string, id: string): ResponseResource {
    const row = this.#holder(owner, 'response', id)
    const output = this.#all("SELECT item FROM items WHERE holder = ? AND direction = 'out' ORDER BY position", [id])
    return { ...(JSON.parse(text(row, 'body')) as ResponseResource), output: output.map(parsed) }
  }

  /** Events of a streamed background response from number `from` on, as many as a page holds; undefined where none were kept. */
  getEvents(owner: string, id: string, from: number): EventPage | undefined {
    this.#holder(owner, 'response', id)
    const oldest = this.#row('SELECT min(first) AS n FROM event_pages WHERE holder = ?', [id])?.n ?? null
    if (oldest === null) return undefined
    const page = this.#row('SELECT first, text FROM event_pages WHERE holder = ? AND first <= ? ORDER BY first DESC LIMIT 1', [id, from])
    if (!page) return { text: '', next: from, oldest: Number(oldest) }
    const events = eventsIn(text(page, 'text')).slice(from - Number(page.first))
    return { text: events.join(''), next: from + events.length, oldest: Number(oldest) }
  }

  getInput(owner: string, id: string, page: PageRequest): ItemPage {
    this.#holder(owner, 'response', id)
    return this.#page(id, 'in', page)
  }

  deleteResponse(owner: string, id: string): void {
    this.#holder(owner, 'response', id)
    this.#transaction(() => this.#drop(id))
  }

  /** Everything that was said up to and with a response, oldest first. Throws a HistoryTooLongError. */
  chain(owner: string, id: string): Item[] {
    const ids: string[] = []
    let length = 0
    for (let next: string | null = id; next !== null;) {
      if (ids.length >= maxChain) break
      const row: Row = this.#holder(owner, 'response', next)
      ids.push(next)
      length += this.#lengthOf(next)
      if (length > maxHistoryLength) throw new HistoryTooLongError('response')
      next = typeof row.previous === 'string' ? row.previous : null
    }
    return ids.reverse().flatMap((holder) => this.#said(holder))
  }

  /** Items by their ids, wherever they are stored; an id may stand there often. Throws a HistoryTooLongError. */
  findItems(owner: string, ids: readonly string[]): Item[] {
    let length = 0
    return ids.map((id) => {
      const row = this.#row('SELECT item FROM items JOIN holders ON holders.id = items.holder WHERE items.id = ? AND owner = ? LIMIT 1', [
        id,
        owner,
      ])
      if (!row) throw new NotStoredError('item', id)
      length += text(row, 'item').length
      if (length > maxHistoryLength) throw new HistoryTooLongError('item')
      return parsed(row)
    })
  }

  createConversation(owner: string, conversation: Conversation, items: readonly Item[]): void {
    this.#transaction(() => {
      const created = this.now()
      const body = JSON.stringify(conversation)
      this.#run('INSERT INTO holders (id, owner, kind, created, changed, body, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)', [
        conversation.id,
        owner,
        'conversation',
        created,
        created,
        body,
        body.length,
      ])
      this.#bytes += body.length
      this.#append(conversation.id, 'in', items)
    })
    this.#evict(conversation.id)
  }

  getConversation(owner: string, id: string): Conversation {
    return JSON.parse(text(this.#holder(owner, 'conversation', id), 'body')) as Conversation
  }

  updateConversation(owner: string, id: string, metadata: Record<string, string>): Conversation {
    const before = this.getConversation(owner, id)
    const changed = { ...before, metadata }
    const body = JSON.stringify(changed)
    this.#transaction(() => {
      this.#run('UPDATE holders SET body = ?, changed = ? WHERE id = ?', [body, this.now(), id])
      this.#grow(id, body.length - JSON.stringify(before).length)
    })
    this.#evict(id)
    return changed
  }

  deleteConversation(owner: string, id: string): void {
    this.#holder(owner, 'conversation', id)
    this.#transaction(() => this.#drop(id))
  }

  conversationItems(owner: string, id: string, page: PageRequest): ItemPage {
    this.#holder(owner, 'conversation', id)
    return this.#page(id, 'in', page)
  }

  /** Throws a HistoryTooLongError. */
  allConversationItems(owner: string, id: string): Item[] {
    this.#holder(owner, 'conversation', id)
    if (this.#lengthOf(id) > maxHistoryLength) throw new HistoryTooLongError('conversation')
    return this.#said(id)
  }

  conversationItem(owner: string, id: string, item: string): Item {
    this.#holder(owner, 'conversation', id)
    const row = this.#row('SELECT item FROM items WHERE holder = ? AND id = ?', [id, item])
    if (!row) throw new NotStoredError('item', item)
    return parsed(row)
  }

  addConversationItems(owner: string, id: string, items: readonly Item[]): void {
    this.#holder(owner, 'conversation', id)
    this.#transaction(() => {
      this.#append(id, 'in', items)
      this.#run('UPDATE holders SET changed = ? WHERE id = ?', [this.now(), id])
    })
    this.#evict(id)
  }

  deleteConversationItem(owner: string, id: string, item: string): Conversation {
    const row = this.conversationItem(owner, id, item)
    this.#transaction(() => {
      this.#run('DELETE FROM items WHERE holder = ? AND id = ?', [id, item])
      this.#grow(id, -JSON.stringify(row).length)
    })
    return this.getConversation(owner, id)
  }

  /** Removes what is too old. */
  expire(): void {
    const oldest = this.now() - this.limits.age * 1000
    for (const row of this.#all('SELECT id FROM holders WHERE changed < ? ORDER BY changed LIMIT 1000', [oldest])) {
      this.#transaction(() => this.#drop(text(row, 'id')))
    }
  }

  // a response that was under way when the server ended will not be finished
  #interrupted(): void {
    for (const row of this.#all("SELECT id, body FROM holders WHERE kind = 'response'")) {
      const body = JSON.parse(text(row, 'body')) as ResponseResource
      if (body.status !== 'in_progress' && body.status !== 'queued') continue
      const error = { code: 'server_error', message: 'The server ended before the response was complete.' }
      this.#run('UPDATE holders SET body = ? WHERE id = ?', [JSON.stringify({ ...body, status: 'failed', error }), text(row, 'id')])
    }
  }

  /** The row of what the owner has stored under the id; another owner's is not there. */
  #holder(owner: string, kind: 'response' | 'conversation', id: string): Row {
    const row = this.#row('SELECT * FROM holders WHERE id = ? AND owner = ? AND kind = ?', [id, owner, kind])
    if (!row || Number(row.changed) < this.now() - this.limits.age * 1000) throw new NotStoredError(kind, id)
    return row
  }

  #lengthOf(holder: string): number {
    return Number(this.#row('SELECT coalesce(sum(length(item)), 0) AS n FROM items WHERE holder = ?', [holder])?.n ?? 0)
  }

  #said(holder: string): Item[] {
    return this.#all('SELECT item FROM items WHERE holder = ? ORDER BY position', [holder]).map(parsed)
  }

  #append(holder: string, direction: 'in' | 'out', items: readonly Item[]): void {
    let position = Number(this.#row('SELECT coalesce(max(position), -1) AS n FROM items WHERE holder = ?', [holder])?.n ?? -1)
    let bytes = 0
    for (const item of items) {
      const text = JSON.stringify(item)
      bytes += text.length
      this.#run('INSERT INTO items (holder, position, direction, id, item) VALUES (?, ?, ?, ?, ?)', [
        holder,
        ++position,
        direction,
        item.id,
        text,
      ])
    }
    this.#grow(holder, bytes)
  }

  #putEvents(holder: string, { first, text }: EventText): void {
    for (let at = 0; at < text.length;) {
      const mark = text.indexOf(eventEnd, at + pageLength)
      const page = mark < 0 ? text.slice(at) : text.slice(at, mark + eventEnd.length)
      this.#run('INSERT INTO event_pages (holder, first, text) VALUES (?, ?, ?)', [holder, first, page])
      first += eventsIn(page).length
      at += page.length
    }
    this.#grow(holder, text.length)
  }

  #grow(holder: string, bytes: number): void {
    this.#run('UPDATE holders SET bytes = bytes + ? WHERE id = ?', [bytes, holder])
    this.#bytes += bytes
  }

  #page(holder: string, direction: 'in' | 'out', { limit, order, after }: PageRequest): ItemPage {
    const from =
      after === undefined ? undefined : this.#row('SELECT position FROM items WHERE holder = ? AND id = ?', [holder, after])?.position
    if (after !== undefined && from === undefined) throw new NotStoredError('item', after)
    const beyond = from === undefined ? '' : `AND position ${order === 'asc' ? '>' : '<'} ?`
    const rows = this.#all(
      `SELECT item FROM items WHERE holder = ? AND direction = ? ${beyond} ORDER BY position ${order === 'asc' ? 'ASC' : 'DESC'} LIMIT ?`,
      [holder, direction, ...(from === undefined ? [] : [from]), limit + 1],
    )
    return { items: rows.slice(0, limit).map(parsed), hasMore: rows.length > limit }
  }

  #drop(id: string): void {
    this.#bytes -= Number(this.#row('SELECT bytes FROM holders WHERE id = ?', [id])?.bytes ?? 0)
    this.#run('DELETE FROM holders WHERE id = ?', [id])
  }

  /** Makes room by removing the oldest. @param fresh what was stored just now: it stays unless it is too large by itself */
  #evict(fresh: string): void {
    this.expire()
    const full = (): boolean =>
      this.#bytes > this.limits.bytes || Number(this.#row('SELECT count(*) AS n FROM holders')?.n ?? 0) > this.limits.count
    while (full()) {
      const oldest = this.#row('SELECT id FROM holders WHERE id <> ? ORDER BY changed, created LIMIT 1', [fresh]) ?? { id: fresh }
      this.#transaction(() => this.#drop(text(oldest, 'id')))
      if (oldest.id === fresh) return
    }
  }

  #transaction(work: () => void): void {
    this.#db.exec('BEGIN')
    const before = this.#bytes
    try {
      work()
      this.#db.exec('COMMIT')
    } catch (error) {
      this.#bytes = before
      this.#db.exec('ROLLBACK')
      throw error
    }
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (!statement) this.#statements.set(sql, (statement = this.#db.prepare(sql)))
    return statement
  }

  #run(sql: string, values: SQLInputValue[]): void {
    this.#statement(sql).run(...values)
  }

  #row(sql: string, values: SQLInputValue[] = []): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined
  }

  #all(sql: string, values: SQLInputValue[] = []): Row[] {
    return this.#statement(sql).all(...values) as Row[]
  }
}

const eventEnd = '\n\n'

/** The events of a text that holds whole ones. */
const eventsIn = (text: string): string[] =>
  text
    .split(eventEnd)
    .slice(0, -1)
    .map((event) => event + eventEnd)

const parsed = (row: Row): Item => JSON.parse(text(row, 'item')) as Item
