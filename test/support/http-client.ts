import http from 'node:http'
import net from 'node:net'

export interface Reply {
  status: number
  headers: http.IncomingHttpHeaders
  text: string
}

/** One request over a connection of its own. */
export function request(
  port: number,
  method: string,
  path: string,
  body?: string | Uint8Array,
  headers: Record<string, string> = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const type: Record<string, string> =
      body === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }
    const outgoing = http.request({ host: '127.0.0.1', port, method, path, agent: false, headers: { ...type, ...headers } }, (incoming) => {
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
      incoming.on('end', () =>
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text: Buffer.concat(chunks).toString() }),
      )
      incoming.on('error', reject)
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

export interface ChatEvent {
  id: string
  object: string
  created: number
  model: string
  choices: {
    index: number
    delta: { role?: string; content?: string }
    finish_reason?: string
    logprobs?: { content: { token: string; logprob: number; bytes: number[]; top_logprobs: unknown[] }[] }
  }[]
  usage?: { prompt_tokens: number; completion_tokens: number; total_tokens: number; prompt_tokens_details: { cached_tokens: number } }
  error?: { message: string; type: string; param: string | null; code: string }
}

/** The events of a stream; the end mark comes as '[DONE]'. */
export function events(text: string): (ChatEvent | '[DONE]')[] {
  return text
    .split('\n\n')
    .filter((block) => block.startsWith('data: '))
    .map((block) => block.slice(6))
    .map((data) => (data === '[DONE]' ? data : (JSON.parse(data) as ChatEvent)))
}

/** The events without the end mark. */
export function chunks(text: string): ChatEvent[] {
  return events(text).filter((event) => event !== '[DONE]')
}

export function post(port: number, body: unknown, headers: Record<string, string> = {}): Promise<Reply> {
  return request(
    port,
    'POST',
    '/v1/chat/completions',
    typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
    headers,
  )
}

/** A chat request over a bare socket, for clients that read slowly or leave. */
export function openChat(port: number, body: object): net.Socket {
  const text = JSON.stringify(body)
  const socket = net.connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  )
  return socket
}

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** Waits until the condition holds; throws when it does not in time. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, timeoutMs = 5000): Promise<void> {
  const end = performance.now() + timeoutMs
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not in time: ${what}`)
    await sleep(5)
  }
}
