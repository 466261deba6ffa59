import { describe, expect, test } from 'vitest'
import { request, until } from '../support/http-client.js'
import { hello, testServer, transports } from '../support/test-server.js'

// a small generator of its own, so that a failure can be run again
function randomSource(seed: number): (n: number) => number {
  let state = seed >>> 0
  return (n) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0
    return state % n
  }
}

const names = [
  'model', 'messages', 'stream', 'stream_options', 'max_tokens', 'max_completion_tokens', 'n', 'stop', 'seed', 'presence_penalty', 'frequency_penalty',
  'logit_bias', 'logprobs', 'top_logprobs', 'tools', 'tool_choice', 'functions', 'function_call', 'response_format', 'modalities', 'audio', 'temperature',
  'top_p', 'top_k', 'min_p', 'typical_p', 'repetition_penalty', 'no_repeat_ngram_size', 'bad_words_ids', 'max_new_tokens', 'max_length', 'min_new_tokens',
  'min_tokens', 'eos_token_id', 'ignore_eos', 'do_sample', 'skip_special_tokens', 'generation_config', 'chat_template_kwargs', 'reasoning_effort', 'priority',
  'cache_salt', 'metadata', 'user', 'prompt', 'suffix', 'echo', 'best_of', 'num_beams', 'guidance_scale', 'nonsense', 'role', 'content', 'type', 'text', 'tool_calls', 'function', 'arguments',
  'input', 'instructions', 'background', 'store', 'previous_response_id', 'conversation', 'include', 'max_output_tokens', 'reasoning', 'truncation',
  'output', 'call_id', 'id', 'summary', 'effort', 'format', 'schema', 'name', 'constructor', 'toString', 'hasOwnProperty', '', '0', '-1',
] as const // prettier-ignore

const scalars = [
  null, true, false, 0, 1, -1, 2, 5, 0.5, 1e9, 1e300, -1e300, 2 ** 53, '', 'x', 'text', 'user', 'assistant', 'system', '{', '{}', '[]', '{"num_beams":4}',
  'message', 'function_call', 'function_call_output', 'input_text', 'auto', 'json_object', 'a\ud800b', '\u0000', '🎉', 'test-org/fake', "it's", 'x'.repeat(3000),
] as const // prettier-ignore

function randomValue(random: (n: number) => number, depth: number): unknown {
  const kind = random(depth > 3 ? 6 : 10)
  if (kind < 6) return scalars[random(scalars.length)]
  if (kind < 8) return Array.from({ length: random(4) }, () => randomValue(random, depth + 1))
  return Object.fromEntries(Array.from({ length: random(5) }, () => [names[random(names.length)], randomValue(random, depth + 1)]))
}

function randomBody(random: (n: number) => number, needed: Record<string, unknown>): Record<string, unknown> {
  const body: Record<string, unknown> = {}
  if (random(3) > 0) for (const [name, value] of Object.entries(needed)) body[name] = random(4) === 0 ? randomValue(random, 0) : value
  for (let i = random(4); i > 0; i--) body[names[random(names.length)] ?? ''] = randomValue(random, 0)
  if (body.stream !== true) delete body.ignore_eos
  return body
}

// a text that was hit: characters lost, doubled or replaced
function damaged(text: string, random: (n: number) => number): string {
  const at = random(text.length + 1)
  const junk = ['', '"', '{', ']', '\\', '\u0000', ',,', '1e', text.slice(at, at + 9)][random(9)] ?? ''
  return text.slice(0, at) + junk + text.slice(at + random(3))
}

const endpoints: [path: string, needed: Record<string, unknown>][] = [
  ['/v1/chat/completions', { messages: hello }],
  ['/v1/completions', { prompt: ['Hello', 'there'] }],
  ['/v1/responses', { input: hello }],
]

describe.each(transports)('random bodies over %s', (transport) => {
  test.each(endpoints)(
    '3000 of them never bring a 5xx from %s',
    async (path, needed) => {
      await using t = await testServer(transport)
      const random = randomSource(20_260_101)
      const seen = new Map<number, number>()
      const one = async () => {
        const text = JSON.stringify(randomBody(random, needed))
        const body = random(4) === 0 ? damaged(text, random) : text
        const reply = await request(t.port, 'POST', path, body)
        seen.set(reply.status, (seen.get(reply.status) ?? 0) + 1)
        expect(reply.status, `${body.slice(0, 500)} -> ${reply.text.slice(0, 300)}`).toBeLessThan(500)
        if (reply.status >= 400) expect(JSON.parse(reply.text)).toHaveProperty('error.message')
        else expect(reply.text).not.toMatch(/"error":(?!null)/)
      }
      for (let i = 0; i < 3000; i += 20) await Promise.all(Array.from({ length: 20 }, one))
      // the bodies reach all the ways through
      expect(seen.get(200)).toBeGreaterThan(100)
      expect(seen.get(400)).toBeGreaterThan(100)
      expect(seen.get(422)).toBeGreaterThan(100)
      await until(() => t.model.live === 0, 'what runs in the background ends')
    },
    60_000,
  )
})
