import { describe, expect, test } from 'vitest'
import { RequestError } from '../../src/engine/types.js'
import { InProcessModel } from '../../src/server/served-model.js'
import { startServer } from '../../src/server/server.js'
import { SingleModelDirectory } from '../../src/server/single-model-directory.js'
import { request } from '../support/http-client.js'
import { scriptedSpeech } from '../support/scripted-speech.mjs'
import { hello, transports } from '../support/test-server.js'

async function speechServer(transport: 'uws' | 'node') {
  const models = new SingleModelDirectory(new InProcessModel(scriptedSpeech(RequestError)))
  const server = await startServer({ port: 0, models, transport })
  return { port: server.port, [Symbol.asyncDispose]: () => server.close() }
}

describe.each(transports)('a speech model on %s', (transport) => {
  test.each([
    ['/v1/chat/completions', { messages: hello }],
    ['/v1/completions', { model: 'scripted-speech', prompt: 'Hello' }],
    ['/v1/responses', { input: 'Hello' }],
  ])('is refused on %s', async (path, body) => {
    await using server = await speechServer(transport)
    const answer = await request(server.port, 'POST', path, JSON.stringify(body), { 'content-type': 'application/json' })
    expect(answer.status).toBe(400)
    expect(JSON.parse(answer.text)).toMatchObject({
      error: {
        type: 'invalid_request_error',
        code: 'model_task_mismatch',
        param: 'model',
        message: expect.stringContaining('/v1/audio/transcriptions'),
      },
    })
  })

  test('stands in the list of models and in the metrics', async () => {
    await using server = await speechServer(transport)
    const listed = await request(server.port, 'GET', '/v1/models')
    expect(JSON.parse(listed.text)).toMatchObject({ data: [{ id: 'scripted-speech', loaded: true }] })
    const metrics = await request(server.port, 'GET', '/metrics')
    expect(metrics.text).toMatch(/\{model="scripted-speech@main"\} \d/)
  })
})
