import { mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { ApiError } from '../../src/protocol/errors.js'
import { startServer } from '../../src/server/server.js'
import { openTransport } from '../../src/server/transport/open.js'
import type { HttpExchange } from '../../src/server/transport/types.js'
import { receiveFile, receiveForm } from '../../src/server/uploads/receive.js'
import { UploadFolder } from '../../src/server/uploads/upload-folder.js'
import { FakeDirectory } from '../support/fake-directory.js'
import { boundary, fieldParts, formBody, formType, postForm, recording, transcribe } from '../support/form.js'
import { request, sleep, until } from '../support/http-client.js'
import { speechServer, transports } from '../support/test-server.js'

const directory = mkdtempSync(join(tmpdir(), 'uploads-test-'))
process.env.TMPDIR = directory
afterAll(() => rmSync(directory, { recursive: true }))
const files = () => readdirSync(directory).filter((name) => name.startsWith('tfserve-upload-'))
const gone = () => until(() => files().length === 0, 'the file to be removed')

const path = '/v1/audio/transcriptions'
const head = (headers: string) => `POST ${path} HTTP/1.1\r\nhost: localhost\r\n${headers}\r\n\r\n`

/** A form over a bare socket, of which the first bytes are sent. */
function beginForm(port: number, body: Uint8Array, bytes = body.length): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  socket.write(head(`content-type: ${formType}\r\ncontent-length: ${body.length}`))
  socket.write(body.subarray(0, bytes))
  return socket
}

async function answerOf(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('utf8').on('data', (piece: string) => (text += piece))
  await until(() => /\r\n\r\n[\s\S]+/.test(text), `an answer, not ${JSON.stringify(text)}`)
  socket.destroy()
  return text
}

const errorOf = (text: string) => (JSON.parse(text) as { error: { code: string; message: string } }).error

describe.each(transports)('uploads over %s', (transport) => {
  test('a recording in JSON that comes while the server ends is not worked on', async () => {
    await using t = await speechServer(transport, {}, { drainTimeoutMs: 50 })
    const body = JSON.stringify({ inputs: Buffer.from('RIFF').toString('base64') })
    const socket = connect(t.port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(`POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`)
    socket.write(body.slice(0, 8))
    await sleep(100)
    await t.server.drain()
    socket.write(body.slice(8))
    const answer = await answerOf(socket)
    expect(answer).toContain(' 503 ')
    expect(answer).toContain('shutting_down')
    expect(t.model.requests).toHaveLength(0)
    await gone()
  })

  test('are kept for this user alone while they are worked on, and removed then', async () => {
    let seen: number | undefined
    const onStart = (): void => {
      seen = statSync(join(directory, files()[0]!)).mode & 0o777
    }
    await using t = await speechServer(transport, { onStart })
    expect((await transcribe(t.port)).status).toBe(200)
    expect(seen).toBe(0o600)
    await gone()
  })

  test('a recording of just the limit is taken, and one byte more is not', async () => {
    await using t = await speechServer(transport, {}, { maxAudioBytes: 100_000 })
    const file = (bytes: number) => ({ file: recording(Buffer.alloc(bytes, 'x')) })
    expect((await transcribe(t.port, {}, file(100_000))).status).toBe(200)
    const over = await transcribe(t.port, {}, file(100_001))
    expect([over.status, over.text]).toEqual([413, expect.stringContaining('100000 bytes')])
    expect((await transcribe(t.port, {}, file(30 << 20))).status).toBe(413)
    expect((await request(t.port, 'POST', '/', Buffer.alloc(100_000), { 'content-type': 'audio/wav' })).status).toBe(200)
    expect((await request(t.port, 'POST', '/', Buffer.alloc(100_001), { 'content-type': 'audio/wav' })).status).toBe(413)
    expect((await transcribe(t.port)).status).toBe(200)
    await gone()
  })

  test('what all uploads hold together is bounded', async () => {
    let finish: () => void = () => undefined
    const held = new Promise<void>((resolve) => (finish = resolve))
    await using t = await speechServer(transport, { onStart: () => held }, { maxAudioBytes: 100_000 })
    const full = { file: recording(Buffer.alloc(100_000, 'x')) }
    const first = Array.from({ length: 4 }, () => transcribe(t.port, {}, full))
    await until(() => t.model.requests.length === 4, 'four at work')
    const more = await transcribe(t.port, {}, full)
    expect([more.status, errorOf(more.text).code]).toEqual([429, 'server_busy'])
    finish()
    for (const reply of await Promise.all(first)) expect(reply.status).toBe(200)
    expect((await transcribe(t.port, {}, full)).status).toBe(200)
    await gone()
  })

  test('pieces of any size make the same recording', async () => {
    await using t = await speechServer(transport)
    const tricky = Buffer.from(`\r\n--${boundary.slice(0, -1)}\r\n--\r\n\r\r\n-\n--${boundary}\r--${boundary}--\r\n\r`.repeat(40))
    const body = formBody([{ name: 'language', value: 'en' }, recording(tricky), { name: 'prompt', value: 'abc' }])
    for (const size of [1, 7, 61, 4096]) {
      const reply = await new Promise<number>((resolve, reject) => {
        const options = { port: t.port, method: 'POST', path, headers: { 'content-type': formType }, agent: false }
        const outgoing = http.request(options, (incoming) => resolve(incoming.resume().statusCode ?? 0))
        outgoing.on('error', reject).setNoDelay(true)
        for (let at = 0; at < body.length; at += size) outgoing.write(body.subarray(at, at + size))
        outgoing.end()
      })
      expect(reply).toBe(200)
      expect(t.model.recordings.at(-1)!.equals(tricky), `pieces of ${size}`).toBe(true)
      expect(t.model.requests.at(-1)).toMatchObject({ language: 'en', prompt: 'abc' })
    }
  })

  test('a slow client is waited for, and one that leaves leaves nothing behind', async () => {
    await using t = await speechServer(transport)
    const body = formBody([recording(Buffer.alloc(1000, 'y'))])
    const slow = beginForm(t.port, body, 200)
    await sleep(300)
    slow.write(body.subarray(200, 900))
    await sleep(100)
    slow.write(body.subarray(900))
    expect(await answerOf(slow)).toContain('200 OK')
    const leaving = beginForm(t.port, body, 700)
    await until(() => files().length === 1, 'the file')
    leaving.destroy()
    await gone()
    await until(async () => (await request(t.port, 'GET', '/metrics')).text.includes('outcome="client_gone"} 1'), 'it to be counted')
    expect(t.model.requests).toHaveLength(1)
  })

  test.each([true, false])('a client that leaves in the middle of the work ends it (stream: %s)', async (stream) => {
    await using t = await speechServer(transport, { stepMs: 20, segments: Array<string>(1000).fill(' again') })
    const socket = beginForm(t.port, formBody([recording(), ...fieldParts({ stream: String(stream) })]))
    await until(() => t.model.live === 1, 'it to begin')
    await sleep(50)
    socket.destroy()
    await until(() => t.model.live === 0, 'it to end')
    expect(t.model.aborts).toBe(1)
    await gone()
  })

  test('eight at once, two of them cut off', async () => {
    await using t = await speechServer(transport, { stepMs: 5 })
    const recordings = Array.from({ length: 8 }, (_, i) => Buffer.alloc(500_000, `recording ${i} `))
    const cut = recordings.slice(0, 2).map((bytes) => beginForm(t.port, formBody([recording(bytes)]), 300_000))
    const whole = recordings.slice(2).map((bytes) => transcribe(t.port, {}, { file: recording(bytes) }))
    await until(() => files().length >= 2, 'uploads')
    for (const socket of cut) socket.destroy()
    for (const reply of await Promise.all(whole)) expect([reply.status, reply.text]).toEqual([200, expect.stringContaining('London')])
    const heard = new Set(t.model.recordings.map((bytes) => bytes.subarray(0, 12).toString().trim()))
    expect(heard.size).toBe(6)
    await gone()
  })

  test.each<[string, string, Buffer | string, number, string]>([
    ['no boundary', 'multipart/form-data', formBody([recording()]), 400, 'boundary'],
    ['an endless boundary', `multipart/form-data; boundary=${'b'.repeat(400)}`, 'x', 400, 'boundary'],
    ['another boundary', 'multipart/form-data; boundary=other', formBody([recording()]), 400, 'end is missing'],
    ['no end', formType, formBody([recording()]).subarray(0, -30), 400, 'end is missing'],
    ['an end within a header', formType, `--${boundary}\r\ncontent-disposition: form-da`, 400, 'end is missing'],
    ['bytes that are no form', formType, Buffer.alloc(200_000, 7), 400, 'end is missing'],
    ['10,000 fields', formType, formBody(Array.from({ length: 10_000 }, (_, i) => ({ name: `f${i}`, value: 'x' }))), 400, 'more than 128'],
    ['a text as long as a book', formType, formBody([{ name: 'prompt', value: 'x'.repeat(3 << 20) }]), 400, '`prompt` is longer'],
    [
      'many long texts',
      formType,
      formBody(Array.from({ length: 20 }, () => ({ name: 'x', value: 'x'.repeat(1 << 20) }))),
      400,
      'hold more',
    ],
    ['two recordings', formType, formBody([recording(), recording()]), 400, 'more than one file'],
    [
      'parts without names',
      formType,
      `--${boundary}\r\n\r\nx\r\n--${boundary}\r\na: b\r\n\r\n\r\n--${boundary}--\r\n`,
      400,
      'Missing `file`',
    ],
    [
      'a prompt longer than any model reads',
      formType,
      formBody([recording(), { name: 'prompt', value: 'x'.repeat(40_000) }]),
      400,
      '`prompt`',
    ],
  ])('%s is a clear error, and the next request works', async (_, type, body, status, message) => {
    await using t = await speechServer(transport)
    const reply = await request(t.port, 'POST', path, body, { 'content-type': type })
    expect([reply.status, errorOf(reply.text).message]).toEqual([status, expect.stringContaining(message)])
    await gone()
    expect((await transcribe(t.port)).status).toBe(200)
  })

  test('forms with random damage are answered, and leave nothing behind', async () => {
    await using t = await speechServer(transport)
    const whole = formBody([{ name: 'language', value: 'en' }, recording(), ...fieldParts({ 'include[]': 'logprobs', prompt: 'ä' })])
    let state = 99
    const below = (limit: number): number => (state = (state * 1103515245 + 12345) % 2147483648) % limit
    const replies = new Set<number>()
    for (let round = 0; round < 200; round++) {
      const bytes = Buffer.from(whole)
      for (let i = below(6); i >= 0; i--) bytes[below(bytes.length)] = below(256)
      const [from, to] = [below(bytes.length), below(bytes.length)].sort((a, b) => a - b) as [number, number]
      // damaged, shorter by a piece in the middle, or with one twice
      const damaged = [
        bytes,
        Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]),
        Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)]),
      ]
      const reply = await request(t.port, 'POST', path, damaged[round % 3]!, { 'content-type': formType })
      replies.add(reply.status)
      expect(reply.status, JSON.stringify(damaged[round % 3]!.toString('latin1'))).toBeLessThan(500)
    }
    expect(replies).toContain(200)
    expect(replies).toContain(400)
    await gone()
  })

  test('headers of a part that never end are read no further than their bound', async () => {
    await using t = await speechServer(transport)
    const long = `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\nx-long: ${'h'.repeat(2 << 20)}\r\n\r\nRIFF\r\n--${boundary}--\r\n`
    expect((await request(t.port, 'POST', path, long, { 'content-type': formType })).status).toBeLessThan(500)
    await gone()
  })

  test('an empty recording is for the model to refuse', async () => {
    await using t = await speechServer(transport)
    const reply = await transcribe(t.port, {}, { file: recording(Buffer.alloc(0)) })
    expect([reply.status, errorOf(reply.text).code]).toEqual([400, 'audio_invalid'])
    const raw = await request(t.port, 'POST', '/', '', { 'content-type': 'audio/wav' })
    expect([raw.status, errorOf(raw.text).code]).toEqual([400, 'audio_invalid'])
  })

  test('a client that asks before it sends is told to go on', async () => {
    await using t = await speechServer(transport)
    const body = formBody([recording()])
    const headers = { 'content-type': formType, 'content-length': String(body.length), expect: '100-continue' }
    const status = await new Promise<number>((resolve, reject) => {
      const outgoing = http.request({ port: t.port, method: 'POST', path, headers, agent: false }, (incoming) =>
        resolve(incoming.resume().statusCode ?? 0),
      )
      outgoing.on('continue', () => outgoing.end(body))
      outgoing.on('error', reject)
      outgoing.flushHeaders()
    })
    expect(status).toBe(200)
  })

  test('a server that ends cuts an upload off, and keeps nothing of it', async () => {
    await using t = await speechServer(transport, {}, { drainTimeoutMs: 50 })
    const socket = beginForm(t.port, formBody([recording()]), 150)
    await until(() => files().length === 1, 'the file')
    const answer = answerOf(socket)
    await t.server.drain()
    expect(await answer).toContain('503')
    await gone()
  })

  test('a client that leaves while its model is being loaded waits no more, and leaves nothing', async () => {
    const models = new FakeDirectory()
    const server = await startServer({ port: 0, models, transport })
    const socket = beginForm(server.port, formBody([recording(), ...fieldParts({ model: 'org/whisper', stream: 'true' })]))
    await until(() => models.loads.get('org/whisper@main')?.waiters.size === 1, 'a waiter')
    socket.destroy()
    await until(() => models.loads.get('org/whisper@main')?.waiters.size === 0, 'nobody to wait')
    await gone()
    await server.close()
  })

  test('a silent stream is kept alive, and told when the server ends', async () => {
    const options = { keepAliveMs: 30, drainTimeoutMs: 300 }
    await using t = await speechServer(transport, { stepMs: 150, segments: Array<string>(1000).fill(' on') }, options)
    const socket = beginForm(t.port, formBody([recording(), ...fieldParts({ stream: 'true' })]))
    let text = ''
    socket.setEncoding('utf8').on('data', (piece: string) => (text += piece))
    await until(() => /: keep-alive\n\n[\s\S]*delta[\s\S]*: keep-alive\n\n/.test(text), 'signs of life')
    await t.server.drain()
    await until(() => text.includes('shutting_down'), 'the end')
    expect(t.model.aborts).toBe(1)
    await gone()
    expect((await transcribe(t.port).catch(() => undefined))?.status ?? 503).toBe(503)
  })

  test('an upload that has come is worked on to its end though the server drains', async () => {
    await using t = await speechServer(transport, { stepMs: 30 })
    const body = formBody([recording()])
    const socket = beginForm(t.port, body, 150)
    await until(() => files().length === 1, 'the file')
    const answer = answerOf(socket)
    const drained = t.server.drain()
    socket.write(body.subarray(150))
    expect(await answer).toContain('London')
    await drained
  })
})

describe.each(transports)('the reader of uploads over %s', (transport) => {
  type Read = (exchange: HttpExchange, folder: UploadFolder, stop: AbortController) => Promise<unknown>

  async function reading(read: Read, folder = new UploadFolder({ totalBytes: 1e9, count: 10 })) {
    const outcomes: unknown[] = []
    const opened = await openTransport(
      transport,
      {
        ...{ addresses: ['127.0.0.1'], port: 0, bodyBudget: 1e6 },
        handler: (exchange) =>
          void read(exchange, folder, new AbortController()).then(
            (result) => {
              outcomes.push(result)
              exchange.send(200, {}, 'done')
            },
            (error: unknown) => {
              outcomes.push(error)
              exchange.send(error instanceof ApiError ? error.status : 500, {}, String(error))
            },
          ),
      },
      () => undefined,
    )
    return { port: opened.port, folder, outcomes, [Symbol.asyncDispose]: () => opened.close() }
  }

  test('gives up a client that sends nothing', async () => {
    const read: Read = (exchange, folder, stop) => receiveForm(exchange, folder, { fileBytes: 1e6, idleMs: 100 }, stop)
    await using t = await reading(read)
    const answer = await answerOf(beginForm(t.port, formBody([recording()]), 150))
    expect(answer).toContain('408')
    await gone()
    expect([t.folder.bytes, t.folder.count]).toEqual([0, 0])
  })

  test('says that there is no room where a file cannot be kept', async () => {
    const read: Read = (exchange, folder, stop) => receiveFile(exchange, folder, { fileBytes: 1e9, idleMs: 1000 }, stop)
    await using t = await reading(read, new UploadFolder({ totalBytes: 1e9, count: 10 }, join(directory, 'nowhere')))
    expect((await request(t.port, 'POST', '/', Buffer.alloc(3 << 20))).status).toBe(500)
    const full = async function* (): AsyncGenerator<Uint8Array, void> {
      yield await Promise.reject<Uint8Array>(Object.assign(new Error('write'), { code: 'ENOSPC' }))
    }
    const file = new UploadFolder({ totalBytes: 1e9, count: 10 }, directory).add()
    await expect(file.write(full())).rejects.toMatchObject({ code: 'storage_full', status: 507 })
    await file.remove()
    await gone()
  })

  test('holds a client back that sends faster than the pieces are taken', async () => {
    const total = 64 << 20
    let taken = 0
    let letOn: () => void = () => undefined
    const slow = new Promise<void>((resolve) => (letOn = resolve))
    await using t = await reading(async (exchange) => {
      for await (const piece of exchange.streamBody(total)) {
        taken += piece.length
        await slow
      }
    })
    const socket = connect(t.port, '127.0.0.1')
    socket.write(`POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${total}\r\n\r\n`)
    socket.write(Buffer.alloc(total))
    await until(() => taken > 0, 'the first piece')
    await sleep(300)
    // what the system's buffers hold at most, and not all of it
    const left = socket.writableLength
    expect(left).toBeGreaterThan(total / 4)
    letOn()
    expect(await answerOf(socket)).toContain('done')
    expect(taken).toBe(total)
  })
})

test('what a killed server has left is swept when it is old, and nothing else', async () => {
  const name = (digit: string) => join(directory, `tfserve-upload-${digit.repeat(32)}`)
  const old = new Date(Date.now() - 25 * 3_600_000)
  for (const path of [name('a'), name('b'), join(directory, 'tfserve-upload-mine'), join(directory, 'notes')]) writeFileSync(path, 'x')
  for (const path of [name('a'), join(directory, 'tfserve-upload-mine'), join(directory, 'notes')]) utimesSync(path, old, old)
  await new UploadFolder({ totalBytes: 1, count: 1 }).sweep()
  expect(readdirSync(directory).sort()).toEqual(['notes', `tfserve-upload-${'b'.repeat(32)}`, 'tfserve-upload-mine'])
  for (const left of readdirSync(directory)) rmSync(join(directory, left))
})

test('a form may come twice over one connection', async () => {
  await using t = await speechServer('node')
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  for (let i = 0; i < 3; i++) {
    const body = formBody([recording()])
    const headers = { 'content-type': formType, 'content-length': String(body.length) }
    const status = await new Promise<number>((resolve) => {
      http.request({ port: t.port, method: 'POST', path, headers, agent }, (reply) => resolve(reply.resume().statusCode ?? 0)).end(body)
    })
    expect(status).toBe(200)
  }
  agent.destroy()
  expect((await postForm(t.port, [recording()])).status).toBe(200)
})
