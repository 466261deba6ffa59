// The real command as a child process, for tests of what a user sees.
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const entry = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const readyLine = /is served on (http:\/\/\S+) \((\w+)\)/
const startTimeoutMs = 60_000

export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface StreamEvent {
  choices: { index: number; delta: { role?: string; content?: string }; finish_reason: string | null }[]
  usage?: { prompt_tokens: number; completion_tokens: number; total_tokens: number } | null
  error?: { message: string; type: string; code: string | null }
}

class CommandRun {
  stdout = ''
  stderr = ''
  readonly ended: Promise<Ended>
  readonly child: ChildProcess

  constructor(args: readonly string[], env: Readonly<Record<string, string>> = { HF_HUB_OFFLINE: '1' }) {
    this.child = spawn(process.execPath, [entry, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
    this.child.stdout?.on('data', (data: Buffer) => (this.stdout += data.toString()))
    this.child.stderr?.on('data', (data: Buffer) => (this.stderr += data.toString()))
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject)
      this.child.once('close', (code, signal) => resolve({ code, signal, stdout: this.stdout, stderr: this.stderr }))
    })
  }
}

/** Runs `tfserve ...args` to its end. */
export function runCommand(...args: string[]): Promise<Ended> {
  return new CommandRun(args).ended
}

/** The same with variables of the environment. */
export function runCommandWith(env: Readonly<Record<string, string>>, ...args: string[]): Promise<Ended> {
  return new CommandRun(args, env).ended
}

/** Starts `tfserve ...args` with variables of the environment. */
export function startCommand(env: Readonly<Record<string, string>>, ...args: string[]): { child: ChildProcess; ended: Promise<Ended> } {
  return new CommandRun(args, env)
}

/** A running `tfserve`; end it with `stop()` or leave that to `await using`. */
export class ServerProcess implements AsyncDisposable {
  private constructor(
    private readonly run: CommandRun,
    readonly url: string,
    readonly transport: string,
  ) {}

  /** Starts `tfserve ...args` on a free port and waits until it serves. Rejects with its output when it ends before. */
  static async start(...args: string[]): Promise<ServerProcess> {
    return ServerProcess.startWith({ HF_HUB_OFFLINE: '1' }, ...args)
  }

  /** The same with variables of the environment. */
  static async startWith(env: Readonly<Record<string, string>>, ...args: string[]): Promise<ServerProcess> {
    // one thread: test files run side by side, and threads that wait for each other must not outnumber cores
    const run = new CommandRun([...args, '--port', '0', '--host', '127.0.0.1', '--threads', '1'], env)
    const deadline = Date.now() + startTimeoutMs
    while (run.child.exitCode === null && run.child.signalCode === null && Date.now() < deadline) {
      const ready = readyLine.exec(run.stderr)
      if (ready) return new ServerProcess(run, ready[1]!, ready[2]!)
      await sleep(20)
    }
    run.child.kill('SIGKILL')
    throw new Error(`tfserve ${args.join(' ')} did not come up: ${run.stderr}`)
  }

  get pid(): number {
    return this.run.child.pid!
  }

  get ended(): Promise<Ended> {
    return this.run.ended
  }

  get stderr(): string {
    return this.run.stderr
  }

  kill(signal: NodeJS.Signals): void {
    this.run.child.kill(signal)
  }

  /** Process ids of its children: the models' workers. Linux only. */
  workers(): number[] {
    return childrenOf(this.pid)
  }

  get(path: string): Promise<Response> {
    return fetch(this.url + path)
  }

  post(path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    return fetch(this.url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: text, ...init })
  }

  /** Streams a chat completion; yields its events, '[DONE]' included. */
  async *chatEvents(body: object): AsyncGenerator<StreamEvent | '[DONE]'> {
    const response = await this.post('/v1/chat/completions', { ...body, stream: true })
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`)
    let rest = ''
    const decoder = new TextDecoder()
    for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
      rest += decoder.decode(piece, { stream: true })
      const events = rest.split('\n\n')
      rest = events.pop()!
      for (const event of events) {
        const data = event.replace(/^data: /, '')
        yield data === '[DONE]' ? data : (JSON.parse(data) as StreamEvent)
      }
    }
  }

  async stop(): Promise<Ended> {
    if (this.run.child.exitCode === null && this.run.child.signalCode === null) this.run.child.kill('SIGTERM')
    const timer = setTimeout(() => this.run.child.kill('SIGKILL'), 10_000)
    const ended = await this.run.ended
    clearTimeout(timer)
    return ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/** Process ids of a process' children. Linux only. */
export function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => parentOf(pid) === parent)
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return undefined // it has just ended
  }
}

/** Whether a process exists and is no zombie. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z'
  } catch {
    return false
  }
}

/** Waits until `holds`, at most `ms`. */
export async function eventually(holds: () => boolean | Promise<boolean>, ms = 15_000): Promise<void> {
  const deadline = Date.now() + ms
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error('it did not come about in time')
    await sleep(50)
  }
}
