#!/usr/bin/env node
// A closed-loop load on any OpenAI chat server: every stream sends its next request when the last one has ended.
// As a program: node bench/load-client.mjs URL [--streams 8] [--requests 2] [--words 380] [--max-tokens 64]; prints one JSON line.
import { Agent, request as httpRequest } from 'node:http'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { quantile } from './lib/statistics.mjs'

const vocabulary =
  'apple bridge carbon dinner engine forest garden harbor island jacket kitchen ladder market needle orange pencil quarry river silver tunnel umbrella valley ' +
  'window yellow anchor basket castle desert eagle feather guitar hammer insect jungle kettle lantern mirror number ocean planet quiet rabbit station temple'
const words = vocabulary.split(' ')

/** A generator of whole numbers below n, the same for the same seed. */
export function randomSource(seed) {
  let state = (seed * 2654435761) >>> 0 || 1
  return (n) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state % n
  }
}

/** `count` random words after `tag`, so that no two prompts with different tags share a prefix. */
export function randomText(random, count, tag) {
  return [tag, ...Array.from({ length: count }, () => words[random(words.length)])].join(' ')
}

function post(agent, url, body) {
  return new Promise((resolve, reject) => {
    const data = JSON.stringify(body)
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(data) }
    const request = httpRequest(url, { agent, method: 'POST', headers }, resolve)
    request.on('error', reject)
    request.end(data)
  })
}

// text of a chat completion chunk, reasoning included
const textOf = (event) => {
  const delta = event.choices?.[0]?.delta
  return delta?.content || delta?.reasoning_content || ''
}

/** One streamed chat: when it started, when text arrived, what the server counted. Never throws. */
async function streamChat(agent, url, body) {
  const result = { start: performance.now(), times: [], usage: undefined, error: undefined }
  try {
    const response = await post(agent, url, body)
    response.setEncoding('utf8')
    let rest = ''
    for await (const piece of response) {
      rest += piece
      if (response.statusCode !== 200) continue
      const now = performance.now()
      const lines = rest.split('\n')
      rest = lines.pop()
      for (const line of lines) {
        if (!line.startsWith('data: {')) continue
        const event = JSON.parse(line.slice(6))
        if (event.error) result.error = event.error.message ?? 'error in the stream'
        if (event.usage) result.usage = event.usage
        if (textOf(event)) result.times.push(now)
      }
    }
    if (response.statusCode !== 200) result.error = `${response.statusCode} ${rest.slice(0, 200)}`
    else if (result.times.length === 0) result.error ??= 'no text came'
  } catch (error) {
    result.error = String(error)
  }
  return result
}

// tokens a second between the last stream's first text and the first stream's last: all of them are decoding then
function decodeRate(good) {
  const from = Math.max(...good.map((r) => r.times[0]))
  const to = Math.min(...good.map((r) => r.times.at(-1)))
  if (!(to > from)) return null
  // a chunk may carry more than one token
  const tokens = good.reduce(
    (sum, r) => sum + r.times.filter((t) => t > from && t <= to).length * ((r.usage?.completion_tokens ?? r.times.length) / r.times.length),
    0,
  )
  return (tokens * 1000) / (to - from)
}

/**
 * Runs the load and returns its figures: times in ms, rates in tokens a second.
 * `extra` is merged into every body; `streams * requests` chats with distinct prompts of about `words` words.
 */
export async function runLoad({ url, streams, requests = 1, words: count = 380, maxTokens = 64, seed = 1, model, extra = {} }) {
  // a connection a request: some servers close an idle one just when the next request is sent on it
  const agent = new Agent({ keepAlive: false })
  const endpoint = new URL('/v1/chat/completions', url)
  const id = model ?? (await (await fetch(new URL('/v1/models', url))).json()).data[0].id
  const body = (content, max) => ({
    model: id,
    messages: [{ role: 'user', content }],
    max_tokens: max,
    stream: true,
    stream_options: { include_usage: true },
    temperature: 0,
    ignore_eos: true,
    ...extra,
  })
  const random = randomSource(seed)
  const warm = await streamChat(agent, endpoint, body('Hello', 4))
  if (warm.error) throw new Error(`The server at ${url} does not answer a chat: ${warm.error}`)
  const prompts = Array.from({ length: streams }, (_, s) =>
    Array.from({ length: requests }, (_, r) => randomText(random, count, `${seed}-${s}-${r}`)),
  )
  const began = performance.now()
  const results = await Promise.all(
    prompts.map(async (own) => {
      const done = []
      for (const prompt of own) done.push(await streamChat(agent, endpoint, body(prompt, maxTokens)))
      return done
    }),
  )
  const wall = (performance.now() - began) / 1000
  agent.destroy()
  const all = results.flat()
  const good = all.filter((r) => !r.error)
  const gaps = good.flatMap((r) => r.times.slice(1).map((t, i) => t - r.times[i]))
  const ttft = good.map((r) => r.times[0] - r.start)
  const output = good.reduce((sum, r) => sum + (r.usage?.completion_tokens ?? r.times.length), 0)
  const input = good.reduce((sum, r) => sum + (r.usage?.prompt_tokens ?? 0), 0)
  // with several requests a stream, the first ones overlap fully
  const firsts = results.map((own) => own[0]).filter((r) => !r.error)
  return {
    streams,
    requests: all.length,
    failed: all.length - good.length,
    error: all.find((r) => r.error)?.error,
    wallSeconds: wall,
    inputTokens: input,
    outputTokens: output,
    totalTokensPerSecond: (input + output) / wall,
    outputTokensPerSecond: output / wall,
    decodeTokensPerSecond: firsts.length > 0 ? decodeRate(firsts) : null,
    ttftP50: quantile(ttft, 0.5),
    ttftP99: quantile(ttft, 0.99),
    itlP50: quantile(gaps, 0.5),
    itlP90: quantile(gaps, 0.9),
    itlP99: quantile(gaps, 0.99),
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      streams: { type: 'string', default: '8' },
      requests: { type: 'string', default: '1' },
      words: { type: 'string', default: '380' },
      'max-tokens': { type: 'string', default: '64' },
      model: { type: 'string' },
      extra: { type: 'string', default: '{}' },
    },
  })
  const result = await runLoad({
    url: positionals[0],
    streams: Number(values.streams),
    requests: Number(values.requests),
    words: Number(values.words),
    maxTokens: Number(values['max-tokens']),
    model: values.model,
    extra: JSON.parse(values.extra),
  })
  console.log(JSON.stringify(result))
}
