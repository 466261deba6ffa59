import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { type Item, newId, readInput } from '../../../src/protocol/responses/items.js'
import type { ResponseResource } from '../../../src/protocol/responses/resource.js'
import { readResponsesRequest } from '../../../src/protocol/responses/schema.js'
import { HistoryTooLongError, NotStoredError, ResponseDatabase, type StoreLimits } from '../../../src/server/responses/database.js'

const roomy: StoreLimits = { bytes: 1 << 20, count: 1000, age: 3600 }

const items = (...texts: string[]): Item[] => texts.map((text) => readInput(text)[0] as Item)
const texts = (list: readonly Item[]): unknown[] => list.map((item) => (item.type === 'message' ? item.content[0]?.text : item.type))

function resource(previous: string | null = null, output: Item[] = items('answer')): ResponseResource {
  const { echo } = readResponsesRequest({ input: 'x' })
  return {
    ...echo,
    previous_response_id: previous,
    id: newId('resp'),
    object: 'response',
    created_at: 1,
    completed_at: 2,
    model: 'm@main',
    status: 'completed',
    error: null,
    incomplete_details: null,
    output,
    usage: null,
  }
}

describe('stored responses', () => {
  it('gives back what was put, with its output', () => {
    const db = new ResponseDatabase('', roomy)
    const stored = resource()
    db.putResponse('me', { resource: stored, input: items('question') })
    expect(db.getResponse('me', stored.id)).toEqual(stored)
    expect(texts(db.getInput('me', stored.id, { limit: 20, order: 'asc' }).items)).toEqual(['question'])
  })

  it('replaces a response that is put again', () => {
    const db = new ResponseDatabase('', roomy)
    const first = { ...resource(), status: 'in_progress' as const, output: [] }
    db.putResponse('me', { resource: first, input: items('q') })
    db.putResponse('me', {
      resource: { ...first, status: 'completed', output: items('done') },
      input: items('q'),
      events: { first: 0, text: 'a\n\nb\n\n' },
    })
    expect(db.getResponse('me', first.id)).toMatchObject({ status: 'completed' })
    expect(texts(db.getResponse('me', first.id).output)).toEqual(['done'])
    expect(db.getEvents('me', first.id, 0)).toEqual({ text: 'a\n\nb\n\n', next: 2, oldest: 0 })
  })

  it('gives events by the page, from any number on', () => {
    const db = new ResponseDatabase('', roomy)
    const stored = resource()
    const all = Array.from({ length: 400 }, (_, n) => `event ${n} ${'é'.repeat((n * 37) % 2000)}\n\n`)
    all[99] = `long ${'x'.repeat(300_000)}\n\n`
    const first = 7
    db.putResponse('me', { resource: stored, input: [], events: { first, text: all.join('') } })
    for (const from of [7, 8, 105, 106, 107, 300, 406, 407, 5000]) {
      let got = ''
      let pages = 0
      for (let next = from; ; pages++) {
        const page = db.getEvents('me', stored.id, next)!
        expect(page.oldest).toBe(first)
        if (page.text === '') break
        expect(page.text.length).toBeLessThan(400_000)
        got += page.text
        next = page.next
      }
      expect(got).toBe(all.slice(from - first).join(''))
      if (from === first) expect(pages).toBeGreaterThan(5)
    }
    expect(db.getEvents('me', stored.id, 3)).toEqual({ text: '', next: 3, oldest: first })
    db.deleteResponse('me', stored.id)
    expect(() => db.getEvents('me', stored.id, 7)).toThrow(NotStoredError)
    const plain = resource()
    db.putResponse('me', { resource: plain, input: [] })
    expect(db.getEvents('me', plain.id, 0)).toBeUndefined()
  })

  it('counts events among the bytes that are kept', () => {
    const db = new ResponseDatabase('', { ...roomy, bytes: 100_000 })
    const [old, fresh] = [resource(), resource()]
    db.putResponse('me', { resource: old, input: [], events: { first: 0, text: `${'x'.repeat(60_000)}\n\n` } })
    db.putResponse('me', { resource: fresh, input: [], events: { first: 0, text: `${'y'.repeat(60_000)}\n\n` } })
    expect(() => db.getResponse('me', old.id)).toThrow(NotStoredError)
    expect(db.getEvents('me', fresh.id, 0)?.next).toBe(1)
  })

  it('follows the chain of previous responses, oldest first', () => {
    const db = new ResponseDatabase('', roomy)
    const one = resource(null, items('a1'))
    const two = resource(one.id, items('a2'))
    db.putResponse('me', { resource: one, input: items('q1') })
    db.putResponse('me', { resource: two, input: items('q2') })
    expect(texts(db.chain('me', two.id))).toEqual(['q1', 'a1', 'q2', 'a2'])
    db.deleteResponse('me', one.id)
    expect(() => db.chain('me', two.id)).toThrow(NotStoredError)
  })

  it("keeps an owner's responses and items from others", () => {
    const db = new ResponseDatabase('', roomy)
    const [input] = items('secret')
    const stored = resource()
    db.putResponse('me', { resource: stored, input: [input!] })
    for (const ask of [
      () => db.getResponse('you', stored.id),
      () => db.getInput('you', stored.id, { limit: 1, order: 'asc' }),
      () => db.chain('you', stored.id),
      () => db.findItems('you', [input!.id]),
      () => db.deleteResponse('you', stored.id),
      () => db.getEvents('you', stored.id, 0),
      () => db.getConversation('me', stored.id),
    ]) {
      expect(ask).toThrow(NotStoredError)
    }
    expect(db.findItems('me', [input!.id])).toEqual([input])
  })

  it('pages in both orders', () => {
    const db = new ResponseDatabase('', roomy)
    const input = items('1', '2', '3', '4', '5')
    const stored = resource()
    db.putResponse('me', { resource: stored, input })
    const down = db.getInput('me', stored.id, { limit: 2, order: 'desc' })
    expect([texts(down.items), down.hasMore]).toEqual([['5', '4'], true])
    const on = db.getInput('me', stored.id, { limit: 9, order: 'desc', after: down.items[1]!.id })
    expect([texts(on.items), on.hasMore]).toEqual([['3', '2', '1'], false])
    expect(texts(db.getInput('me', stored.id, { limit: 2, order: 'asc', after: input[1]!.id }).items)).toEqual(['3', '4'])
    expect(() => db.getInput('me', stored.id, { limit: 2, order: 'asc', after: 'msg_none' })).toThrow(NotStoredError)
  })
})

describe('bounds', () => {
  it('removes the oldest beyond the count', () => {
    let now = 0
    const db = new ResponseDatabase('', { ...roomy, count: 2 }, () => ++now)
    const all = [resource(), resource(), resource()]
    for (const one of all) db.putResponse('me', { resource: one, input: [] })
    expect(() => db.getResponse('me', all[0]!.id)).toThrow(NotStoredError)
    expect(db.getResponse('me', all[1]!.id).id).toBe(all[1]!.id)
    expect(db.getResponse('me', all[2]!.id).id).toBe(all[2]!.id)
  })

  it('removes the oldest beyond the bytes, and keeps count after deletions', () => {
    let now = 0
    const db = new ResponseDatabase('', { ...roomy, bytes: 20_000 }, () => ++now)
    const long = 'x'.repeat(6000)
    const all = [resource(), resource(), resource(), resource()]
    for (const one of all.slice(0, 3)) db.putResponse('me', { resource: one, input: items(long) })
    expect(() => db.getResponse('me', all[0]!.id)).toThrow(NotStoredError)
    db.deleteResponse('me', all[1]!.id)
    db.putResponse('me', { resource: all[3]!, input: items(long) })
    expect(db.getResponse('me', all[2]!.id).id).toBe(all[2]!.id)
    const huge = resource()
    db.putResponse('me', { resource: huge, input: items('x'.repeat(30_000)) })
    expect(() => db.getResponse('me', huge.id)).toThrow(NotStoredError)
  })

  it('counts what conversations are changed to', () => {
    let now = 0
    const db = new ResponseDatabase('', { ...roomy, bytes: 10_000 }, () => ++now)
    const ids = [newId('conv'), newId('conv')] as const
    for (const id of ids) db.createConversation('me', { id, object: 'conversation', created_at: 1, metadata: {} }, [])
    for (const id of ids) db.updateConversation('me', id, { note: 'x'.repeat(6000) })
    expect(() => db.getConversation('me', ids[0])).toThrow(NotStoredError)
    expect(db.getConversation('me', ids[1]).metadata.note).toHaveLength(6000)
  })

  it('gives out no history that is longer than a request may be', () => {
    const db = new ResponseDatabase('', { ...roomy, bytes: 64 << 20 })
    const long = 'x'.repeat(7 << 20)
    const one = resource(null, items(long))
    const two = resource(one.id, items(long))
    const three = resource(two.id, items(long))
    for (const each of [one, two, three]) db.putResponse('me', { resource: each, input: [] })
    expect(db.chain('me', two.id)).toHaveLength(2)
    expect(() => db.chain('me', three.id)).toThrow(HistoryTooLongError)
    const item = one.output[0]!.id
    expect(db.findItems('me', [item, item])).toHaveLength(2)
    expect(() => db.findItems('me', [item, item, item])).toThrow(HistoryTooLongError)
    const id = newId('conv')
    db.createConversation('me', { id, object: 'conversation', created_at: 1, metadata: {} }, items(long, long))
    expect(db.allConversationItems('me', id)).toHaveLength(2)
    db.addConversationItems('me', id, items(long))
    expect(() => db.allConversationItems('me', id)).toThrow(HistoryTooLongError)
  })

  it('forgets what is too old', () => {
    let now = 1000
    const db = new ResponseDatabase('', { ...roomy, age: 10 }, () => now)
    const stored = resource()
    db.putResponse('me', { resource: stored, input: [] })
    now += 9_000
    expect(db.getResponse('me', stored.id).id).toBe(stored.id)
    now += 2_000
    expect(() => db.getResponse('me', stored.id)).toThrow(NotStoredError)
  })
})

describe('conversations', () => {
  it('holds items that can be added, listed, read and deleted', () => {
    const db = new ResponseDatabase('', roomy)
    const id = newId('conv')
    const [one, two, three] = items('one', 'two', 'three')
    db.createConversation('me', { id, object: 'conversation', created_at: 1, metadata: {} }, [one!])
    db.addConversationItems('me', id, [two!, three!])
    expect(texts(db.allConversationItems('me', id))).toEqual(['one', 'two', 'three'])
    expect(db.conversationItem('me', id, two!.id)).toEqual(two)
    db.deleteConversationItem('me', id, two!.id)
    expect(texts(db.conversationItems('me', id, { limit: 20, order: 'desc' }).items)).toEqual(['three', 'one'])
    expect(db.updateConversation('me', id, { topic: 'x' }).metadata).toEqual({ topic: 'x' })
    db.deleteConversation('me', id)
    expect(() => db.getConversation('me', id)).toThrow(NotStoredError)
  })
})

describe('a file', () => {
  const folder = mkdtemp(join(tmpdir(), 'tfserve-store-'))
  afterAll(async () => rm(await folder, { recursive: true, force: true }))

  it('is there after a restart; what was under way has failed', async () => {
    const path = join(await folder, 'responses.db')
    const before = new ResponseDatabase(path, roomy)
    const done = resource()
    const open = { ...resource(), status: 'in_progress' as const, output: [] }
    before.putResponse('me', { resource: done, input: items('q') })
    before.putResponse('me', { resource: open, input: items('q') })
    before.close()
    const after = new ResponseDatabase(path, roomy)
    expect(after.getResponse('me', done.id)).toEqual(done)
    expect(after.getResponse('me', open.id)).toMatchObject({ status: 'failed', error: { code: 'server_error' } })
    after.close()
  })

  it.skipIf(process.platform === 'win32')('is for its owner alone', async () => {
    const path = join(await folder, 'private.db')
    const db = new ResponseDatabase(path, roomy)
    db.putResponse('me', { resource: resource(), input: items('secret') })
    for (const name of ['private.db', 'private.db-wal']) expect((await stat(join(await folder, name))).mode & 0o777).toBe(0o600)
    db.close()
  })
})
