// What the taught answers of the fixtures mean: content, reasoning and calls, through the real template, tokenizer and engine.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { Engine, type GenerateOptions } from '../../src/index.js'
import type { ToolCallDelta } from '../../src/engine/types.js'
import { gatherCalls } from '../support/calls.js'
import { type Golden, greedy, modelPath, readGoldens } from '../support/goldens.js'

interface Meaning {
  content: string
  reasoning: string
  calls: [name: string | undefined, args: unknown][]
  finishReason: string | undefined
  tokens: number[]
  reasoningTokens: number
}

async function meaningOf(engine: Engine, golden: Golden, more: Partial<GenerateOptions> = {}): Promise<Meaning> {
  const parts: ToolCallDelta[][] = []
  const meaning: Meaning = { content: '', reasoning: '', calls: [], finishReason: undefined, tokens: [], reasoningTokens: 0 }
  for await (const delta of engine.generate({
    messages: golden.messages!,
    ...(golden.tools && { tools: golden.tools }),
    ...(golden.kwargs && { chatTemplateKwargs: golden.kwargs }),
    ...greedy,
    max_new_tokens: golden.max_tokens,
    ...more,
  })) {
    meaning.content += delta.text
    meaning.reasoning += delta.reasoning ?? ''
    ;(parts[delta.choice] ??= []).push(...(delta.toolCalls ?? []))
    meaning.finishReason = delta.finishReason ?? meaning.finishReason
    meaning.tokens.push(...delta.tokens)
    meaning.reasoningTokens = delta.reasoningTokens ?? meaning.reasoningTokens
  }
  meaning.calls = parts.flatMap(gatherCalls).map(({ name, value }) => [name, value])
  return meaning
}

const weather = { content: '', reasoning: '', calls: [['get_weather', { city: 'Oslo', unit: 'C' }]], finishReason: 'tool_calls' }
const taught: Record<string, Record<string, Partial<Meaning>>> = {
  qwen2: {
    hello: { content: 'Hello, how are you today?', reasoning: '', calls: [], finishReason: 'stop' },
    tool_call: weather as Partial<Meaning>,
  },
  qwen3: {
    hello: { content: 'Hello, how are you today?', reasoning: '', calls: [], finishReason: 'stop' },
    thinking: { content: 'It is cold.', reasoning: 'The user asks about the river. It is cold.', calls: [], finishReason: 'stop' },
    tool_call: weather as Partial<Meaning>,
  },
  'gpt-oss': {
    hello: { content: 'Hello, how are you today?', reasoning: '', calls: [], finishReason: 'stop' },
    tool_call: weather as Partial<Meaning>,
  },
}

/** The checkpoint with a template that looks at no clock. */
function onThatDay(name: string): { path: string; [Symbol.dispose]: () => void } {
  const path = join(mkdtempSync(join(tmpdir(), 'tfserve-')), name)
  cpSync(modelPath(name), path, { recursive: true })
  if (name === 'gpt-oss') {
    const file = join(path, 'chat_template.jinja')
    writeFileSync(file, readFileSync(file, 'utf8').replace('strftime_now("%Y-%m-%d")', '"2024-07-26"'))
  }
  return { path, [Symbol.dispose]: () => rmSync(join(path, '..'), { recursive: true }) }
}

describe.each(Object.entries(taught))('%s', (name, answers) => {
  const goldens = readGoldens(name).goldens.filter(({ name: title }) => title !== undefined && title in answers)

  test('means what it was taught to', async () => {
    using checkpoint = onThatDay(name)
    await using engine = await Engine.load({ path: checkpoint.path, dtype: 'float32', threads: 1, logLevel: 'error' })
    expect(goldens).toHaveLength(Object.keys(answers).length)
    for (const golden of goldens) {
      const meaning = await meaningOf(engine, golden)
      expect(meaning, golden.name).toMatchObject(answers[golden.name!]!)
      expect(meaning.tokens).toEqual(golden.output_ids)
      expect(meaning.reasoningTokens > 0, golden.name).toBe(meaning.reasoning !== '')
      expect(meaning.reasoningTokens).toBeLessThan(meaning.tokens.length)
      // special tokens shown or not: the markup is read all the same
      expect(await meaningOf(engine, golden, { skip_special_tokens: false })).toMatchObject(answers[golden.name!]!)
    }
  })

  test('with tools that are strict, which the prompt does not say', async () => {
    using checkpoint = onThatDay(name)
    await using engine = await Engine.load({ path: checkpoint.path, dtype: 'float32', threads: 1, logLevel: 'error' })
    const golden = goldens.find((candidate) => candidate.tools)!
    const described = golden.tools as { function: object }[]
    const tools = described.map((tool) => ({ ...tool, function: { ...tool.function, strict: true } }))
    expect(await meaningOf(engine, golden, { tools })).toMatchObject(weather)
  })

  test('with calls unwanted, and with one call wanted', async () => {
    using checkpoint = onThatDay(name)
    await using engine = await Engine.load({ path: checkpoint.path, dtype: 'float32', threads: 1, logLevel: 'error' })
    const golden = goldens.find((candidate) => candidate.tools)!
    expect((await meaningOf(engine, golden, { toolChoice: 'none' })).calls).toEqual([])
    const single = await meaningOf(engine, golden, { parallelToolCalls: false, n: 2 })
    expect(single).toMatchObject({ finishReason: 'tool_calls', calls: [...weather.calls, ...weather.calls] })
    await vi.waitFor(async () => expect((await engine.stats()).running).toBe(0))
    expect(await meaningOf(engine, golden, { raw: true })).toMatchObject({ content: golden.text_skip_special, calls: [], reasoning: '' })
  })
})

describe.each(['qwen2', 'qwen3', 'gpt-oss'])('%s, made to call', (name) => {
  const day = {
    type: 'object',
    properties: { place: { type: 'string', maxLength: 6 }, days: { type: 'integer', minimum: 1, maximum: 9 } },
    required: ['place', 'days'],
    additionalProperties: false,
  }
  const tools = [
    { type: 'function', function: { name: 'get_weather', description: 'w', parameters: day } },
    { type: 'function', function: { name: 'get_days', description: 'd', parameters: day } },
    { type: 'function', function: { name: 'stop', description: 's' } },
  ]
  const golden = readGoldens(name).goldens.find((candidate) => candidate.name === 'hello')!
  const fits = ([called, args]: [string | undefined, unknown]): boolean => {
    if (called === 'stop') return JSON.stringify(args) === '{}'
    const { place, days } = args as { place: string; days: number }
    return (called === 'get_weather' || called === 'get_days') && place.length <= 6 && Number.isInteger(days) && days >= 1 && days <= 9
  }

  test('calls, whatever it would rather say', async () => {
    using checkpoint = onThatDay(name)
    await using engine = await Engine.load({ path: checkpoint.path, dtype: 'float32', threads: 1, logLevel: 'error' })
    const ask = { tools, max_new_tokens: 400, chatTemplateKwargs: { enable_thinking: false } }
    const forced = (more: Partial<GenerateOptions>) => meaningOf(engine, golden, { ...ask, ...more })
    for (const more of [{}, { do_sample: true, temperature: 1, seed: 3, n: 3 }]) {
      const single = await forced({ toolChoice: { name: 'get_days' }, ...more })
      expect(single).toMatchObject({ finishReason: 'tool_calls', content: '' })
      expect(single.calls).toHaveLength('n' in more ? 3 : 1)
      expect(single.calls.every(([called]) => called === 'get_days')).toBe(true)
      expect(single.calls.filter((call) => !fits(call))).toEqual([])
    }
    const any = await forced({ toolChoice: 'required', parallelToolCalls: false })
    expect(any.calls).toHaveLength(1)
    expect(any.calls.filter((call) => !fits(call))).toEqual([])
    // a schema that cannot be compiled binds only where it is strict
    const odd = { name: 'odd', description: 'o', parameters: { type: 'array', uniqueItems: true } }
    expect(
      (await forced({ tools: [{ type: 'function', function: odd }], toolChoice: 'required', parallelToolCalls: false })).calls[0]?.[0],
    ).toBe('odd')
    const strict = [{ type: 'function', function: { ...odd, strict: true } }]
    await expect(forced({ tools: strict, toolChoice: 'required' })).rejects.toMatchObject({ code: 'invalid_request', param: 'tools' })
  })
})

/** The checkpoint with a template that writes this prompt whatever the tools are; a comment shows the notation. */
function withPrompt(name: string, prompt: string): ReturnType<typeof onThatDay> {
  const checkpoint = onThatDay(name)
  const notation = name === 'gpt-oss' ? '<|channel|> <|message|>' : '<tool_call>'
  writeFileSync(join(checkpoint.path, 'chat_template.jinja'), `{# ${notation} #}{{ ${JSON.stringify(prompt)} }}`)
  return checkpoint
}

describe.each(Object.keys(taught))('%s, free to call a tool that is strict', (name) => {
  const golden = readGoldens(name).goldens.find((candidate) => candidate.tools)!
  // not what the model was taught to write
  const parameters = {
    type: 'object',
    properties: { days: { type: 'integer', minimum: 1, maximum: 9 }, city: { enum: ['Rome', 'Lima'] } },
    required: ['days', 'city'],
    additionalProperties: false,
  }
  const named = (more: object) => {
    const [tool] = golden.tools as { type: string; function: { name: string } }[]
    return [{ type: 'function', function: { ...tool!.function, parameters, ...more } }]
  }
  const fits = ([called, args]: [string | undefined, unknown]): boolean => {
    const { city, days } = args as { city: string; days: number }
    return called === 'get_weather' && ['Rome', 'Lima'].includes(city) && Number.isInteger(days) && days >= 1 && days <= 9
  }

  test('may talk, but where it calls the arguments fit', async () => {
    using checkpoint = withPrompt(name, golden.prompt!)
    await using engine = await Engine.load({ path: checkpoint.path, dtype: 'float32', threads: 1, logLevel: 'error' })
    const ask = (more: Partial<GenerateOptions>) => meaningOf(engine, golden, { max_new_tokens: 120, ...more })
    const free = await ask({ tools: named({}) })
    expect(
      free.calls.filter((call) => !fits(call)),
      'what it was taught',
    ).not.toEqual([])
    for (const more of [{ tools: named({ strict: true }) }, { tools: named({}), strictTools: true }]) {
      const bound = await ask({ ...more, parallelToolCalls: false })
      expect(bound.calls).toHaveLength(1)
      expect(bound.calls.filter((call) => !fits(call))).toEqual([])
      const many = await ask({ ...more, do_sample: true, temperature: 0.7, seed: 1, n: 4 })
      expect(many.calls.length).toBeGreaterThan(0)
      expect(many.calls.filter((call) => !fits(call))).toEqual([])
    }
    expect((await ask({ tools: named({ strict: false }), strictTools: true })).calls).toEqual(free.calls)
    // a schema that no grammar knows: refused where the tool says strict, no hindrance otherwise
    const odd = { parameters: { ...parameters, unevaluatedProperties: false } }
    await expect(ask({ tools: named({ ...odd, strict: true }) })).rejects.toMatchObject({ code: 'invalid_request', param: 'tools' })
    expect((await ask({ tools: named(odd), strictTools: true })).calls.length).toBeGreaterThan(0)
  })
})
