import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { SupervisedModel } from '../../src/models/supervisor.js'
import { type RunningServer, startServer } from '../../src/server/server.js'
import { SingleModelDirectory } from '../../src/server/single-model-directory.js'
import { events, request } from '../support/http-client.js'

const workerEntry = fileURLToPath(new URL('../support/scripted-worker.mjs', import.meta.url))
const chat = (content: string, more: object = {}): string => JSON.stringify({ messages: [{ role: 'user', content }], ...more })
const path = '/v1/chat/completions'

let model: SupervisedModel | undefined
let server: RunningServer | undefined
afterEach(async () => {
  await server?.close()
  await model?.close()
})

/** A stream whose text can be looked at while it comes; `cut`: it ended without a proper end of the body. */
function stream(port: number, body: string): { text: () => string; ended: Promise<{ cut: boolean }> } {
  let text = ''
  const ended = new Promise<{ cut: boolean }>((resolve, reject) => {
    const outgoing = http.request({
      host: '127.0.0.1',
      port,
      method: 'POST',
      path,
      agent: false,
      headers: { 'content-type': 'application/json' },
    })
    outgoing.on('response', (incoming) => {
      incoming.setEncoding('utf8')
      incoming.on('data', (piece: string) => (text += piece))
      incoming.on('end', () => resolve({ cut: false }))
      incoming.on('error', () => resolve({ cut: true }))
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
  return { text: () => text, ended }
}

describe('the server over a supervised worker', () => {
  it('killed with -9 in mid-stream: an error event ends the stream, waiting requests get 503, the model comes back', async () => {
    model = new SupervisedModel(
      { id: 'scripted', revision: 'main', created: 1 },
      { path: 'ok' },
      { workerEntry, restart: { firstDelayMs: 200 } },
    )
    await model.start()
    server = await startServer({ host: '127.0.0.1', port: 0, models: new SingleModelDirectory(model), transport: 'node' })
    const { port } = server
    const running = stream(port, chat('count 1000000', { stream: true }))
    await vi.waitFor(() => expect(running.text()).toContain('5 '))
    const unaccepted = [request(port, 'POST', path, chat('never')), request(port, 'POST', path, chat('never', { stream: true }))]
    const unanswered = request(port, 'POST', path, chat('silent'))
    await new Promise((resolve) => setTimeout(resolve, 200))

    process.kill(model.pid!, 'SIGKILL')
    await running.ended
    const last = events(running.text()).at(-1)
    expect(last).toMatchObject({ error: { code: 'model_crashed' } })
    expect((await Promise.all([...unaccepted, unanswered])).map((reply) => reply.status)).toEqual([503, 503, 503])

    expect((await request(port, 'GET', '/health')).status).toBe(503)
    expect((await request(port, 'GET', '/v1/models')).status).toBe(200)
    const after = await request(port, 'POST', path, chat('count 3'))
    expect(after.status).toBe(200)
    expect(JSON.parse(after.text)).toMatchObject({ choices: [{ message: { content: '0 1 2 ' } }] })
    expect((await request(port, 'GET', '/health')).status).toBe(200)
  })

  it('a model that does not come back: clients are told, but not of the files of this machine', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tfserve-'))
    try {
      model = new SupervisedModel(
        { id: 'scripted', revision: 'main', created: 1 },
        { path: `once ${join(folder, 'seen')}` },
        { workerEntry, restart: { firstDelayMs: 10, maxRestarts: 1 } },
      )
      await model.start()
      server = await startServer({ host: '127.0.0.1', port: 0, models: new SingleModelDirectory(model), transport: 'node' })
      const { port } = server
      process.kill(model.pid!, 'SIGKILL')
      await vi.waitFor(() => expect(model!.state().phase).toBe('failed'), 10_000)
      const answer = await request(port, 'POST', path, chat('count 3'))
      expect(answer.status).toBe(503)
      const load = await request(port, 'POST', '/load_model', JSON.stringify({ model: 'scripted' }))
      for (const text of [answer.text, load.text]) {
        expect(text).toContain('The model is not available')
        expect(text).not.toContain(folder)
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('clients that leave leave nothing behind in the worker', async () => {
    model = new SupervisedModel({ id: 'scripted', revision: 'main', created: 1 }, { path: 'ok' }, { workerEntry })
    await model.start()
    server = await startServer({ host: '127.0.0.1', port: 0, models: new SingleModelDirectory(model), transport: 'node' })
    const { port } = server
    for (let i = 0; i < 50; i++) {
      await new Promise<void>((resolve) => {
        const outgoing = http.request({
          host: '127.0.0.1',
          port,
          method: 'POST',
          path,
          agent: false,
          headers: { 'content-type': 'application/json' },
        })
        outgoing.on('error', () => undefined)
        outgoing.on('close', resolve)
        outgoing.end(chat(i % 2 ? 'silent' : 'count 100000', { stream: i % 3 > 0 }))
        setTimeout(() => outgoing.destroy(), 5 + (i % 10))
      })
    }
    const text = await model.get()
    await vi.waitFor(async () => expect((await text.stats()).running).toBe(0), 10_000)
  })
})
