import { expect, test } from 'vitest'
import type { GenerationDelta, TokenLogprob } from '../../src/engine/types.js'
import { UsageCount } from '../../src/protocol/chat-mapping.js'
import { CompletionChunks, CompletionReply } from '../../src/protocol/completions-mapping.js'
import { readCompletionRequest } from '../../src/protocol/completions-schema.js'
import type { LegacyLogprobs } from '../../src/protocol/legacy-logprobs.js'

const head = { id: 'cmpl-1', model: 'm@main', created: 5 }
const entry = (bytes: number[], logprob: number, top: TokenLogprob[] = []): TokenLogprob => ({
  token: new TextDecoder().decode(Uint8Array.from(bytes)),
  logprob,
  bytes,
  top_logprobs: top,
})
const said = (text: string, logprob: number, top: TokenLogprob[] = []) => entry([...Buffer.from(text)], logprob, top)
const delta = (fields: Partial<GenerationDelta>): GenerationDelta => ({
  choice: 0,
  text: '',
  tokens: [],
  promptTokens: 3,
  cachedTokens: 0,
  outputTokens: 1,
  ...fields,
})

interface Parsed {
  choices: { index: number; text: string; finish_reason?: string; logprobs?: LegacyLogprobs }[]
}

/** The choices of a request as a whole reply and as the sum of its stream, which have to be the same. */
function both(body: Record<string, unknown>, echo: string | undefined, deltas: GenerationDelta[]): Parsed['choices'] {
  const request = readCompletionRequest(body)
  const firstToken = { token: '<s>', bytes: [...Buffer.from('<s>')] }
  const told = echo === undefined ? undefined : { text: echo, firstToken }
  const reply = new CompletionReply(head, request)
  const chunks = new CompletionChunks(head, request)
  let events = ''
  for (const prompt of request.generates.keys()) {
    reply.begin(prompt, told)
    events += chunks.begin(prompt, told)
    for (const one of deltas) {
      reply.delta(prompt, one)
      events += chunks.delta(prompt, one)
    }
  }
  const whole = (JSON.parse(reply.render(new UsageCount())) as Parsed).choices
  const sums = whole.map(({ index }) => ({ index, text: '' }) as Parsed['choices'][number])
  for (const event of events.split('\n\n').filter(Boolean)) {
    const [choice] = (JSON.parse(event.slice('data: '.length)) as Parsed).choices
    const sum = sums[choice!.index]!
    sum.text += choice!.text
    if (choice!.finish_reason) sum.finish_reason = choice!.finish_reason
    if (!choice!.logprobs) continue
    sum.logprobs ??= { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] }
    for (const name of ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset'] as const) {
      ;(sum.logprobs[name] as unknown[]).push(...choice!.logprobs[name])
    }
  }
  expect(sums).toEqual(whole)
  return whole
}

test('choices of several prompts are numbered through', () => {
  const ends = [0, 1].map((choice) => delta({ choice, text: `t${choice}`, finishReason: choice === 0 ? 'stop' : 'length' }))
  expect(both({ prompt: ['a', 'b'], n: 2 }, undefined, ends)).toEqual([
    { index: 0, text: 't0', finish_reason: 'stop' },
    { index: 1, text: 't1', finish_reason: 'length' },
    { index: 2, text: 't0', finish_reason: 'stop' },
    { index: 3, text: 't1', finish_reason: 'length' },
  ])
})

test('log probabilities, and where in the text each token begins', () => {
  const top = [said('A', -0.1), said('__proto__', -3)]
  const [choice] = both({ prompt: 'a', logprobs: 2 }, undefined, [
    delta({ text: 'é', logprobs: [said('é', -1, top)] }),
    // text that is held back comes later than its token
    delta({ text: '', logprobs: [said(' st', -2)] }),
    // a character of two tokens
    delta({ text: ' st', logprobs: [entry([0xf0, 0x9f], -3)] }),
    delta({ text: '🎉x', logprobs: [entry([0x8e, 0x89], -4), said('x', -5)] }),
    // a control token leaves no text
    delta({ text: '', logprobs: [said('<end>', -6)], finishReason: 'stop' }),
  ])
  expect(choice?.text).toBe('é st🎉x')
  expect(choice?.logprobs).toEqual({
    tokens: ['é', ' st', 'bytes:\\xf0\\x9f', 'bytes:\\x8e\\x89', 'x', '<end>'],
    token_logprobs: [-1, -2, -3, -4, -5, -6],
    top_logprobs: [
      JSON.parse('{"A":-0.1,"__proto__":-3,"é":-1}'),
      { ' st': -2 },
      { 'bytes:\\xf0\\x9f': -3 },
      { 'bytes:\\x8e\\x89': -4 },
      { x: -5 },
      { '<end>': -6 },
    ],
    text_offset: [0, 1, 4, 5, 5, 6],
  })
})

test('an echo is in every choice, with the log probabilities of the prompt', () => {
  const choices = both({ prompt: 'héy', echo: true, logprobs: 0, n: 2 }, 'héy', [
    delta({ promptLogprobs: [null, said('hé', -1)] }),
    delta({ promptLogprobs: [said('y', -2)] }),
    delta({ choice: 1, text: '!', logprobs: [said('!', -3)], finishReason: 'length' }),
    delta({ text: '?', logprobs: [said('?', -4)], finishReason: 'length' }),
  ])
  const logprobs = (token: string, logprob: number) => ({
    tokens: ['<s>', 'hé', 'y', token],
    token_logprobs: [null, -1, -2, logprob],
    top_logprobs: [null, { hé: -1 }, { y: -2 }, { [token]: logprob }],
    text_offset: [0, 0, 2, 3],
  })
  expect(choices).toEqual([
    { index: 0, text: 'héy?', finish_reason: 'length', logprobs: logprobs('?', -4) },
    { index: 1, text: 'héy!', finish_reason: 'length', logprobs: logprobs('!', -3) },
  ])
})

test('the best of several candidates, by log probability a token', () => {
  const reply = new CompletionReply(head, readCompletionRequest({ prompt: 'a', n: 2, best_of: 3 }))
  reply.begin(0, undefined)
  reply.delta(0, delta({ choice: 0, text: 'bad', logprobs: [said('bad', -5)], finishReason: 'stop' }))
  reply.delta(
    0,
    delta({ choice: 1, text: 'long good', logprobs: [said('long', -1), said(' good', -1), said('', -1)], finishReason: 'stop' }),
  )
  reply.delta(0, delta({ choice: 2, text: 'best', logprobs: [said('best', -0.5)], finishReason: 'length' }))
  expect((JSON.parse(reply.render(new UsageCount())) as Parsed).choices).toEqual([
    { index: 0, text: 'best', finish_reason: 'length' },
    { index: 1, text: 'long good', finish_reason: 'stop' },
  ])
})
