// How the real command ends, and how it lives through the death of a model's process. A stand-in paces the tokens.
import { expect, test } from 'vitest'
import { eventually, isAlive, ServerProcess, type StreamEvent } from '../support/cli.js'

// 20 ms a token
const paced = ['--stand-in', JSON.stringify({ stepMicros: 20_000 })]
const chat = (tokens: number) => ({ messages: [{ role: 'user', content: 'Hello' }], max_tokens: tokens, ignore_eos: true, temperature: 0 })

/** Starts a stream and resolves when its first text has come, with a promise of all its events (or the error that cut it). */
async function begin(
  server: ServerProcess,
  tokens: number,
): Promise<{ rest: Promise<{ events: (StreamEvent | '[DONE]')[]; cut?: unknown }> }> {
  const iterator = server.chatEvents(chat(tokens))
  const events: (StreamEvent | '[DONE]')[] = []
  const hasText = () => events.some((event) => event !== '[DONE]' && event.choices?.[0]?.delta.content)
  while (!hasText()) {
    const { value, done } = await iterator.next()
    if (done) throw new Error('the stream ended before any text')
    events.push(value)
  }
  const rest = async () => {
    try {
      for await (const event of iterator) events.push(event)
      return { events }
    } catch (cut) {
      return { events, cut }
    }
  }
  return { rest: rest() }
}

test('SIGTERM lets open streams finish, then ends with 0', async () => {
  const server = await ServerProcess.start(...paced)
  const [worker] = server.workers()
  const open = await begin(server, 60)
  server.kill('SIGTERM')
  const { events, cut } = await open.rest
  expect(cut).toBeUndefined()
  expect(events.at(-1)).toBe('[DONE]')
  const { code, stderr } = await server.ended
  expect(code).toBe(0)
  expect(stderr).toContain('SIGTERM')
  await eventually(() => !isAlive(worker!))
})

test('SIGINT of an idle server ends at once with 0', async () => {
  const server = await ServerProcess.start(...paced)
  const began = Date.now()
  server.kill('SIGINT')
  expect((await server.ended).code).toBe(0)
  expect(Date.now() - began).toBeLessThan(5000)
})

test('a second signal ends at once, and the worker goes too', async () => {
  const server = await ServerProcess.start(...paced)
  const [worker] = server.workers()
  const open = await begin(server, 2000)
  server.kill('SIGTERM')
  await eventually(() => server.stderr.includes('SIGTERM'))
  const began = Date.now()
  server.kill('SIGTERM')
  const { code } = await server.ended
  expect(code).toBe(143)
  expect(Date.now() - began).toBeLessThan(3000)
  const { events } = await open.rest
  expect(events).not.toContain('[DONE]')
  await eventually(() => !isAlive(worker!))
})

test('the drain has a time limit', async () => {
  const server = await ServerProcess.start(...paced, '--drain-timeout', '1')
  const open = await begin(server, 2000)
  const began = Date.now()
  server.kill('SIGTERM')
  await server.ended
  expect(Date.now() - began).toBeLessThan(8000)
  const { events, cut } = await open.rest
  expect(cut !== undefined || events.some((event) => event !== '[DONE]' && event.error !== undefined)).toBe(true)
})

test("kill -9 of the model's process: the stream ends with an error, the server lives, the model comes back", async () => {
  await using server = await ServerProcess.start(...paced)
  const [worker] = server.workers()
  const open = await begin(server, 2000)
  process.kill(worker!, 'SIGKILL')
  const { events } = await open.rest
  const last = events.filter((event) => event !== '[DONE]').at(-1) as StreamEvent
  expect(last.error?.message.length).toBeGreaterThan(0)
  // the server itself still answers
  expect((await server.get('/v1/models')).status).toBe(200)
  await eventually(async () => (await server.get('/health')).status === 200)
  const [next] = server.workers()
  expect(next).not.toBe(worker)
  expect((await server.post('/v1/chat/completions', chat(4))).status).toBe(200)
})

test('a request that waits when the model dies gets 503 or, once the model is back, its answer', async () => {
  await using server = await ServerProcess.start(...paced, '--max-num-seqs', '1')
  const open = await begin(server, 2000)
  const waiting = server.post('/v1/chat/completions', chat(4))
  await new Promise((resolve) => setTimeout(resolve, 300))
  process.kill(server.workers()[0]!, 'SIGKILL')
  await open.rest
  const response = await waiting
  expect(response.status).toBe(503)
  const { error } = (await response.json()) as { error: { message: string } }
  expect(error.message.length).toBeGreaterThan(0)
})

test('when the server is killed, its worker does not stay behind', async () => {
  const server = await ServerProcess.start(...paced)
  const [worker] = server.workers()
  server.kill('SIGKILL')
  await server.ended
  await eventually(() => !isAlive(worker!))
})
