import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { requireTextModel } from '../../src/engine/model-kinds.js'
import type { GenerateRequest, GenerationDelta } from '../../src/engine/types.js'
import { SupervisedModel, type SupervisorSettings, WorkerStartError } from '../../src/models/supervisor.js'

const workerEntry = fileURLToPath(new URL('../support/scripted-worker.mjs', import.meta.url))
const ask = (text: string, more: Partial<GenerateRequest> = {}): GenerateRequest => ({ input: { kind: 'text', text }, params: {}, ...more })
const name = { id: 'scripted', revision: 'main', created: 1 }
const unavailable = "The model is not available: its process ended or failed to start. The server's log says why."
const quick = { firstDelayMs: 10, maxDelayMs: 50 }

const open: SupervisedModel[] = []
const folders: string[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((model) => model.close()))
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

function supervise(path: string, settings: SupervisorSettings = {}): SupervisedModel {
  const model = new SupervisedModel(
    name,
    { path, id: 'scripted' },
    { workerEntry, ...settings, restart: { ...quick, ...settings.restart } },
  )
  open.push(model)
  return model
}

interface Stream {
  deltas: GenerationDelta[]
  ended: Promise<void>
}

async function stream(model: SupervisedModel, request: GenerateRequest): Promise<Stream> {
  const deltas: GenerationDelta[] = []
  let left = request.n ?? 1
  let end: () => void = () => undefined
  const ended = new Promise<void>((resolve) => (end = resolve))
  const text = requireTextModel(await model.get())
  await text.start(request, (delta) => {
    deltas.push(delta)
    if (delta.finishReason && --left === 0) end()
  })
  return { deltas, ended }
}

async function text(model: SupervisedModel, request: GenerateRequest): Promise<string> {
  const { deltas, ended } = await stream(model, request)
  await ended
  return deltas.map((delta) => delta.text).join('')
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe('a supervised worker', () => {
  it('starts, serves, reports and ends', async () => {
    const model = supervise('ok')
    const phases: string[] = []
    model.onChange((state) => phases.push(state.progress ? `${state.phase}:${state.progress.stage}` : state.phase))
    expect(model.health()).toEqual({ ok: false, reason: 'loading' })
    expect((await model.start()).id).toBe('scripted')
    expect(phases).toEqual(['loading:processor', 'loading:weights', 'ready'])
    expect(await text(model, ask('count 4'))).toBe('0 1 2 3 ')
    expect(model.health()).toEqual({ ok: true })
    await vi.waitFor(() => expect(model.state().residentBytes).toBeGreaterThan(1e6))
    const pid = model.pid!
    const { deltas, ended } = await stream(model, ask('silent'))
    await model.close()
    await ended
    expect(deltas.at(-1)?.error?.code).toBe('shutting_down')
    expect(alive(pid)).toBe(false)
    await expect(model.get()).rejects.toMatchObject({ code: 'shutting_down' })
    expect(model.health().reason).toBe('shutting_down')
  })

  it("a load that fails is told in the worker's own sentence and not tried again by itself", async () => {
    const model = supervise('fail')
    await expect(model.start()).rejects.toMatchObject({
      name: 'WorkerStartError',
      message: 'There is no such model.',
      forClients: 'There is no such model.',
      unsupported: false,
    })
    expect(model.state()).toMatchObject({ phase: 'failed', reason: unavailable, restarts: 0 })
    const gone = supervise('exit')
    await expect(gone.start()).rejects.toThrow("The model's process ended with exit code 7.")
    await expect(gone.start()).rejects.toMatchObject({ forClients: undefined })
    const missing = supervise('ok', { workerEntry: '/nonexistent/worker.js' })
    await expect(missing.start()).rejects.toThrow('/nonexistent/worker.js')
  })

  it('clients are told why a load failed only where the sentence names no place of this machine', () => {
    const told = (sentence: string): string | undefined => new WorkerStartError(sentence, 'failed').forClients
    for (const sentence of ['model.safetensors is truncated.', 'A 1/2 chance, and/or org/name.', 'See https://hub.example/org/name.'])
      expect(told(sentence)).toBe(sentence)
    for (const sentence of ["ENOENT: '/root/x/config.json'", '/srv/models/x is gone.', 'C:\\models\\x is gone.', 'In ~/models/x.'])
      expect(told(sentence)).toBeUndefined()
    expect(new WorkerStartError('It ended with exit code 7.').forClients).toBeUndefined()
  })

  it('killed in mid-stream: streams end with an error, waiting requests are refused, the model comes back', async () => {
    const log = vi.fn()
    const model = supervise('ok', { log })
    await model.start()
    const first = await stream(model, ask('count 1000000', { n: 2 }))
    const waiting = model.get().then((worker) => requireTextModel(worker).start(ask('never'), () => undefined))
    waiting.catch(() => undefined)
    await vi.waitFor(() => expect(first.deltas.length).toBeGreaterThan(10))
    process.kill(model.pid!, 'SIGKILL')
    await first.ended
    expect(first.deltas.slice(-2).map((delta) => [delta.finishReason, delta.error?.code])).toEqual([
      ['error', 'model_crashed'],
      ['error', 'model_crashed'],
    ])
    await expect(waiting).rejects.toMatchObject({ code: 'model_crashed' })
    expect(model.health()).toEqual({ ok: false, reason: 'cb_worker_dead' })
    // this one waits for the model to be back
    expect(await text(model, ask('count 3'))).toBe('0 1 2 ')
    expect(model.health()).toEqual({ ok: true })
    expect(model.state()).toMatchObject({ phase: 'ready', restarts: 1 })
    expect(log).toHaveBeenCalledWith('error', expect.stringContaining('SIGKILL'))
  })

  it('an uncaught error ends the worker with its words', async () => {
    const log = vi.fn()
    const model = supervise('ok', { log })
    await model.start()
    const { deltas, ended } = await stream(model, ask('throw'))
    await ended
    expect(deltas.at(-1)?.error?.code).toBe('model_crashed')
    expect(await text(model, ask('count 2'))).toBe('0 1 ')
    expect(log).toHaveBeenCalledWith('error', expect.stringContaining('thrown on purpose'))
  })

  it('is given up after too many deaths and tried again by a request after a cool-down', async () => {
    const model = supervise('ok', { restart: { maxRestarts: 3, coolDownMs: 300 } })
    await model.start()
    for (let death = 0; death < 4; death++) {
      const { ended } = await stream(model, ask('kill'))
      await ended
    }
    await vi.waitFor(() => expect(model.state().phase).toBe('failed'))
    expect(model.state().restarts).toBe(3)
    await expect(model.get()).rejects.toMatchObject({ code: 'model_crashed', message: unavailable })
    await new Promise((resolve) => setTimeout(resolve, 350))
    expect(await text(model, ask('count 2'))).toBe('0 1 ')
    expect(model.state()).toMatchObject({ phase: 'ready', restarts: 4 })
  })

  it('a reload that fails counts as a death, and why is told to the log only', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tfserve-'))
    folders.push(folder)
    const log = vi.fn()
    const model = supervise(`once ${join(folder, 'seen')}`, { restart: { maxRestarts: 2 }, log })
    await model.start()
    process.kill(model.pid!, 'SIGKILL')
    await vi.waitFor(() => expect(model.state().phase).toBe('failed'), 10_000)
    expect(model.state()).toMatchObject({ restarts: 2, reason: unavailable })
    await expect(model.get()).rejects.toMatchObject({ code: 'model_crashed', message: unavailable })
    expect(log).toHaveBeenCalledWith('error', expect.stringContaining(`'${join(folder, 'seen')}' is there.`))
    expect(existsSync(join(folder, 'seen'))).toBe(true)
  })

  it('requests wait for a load within bounds of number and time', async () => {
    const model = supervise('slow 400', { maxLoadWaiters: 2, loadWaitMs: 5000 })
    void model.start()
    const waiting = [text(model, ask('count 1')), text(model, ask('count 1'))]
    await expect(model.get()).rejects.toMatchObject({ code: 'model_loading' })
    expect(await Promise.all(waiting)).toEqual(['0 ', '0 '])
    const impatient = supervise('slow 60000', { loadWaitMs: 50 })
    void impatient.start().catch(() => undefined)
    await expect(impatient.get()).rejects.toMatchObject({ code: 'model_loading' })
  })

  it('a request that is given up while the model loads leaves its place to another', async () => {
    const model = supervise('slow 400', { maxLoadWaiters: 1, loadWaitMs: 5000 })
    void model.start()
    const gone = new AbortController()
    const waiting = model.get(gone.signal)
    await expect(model.get()).rejects.toMatchObject({ code: 'model_loading' })
    gone.abort(new Error('the client left'))
    await expect(waiting).rejects.toThrow('the client left')
    const next = model.get(new AbortController().signal)
    await expect(model.get(gone.signal)).rejects.toThrow('the client left')
    expect((await next).info.id).toBe('scripted')
  })

  it('stalled: work is open and no step ends; an idle worker is healthy', async () => {
    const model = supervise('ok', { stallTimeoutMs: 300 })
    await model.start()
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(model.health()).toEqual({ ok: true })
    const text = requireTextModel(await model.get())
    const generation = await text.start(ask('silent'), () => undefined)
    await vi.waitFor(() => expect(model.health()).toEqual({ ok: false, reason: 'stalled' }), 5000)
    generation.abort()
    await vi.waitFor(() => expect(model.health()).toEqual({ ok: true }), 5000)
  })

  it('stalled: requests that come in, and are accepted or refused, are no steps of the engine', async () => {
    const model = supervise('ok', { stallTimeoutMs: 300 })
    await model.start()
    const text = requireTextModel(await model.get())
    const trickle = setInterval(() => {
      text.start(ask('silent'), () => undefined).catch(() => undefined)
      text.start(ask('refuse'), () => undefined).catch(() => undefined)
    }, 10)
    try {
      await vi.waitFor(() => expect(model.health()).toEqual({ ok: false, reason: 'stalled' }), 5000)
    } finally {
      clearInterval(trickle)
    }
  })

  it('refused requests alone, however many, are no work that could stall', async () => {
    const model = supervise('ok', { stallTimeoutMs: 200 })
    await model.start()
    const text = requireTextModel(await model.get())
    void text.start(ask('never'), () => undefined).catch(() => undefined)
    const reasons = new Set<string | undefined>()
    for (const end = Date.now() + 800; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 5))) {
      await expect(text.start(ask('refuse'), () => undefined)).rejects.toMatchObject({ code: 'context_length_exceeded' })
      reasons.add(model.health().reason)
    }
    expect([...reasons]).toEqual([undefined])
  })

  it('stuck: a worker that gives no sign is killed and comes back', async () => {
    const model = supervise('ok', { heartbeatTimeoutMs: 600, stallTimeoutMs: 200 })
    await model.start()
    const { deltas, ended } = await stream(model, ask('hang'))
    await ended
    expect(deltas.at(-1)?.error?.code).toBe('model_crashed')
    expect(await text(model, ask('count 2'))).toBe('0 1 ')
  })

  it('a worker that does not end when told to is killed', async () => {
    const model = supervise('ok', { closeTimeoutMs: 200 })
    await model.start()
    const pid = model.pid!
    await stream(model, ask('hang'))
    await new Promise((resolve) => setTimeout(resolve, 200))
    await model.close()
    expect(alive(pid)).toBe(false)
  })

  it.skipIf(process.platform === 'win32')('out of file descriptors, a restart is a failed one like any other', async () => {
    const script = `
      import { closeSync, openSync } from 'node:fs'
      import { setTimeout as sleep } from 'node:timers/promises'
      import { SupervisedModel } from ${JSON.stringify(new URL('../../dist/models/supervisor.js', import.meta.url).href)}
      const model = new SupervisedModel(${JSON.stringify(name)}, { path: 'ok' }, {
        workerEntry: ${JSON.stringify(workerEntry)},
        restart: { firstDelayMs: 200, maxDelayMs: 200, maxRestarts: 50 },
        log: (level, message) => level === 'error' && process.stderr.write(message + '\\n'),
      })
      await model.start()
      const files = []
      try {
        for (;;) files.push(openSync('/dev/null'))
      } catch {}
      process.kill(model.pid, 'SIGKILL')
      while (model.state().restarts < 2) await sleep(5)
      const scarce = model.health().reason
      for (const file of files) closeSync(file)
      await model.get()
      console.log(scarce, model.state().phase)
      await model.close()`
    const node = [process.execPath, '--input-type=module', '-e', script]
    const front = spawn('sh', ['-c', 'ulimit -n 64; exec "$@"', 'sh', ...node], { stdio: ['ignore', 'pipe', 'pipe'] })
    let [out, errors] = ['', '']
    front.stdout.on('data', (data: Buffer) => (out += data.toString()))
    front.stderr.on('data', (data: Buffer) => (errors += data.toString()))
    const code = await new Promise((resolve) => front.once('close', resolve))
    expect(errors).toContain("The model's process could not be started: there are too many open files.")
    expect({ code, out }).toEqual({ code: 0, out: 'cb_worker_dead ready\n' })
  })

  it.skipIf(process.platform === 'win32')('a worker ignores the terminal and ends with its front', async () => {
    const script = `
      import { spawn } from 'node:child_process'
      import { WorkerModel } from ${JSON.stringify(new URL('../../dist/models/worker-model.js', import.meta.url).href)}
      const child = spawn(process.execPath, [${JSON.stringify(workerEntry)}], { stdio: ['ignore', 'inherit', 'inherit', 'pipe'] })
      const model = new WorkerModel(child.stdio[3], { path: 'ok', id: 'orphan' })
      await model.ready
      console.log(child.pid)
      setInterval(() => {}, 1000)`
    const front = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    const pid = await new Promise<number>((resolve) => front.stdout.once('data', (data: Buffer) => resolve(Number(data.toString()))))
    if (process.platform === 'linux') expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('tfserve worker: orphan')
    process.kill(pid, 'SIGINT')
    process.kill(pid, 'SIGTERM')
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(alive(pid)).toBe(true)
    front.kill('SIGKILL')
    await vi.waitFor(() => expect(alive(pid)).toBe(false), 5000)
  })
})
