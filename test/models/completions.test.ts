// /v1/completions over real models in their worker processes.
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Engine, type TokenLogprob } from '../../src/index.js'
import { SupervisedModel } from '../../src/models/supervisor.js'
import { startServer, type RunningServer } from '../../src/server/server.js'
import { SingleModelDirectory } from '../../src/server/single-model-directory.js'
import { modelPath } from '../support/goldens.js'

interface Served {
  engine: Engine
  model: SupervisedModel
  server: RunningServer
  openai: OpenAI
}

async function serve(name: string): Promise<Served> {
  const options = {
    path: modelPath(name),
    id: name,
    dtype: 'float32' as const,
    threads: 1,
    kvCacheMemory: 32 << 20,
    logLevel: 'error' as const,
  }
  const model = new SupervisedModel({ id: name, revision: 'main', created: 1 }, options)
  await model.start()
  const server = await startServer({ port: 0, models: new SingleModelDirectory(model) })
  const openai = new OpenAI({ baseURL: `http://127.0.0.1:${server.port}/v1`, apiKey: '-', maxRetries: 0 })
  return { engine: await Engine.load(options), model, server, openai }
}

async function close({ engine, model, server }: Served): Promise<void> {
  await server.close()
  await model.close()
  await engine.close()
}

const greedy = { temperature: 0, max_tokens: 8 } as const

describe('the embedded model', () => {
  const model = 'tfserve-demo'
  const prompt = 'Hello, who are you? Ünïcode 🎉'
  let served: Served
  beforeAll(async () => {
    served = await serve(model)
  })
  afterAll(() => close(served))

  test('text and its token ids give the same answer; an echo begins with the prompt', async () => {
    const { engine, openai } = served
    const ids = [...(await engine.tokenize(prompt))]
    const [a, b] = await Promise.all([prompt, ids].map((p) => openai.completions.create({ model, prompt: p, echo: true, ...greedy })))
    expect(a!.choices[0]!.text.startsWith(prompt)).toBe(true)
    expect(b!.choices[0]!.text).toBe(a!.choices[0]!.text)
    expect(a!.usage).toMatchObject({ prompt_tokens: ids.length, completion_tokens: 8 })
    const plain = await openai.completions.create({ model, prompt: [ids, [...ids].reverse()], ...greedy })
    expect(plain.choices.map(({ index }) => index)).toEqual([0, 1])
    expect(prompt + plain.choices[0]!.text).toBe(a!.choices[0]!.text)
    expect(plain.usage?.prompt_tokens).toBe(2 * ids.length)
  })

  test('log probabilities of prompt and answer are the engine’s, at the places where the tokens are', async () => {
    const { engine, openai } = served
    const entries: (TokenLogprob | null)[] = []
    const score = { do_sample: false, prompt_logprobs: 2, logprobs: true, top_logprobs: 2, max_new_tokens: 8 }
    for await (const delta of engine.generate({ prompt, ...score }))
      entries.push(...(delta.promptLogprobs ?? []), ...(delta.logprobs ?? []))
    const ask = { model, prompt, echo: true, logprobs: 2, ...greedy }
    const { text, logprobs } = (await openai.completions.create(ask)).choices[0]!
    const { tokens, token_logprobs: values, top_logprobs: tops, text_offset: offsets } = logprobs as Required<NonNullable<typeof logprobs>>
    expect(values).toHaveLength(entries.length)
    for (const [i, entry] of entries.entries()) {
      if (entry) expect(values[i]).toBeCloseTo(entry.logprob, 3)
      else expect([i, values[i]]).toEqual([0, null])
      if (entry) expect(Object.values(tops[i]!)).toContainEqual(expect.closeTo(entry.logprob, 3))
      const characters = [...text].slice(offsets[i])
      if (!tokens[i]!.startsWith('bytes:') && !tokens[i]!.startsWith('<|')) expect(characters.join('').startsWith(tokens[i]!)).toBe(true)
    }
    // the stream says the same
    let streamed = ''
    const places: number[] = []
    for await (const part of await openai.completions.create({ ...ask, stream: true })) {
      streamed += part.choices[0]?.text ?? ''
      places.push(...(part.choices[0]?.logprobs?.text_offset ?? []))
    }
    expect([streamed, places]).toEqual([text, offsets])
  })

  test('max_tokens 0 scores the prompt alone', async () => {
    const { choices, usage } = await served.openai.completions.create({ model, prompt, echo: true, logprobs: 1, max_tokens: 0 })
    expect(choices[0]).toMatchObject({ text: prompt, finish_reason: 'length' })
    expect(choices[0]!.logprobs?.token_logprobs?.filter((value) => value === null)).toHaveLength(1)
    expect(usage?.completion_tokens).toBe(0)
  })

  test('best_of gives the most probable of the candidates that n would give', async () => {
    const { openai } = served
    const ask = { model, prompt, seed: 7, temperature: 1.5, max_tokens: 6, logprobs: 0 }
    const all = await openai.completions.create({ ...ask, n: 4 })
    const mean = (choice: (typeof all.choices)[number]) => {
      const values = choice.logprobs?.token_logprobs ?? []
      return values.reduce((sum, value) => sum + value, 0) / values.length
    }
    const expected = [...all.choices].sort((a, b) => mean(b) - mean(a))[0]!
    const best = await openai.completions.create({ ...ask, best_of: 4 })
    expect(best.choices.map(({ text }) => text)).toEqual([expected.text])
    expect(best.usage?.completion_tokens).toBe(all.usage?.completion_tokens)
  })

  test.each([
    [{ prompt: [10 ** 6] }, 'prompt'],
    [{ prompt: 'word '.repeat(9000) }, 'prompt'],
  ])('refused: prompt %#', async (body, param) => {
    await expect(served.openai.completions.create({ model, ...body })).rejects.toMatchObject({ status: 400, param })
  })
})

describe('a model with tokens for filling in', () => {
  const model = 'qwen3'
  let served: Served
  beforeAll(async () => {
    served = await serve(model)
  })
  afterAll(() => close(served))

  test('a suffix makes the prompt of its notation', async () => {
    const { engine, openai } = served
    const ids = [...(await engine.tokenize('<|fim_prefix|>def f(<|fim_suffix|>):\n  pass<|fim_middle|>'))]
    const filled = await openai.completions.create({ model, prompt: 'def f(', suffix: '):\n  pass', echo: true, ...greedy })
    const asked = await openai.completions.create({ model, prompt: ids, ...greedy })
    expect(filled.choices[0]!.text).toBe(`def f(${asked.choices[0]!.text}`)
    expect(filled.usage?.prompt_tokens).toBe(ids.length)
  })
})

test('a suffix is refused by a model without such tokens', async () => {
  const served = await serve('llama')
  try {
    const asked = served.openai.completions.create({ model: 'llama', prompt: 'a', suffix: 'b' })
    await expect(asked).rejects.toMatchObject({ status: 400, param: 'suffix', code: 'unsupported_parameter' })
  } finally {
    await close(served)
  }
})
