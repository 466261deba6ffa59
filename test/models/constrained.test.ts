// Constrained answers of the embedded model, in the library and over HTTP: whatever it says fits.
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { Engine, type GenerateOptions, RequestError } from '../../src/index.js'
import { resolveModel } from '../../src/models/resolve.js'
import { SupervisedModel } from '../../src/models/supervisor.js'
import { type RunningServer, startServer } from '../../src/server/server.js'
import { SingleModelDirectory } from '../../src/server/single-model-directory.js'

const messages: [{ role: 'user'; content: string }] = [{ role: 'user', content: 'Describe a cat.' }]
const Animal = z.strictObject({
  name: z.string().min(1).max(12),
  legs: z.int().min(0).max(8),
  weight: z.number().min(0.5).max(80),
  colours: z
    .array(z.enum(['black', 'white', 'ginger']))
    .min(1)
    .max(3),
  owner: z.union([z.null(), z.strictObject({ name: z.string().max(8), born: z.int().max(2100) })]),
})
const schema = z.toJSONSchema(Animal) as Record<string, unknown>

describe('the library', () => {
  let engine: Engine
  beforeAll(async () => {
    const { path } = await resolveModel(undefined)
    engine = await Engine.load({ path, threads: 1, maxNumSeqs: 8, kvCacheMemory: 64 << 20 })
  })
  afterAll(() => engine.close())

  async function answers(options: Omit<GenerateOptions, 'messages'>): Promise<{ text: string; reason: string | undefined }[]> {
    const all = Array.from({ length: options.n ?? 1 }, () => ({ text: '', reason: undefined as string | undefined }))
    for await (const { choice, text, finishReason } of engine.generate({
      messages,
      chatTemplateKwargs: { enable_thinking: false },
      max_new_tokens: 400,
      ...options,
    })) {
      all[choice]!.text += text
      all[choice]!.reason = finishReason
    }
    return all
  }

  it('gives JSON that fits its schema, greedy and at a high temperature', async () => {
    const constraint = { type: 'json_schema' as const, schema }
    for (const params of [{ do_sample: false }, { temperature: 2, top_k: 0, seed: 5, n: 6 }]) {
      for (const { text, reason } of await answers({ ...params, constraint })) {
        expect(reason).toBe('stop')
        expect(Animal.safeParse(JSON.parse(text)).error).toBeUndefined()
      }
    }
  })

  it('gives what a grammar, a pattern and a tree ask for', async () => {
    const grammar = 'root ::= "yes" ("," " " "yes"){1,2} | [a-c]+ "!"'
    expect((await answers({ constraint: { type: 'grammar', text: grammar } }))[0]?.text).toMatch(/^(yes(, yes){1,2}|[a-c]+!)$/)
    expect((await answers({ constraint: { type: 'regex', pattern: '\\d{3}-\\d{2}' } }))[0]?.text).toMatch(/^\d{3}-\d{2}$/)
    const tree = {
      type: 'sequence' as const,
      parts: [
        { type: 'literal' as const, text: 'Answer: ' },
        {
          type: 'repeat' as const,
          item: { type: 'regex' as const, pattern: '[a-z]{2}' },
          min: 2,
          max: 2,
          separator: { type: 'literal' as const, text: '+' },
        },
      ],
    }
    expect((await answers({ constraint: tree }))[0]?.text).toMatch(/^Answer: [a-z]{2}\+[a-z]{2}$/)
  })

  it('ends at its limit with what can still be completed', async () => {
    const [cut] = await answers({ constraint: { type: 'json_schema', schema: { type: 'string', minLength: 500 } }, max_new_tokens: 10 })
    expect(cut?.reason).toBe('length')
    expect(cut?.text).toMatch(/^"/)
  })

  it('refuses what it cannot constrain, with the keyword and its place', async () => {
    const wrong = { type: 'object', properties: { n: { type: 'integer', multipleOf: 3001 } } }
    const attempt = answers({ constraint: { type: 'json_schema', schema: wrong } })
    await expect(attempt).rejects.toBeInstanceOf(RequestError)
    await expect(attempt).rejects.toMatchObject({
      code: 'invalid_request',
      param: 'constraint',
      message: /'multipleOf' at '#\/properties\/n'/,
    })
    await expect(answers({ constraint: { type: 'nonsense' } as never })).rejects.toBeInstanceOf(RequestError)
  })
})

describe('the openai client', () => {
  let model: SupervisedModel
  let server: RunningServer
  let openai: OpenAI
  beforeAll(async () => {
    const found = await resolveModel(undefined)
    model = new SupervisedModel(found, { path: found.path, id: found.id, threads: 1, kvCacheMemory: 64 << 20 })
    await model.start()
    server = await startServer({ host: '127.0.0.1', port: 0, models: new SingleModelDirectory(model), transport: 'node' })
    openai = new OpenAI({ baseURL: `http://127.0.0.1:${server.port}/v1`, apiKey: '-', maxRetries: 0 })
  })
  afterAll(async () => {
    await server.close()
    await model.close()
  })
  const ask = { model: 'dummy', messages, max_tokens: 400, temperature: 1.5, seed: 3, chat_template_kwargs: { enable_thinking: false } }

  it('parses the answer to a json_schema, streamed and not', async () => {
    const response_format = { type: 'json_schema' as const, json_schema: { name: 'animal', strict: true, schema } }
    const whole = await openai.chat.completions.parse({ ...ask, response_format })
    expect(Animal.safeParse(whole.choices[0]?.message.parsed).error).toBeUndefined()
    const streamed = await openai.chat.completions.stream({ ...ask, response_format }).finalChatCompletion()
    expect(streamed.choices[0]?.message.parsed).toEqual(whole.choices[0]?.message.parsed)
  })

  it('has an object from json_object, and a schema from its value', async () => {
    const free = await openai.chat.completions.create({ ...ask, max_tokens: 1500, response_format: { type: 'json_object' } })
    if (free.choices[0]?.finish_reason === 'stop') expect(JSON.parse(free.choices[0].message.content ?? '')).toBeTypeOf('object')
    else expect(free.choices[0]?.message.content).toMatch(/^\{/)
    const hub = await openai.chat.completions.create({ ...ask, response_format: { type: 'json_object', value: schema } as never })
    expect(Animal.safeParse(JSON.parse(hub.choices[0]?.message.content ?? '')).error).toBeUndefined()
  })

  it('is told what is wrong with a schema', async () => {
    const response_format = { type: 'json_schema' as const, json_schema: { name: 'x', schema: { type: 'array', uniqueItems: true } } }
    await expect(openai.chat.completions.create({ ...ask, response_format })).rejects.toMatchObject({
      status: 400,
      param: 'response_format',
      message: expect.stringContaining("'uniqueItems' at '#'") as string,
    })
  })
})
