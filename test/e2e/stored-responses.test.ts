// Responses kept in a file, and API keys, by the real command.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { afterAll, expect, test } from 'vitest'
import { runCommand, ServerProcess } from '../support/cli.js'

const folder = mkdtemp(join(tmpdir(), 'tfserve-stored-'))
afterAll(async () => rm(await folder, { recursive: true, force: true }))

const standIn = ['--stand-in', '{"vocabSize": 2048}']
const client = (server: ServerProcess, apiKey: string) => new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 })

test('a response outlives the server in its file, and is its key’s', async () => {
  const store = ['--response-store', join(await folder, 'responses.db')]
  const keys = ['--api-key', 'first', '--api-key', 'second']
  let id: string
  {
    await using server = await ServerProcess.start(...standIn, ...store, ...keys)
    expect((await server.get('/v1/models')).status).toBe(401)
    expect((await server.get('/health')).status).toBe(200)
    id = (await client(server, 'first').responses.create({ input: 'Hi', max_output_tokens: 8 })).id
  }
  await using server = await ServerProcess.start(...standIn, ...store, ...keys)
  const again = await client(server, 'first').responses.retrieve(id)
  expect(again.status).toBe('incomplete')
  await expect(client(server, 'second').responses.retrieve(id)).rejects.toMatchObject({ status: 404 })
  const next = await client(server, 'first').responses.create({ input: 'More', previous_response_id: id, max_output_tokens: 8 })
  expect(next.previous_response_id).toBe(id)
})

test('a file that is no database ends the start with one sentence', async () => {
  const path = join(await folder, 'text.db')
  await writeFile(path, 'this is no database, but long enough to be looked at'.repeat(40))
  const { code, stderr } = await runCommand(...standIn, '--port', '0', '--response-store', path)
  expect(code).toBe(1)
  expect(stderr).toContain('The store of responses cannot be opened')
})

test('a missing key file ends the start', async () => {
  const { code, stderr } = await runCommand(...standIn, '--port', '0', '--api-key-file', join(await folder, 'none'))
  expect([code, stderr.trim().split('\n').length]).toEqual([2, 1])
})
