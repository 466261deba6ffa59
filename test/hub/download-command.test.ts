// `tfserve download` and `tfserve models` as a user runs them: processes of their own that are interrupted, killed and run side by side.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DownloadBars, formatDuration } from '../../src/cli/download-progress.js'
import { lockFile } from '../../src/hub/file-lock.js'
import { eventually } from '../support/cli.js'
import { HubServer, sha256, validToken } from '../support/hub-server.js'

const entry = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const weights = randomBytes(2_000_000)
const blob = sha256(weights)

let hub: HubServer
let home: string
const running: ChildProcess[] = []

beforeEach(async () => {
  hub = await HubServer.start()
  home = mkdtempSync(join(tmpdir(), 'tfserve-home-'))
  hub.add('org/name', { 'config.json': '{"architectures":["LlamaForCausalLM"]}', 'tokenizer.json': '{}', 'model.safetensors': weights })
})
afterEach(async () => {
  for (const child of running.splice(0)) child.kill('SIGKILL')
  await hub[Symbol.asyncDispose]()
  rmSync(home, { recursive: true, force: true })
})

function start(args: string[], env: Record<string, string> = {}) {
  const { HF_TOKEN: _token, HF_HUB_OFFLINE: _offline, HF_HUB_CACHE: _cache, ...inherited } = process.env
  const child = spawn(process.execPath, [entry, ...args], { env: { ...inherited, HF_HOME: home, HF_ENDPOINT: hub.endpoint, ...env } })
  running.push(child)
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (data: Buffer) => (output.stdout += data.toString()))
  child.stderr.on('data', (data: Buffer) => (output.stderr += data.toString()))
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) =>
    child.once('close', (code) => resolve({ code, ...output })),
  )
  return { child, output, ended }
}

const run = (args: string[], env?: Record<string, string>) => start(args, env).ended
const folder = () => join(home, 'hub/models--org--name')
const partial = () => join(folder(), 'blobs', `${blob}.incomplete`)
const received = () => (existsSync(partial()) ? statSync(partial()).size : 0)
const slowly = () => ({ delayMs: 10, chunkBytes: 20_000 })

describe('tfserve org/name', () => {
  it('downloads a model that is not in the cache, serves it, and finds it there the next time', async () => {
    const demo = fileURLToPath(new URL('../../models/tfserve-demo', import.meta.url))
    const files = readdirSync(demo).map((name): [string, Buffer] => [name, readFileSync(join(demo, name))])
    hub.add('org/demo', Object.fromEntries(files))
    const requests: number[] = []
    for (const attempt of ['from the Hub', 'from the cache']) {
      const { child, output, ended } = start(['org/demo', '--port', '0', '--threads', '1'])
      await eventually(() => output.stderr.includes('is served on') || child.exitCode !== null, 60_000)
      const url = /is served on (http:\/\/\S+)/.exec(output.stderr)?.[1]
      expect(url, `${attempt}: ${output.stderr}`).toBeDefined()
      const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] }
      expect(data[0]?.id).toBe('org/demo')
      child.kill('SIGTERM')
      expect((await ended).code).toBe(0)
      requests.push(hub.bodies('model.safetensors').length)
    }
    expect(requests[0]).toBeGreaterThan(0)
    expect(requests[1]).toBe(requests[0])
  })

  it('says why a model cannot be had', async () => {
    const { code, stderr } = await run(['org/none', '--port', '0'])
    expect(code).toBe(1)
    expect(stderr).toMatch(/There is no repository/)
    const offline = await run(['org/none', '--port', '0'], { HF_HUB_OFFLINE: '1' })
    expect(offline).toMatchObject({ code: 1, stderr: expect.stringContaining('tfserve download org/none') as string })
  })
})

describe('tfserve download', () => {
  it('prints where the model is, and plain lines where nobody can see a bar', async () => {
    const { code, stdout, stderr } = await run(['download', 'org/name'])
    expect(code).toBe(0)
    const snapshot = stdout.trimEnd()
    expect(readFileSync(join(snapshot, 'model.safetensors'))).toEqual(weights)
    expect(stderr).toMatch(/^org\/name: \d+% of 1\.9 MiB/)
    expect(stderr).not.toContain('\x1b')
    const other = join(home, 'other')
    expect(await run(['download', 'org/name@main', '--cache-dir', other, '--include', '*.json'])).toMatchObject({ code: 0 })
    expect(readdirSync(join(other, 'models--org--name/snapshots', snapshot.slice(-40))).sort()).toEqual(['config.json', 'tokenizer.json'])
    const before = hub.bodies('model.safetensors').length
    expect(await run(['download', 'org/name', '--force-download', '--token', validToken])).toMatchObject({ code: 0, stdout })
    expect(hub.bodies('model.safetensors').length).toBeGreaterThan(before)
  })

  it('ends with 1 and a sentence for what cannot be had, and gets the rest', async () => {
    const { code, stdout, stderr } = await run(['download', 'org/none', 'org/name'])
    expect(code).toBe(1)
    expect(stderr).toMatch(/tfserve: org\/none: There is no repository/)
    expect(stdout).toMatch(/models--org--name/)
    const revision = await run(['download', 'org/name', '--revision', 'v9'])
    expect(revision).toMatchObject({ code: 1, stdout: '', stderr: "tfserve: The repository 'org/name' has no revision 'v9'.\n" })
  })

  it.each([
    [[]],
    [['../x']],
    [['org/name', '--nope']],
    [['org/name', '--revision', '../x']],
    [['org/name', '--token']],
    [['org/name', '--cache-dir', '']],
  ])('download %j ends with 2', async (args) => {
    const { code, stdout, stderr } = await run(['download', ...args])
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).toMatch(/^tfserve: [^\n]+\n$/)
  })

  it('has its own --help', async () => {
    for (const [command, flag] of [
      ['download', '--include'],
      ['models', '--json'],
    ] as const) {
      const { code, stdout } = await run([command, '--help'])
      expect(code).toBe(0)
      expect(stdout).toContain(flag)
    }
    expect((await run(['--help'])).stdout).toMatch(/tfserve download[^]*tfserve models/)
  })

  it.each([
    ['ctrl-C', 'SIGINT'],
    ['a kill', 'SIGKILL'],
  ] as const)('goes on after %s where it stopped', async (_name, signal) => {
    hub.deliver = (path) => (path === 'model.safetensors' ? slowly() : {})
    const { child, ended } = start(['download', 'org/name'])
    await eventually(() => received() > 300_000)
    child.kill(signal)
    const { code, stderr } = await ended
    if (signal === 'SIGINT') {
      expect(code).toBe(130)
      expect(stderr).toMatch(/interrupted/)
    }
    const kept = received()
    expect(kept).toBeGreaterThan(300_000)
    expect(existsSync(join(folder(), 'refs/main'))).toBe(false)
    hub.deliver = () => ({})
    expect(await run(['download', 'org/name'])).toMatchObject({ code: 0 })
    expect(hub.bodies('model.safetensors').at(-1)!.range).toBe(`bytes=${kept}-`)
    expect(readFileSync(join(folder(), 'blobs', blob))).toEqual(weights)
    expect(received()).toBe(0)
  })

  it('by two processes at once downloads once', async () => {
    hub.deliver = (path) => (path === 'model.safetensors' ? slowly() : {})
    const first = start(['download', 'org/name'])
    await eventually(() => received() > 100_000)
    const second = start(['download', 'org/name'])
    await eventually(() => second.output.stderr.includes('Another process'))
    const results = await Promise.all([first.ended, second.ended])
    expect(results).toMatchObject([{ code: 0 }, { code: 0 }])
    expect(hub.bodies('model.safetensors').filter(({ host }) => host === 'store')).toHaveLength(1)
    expect(readFileSync(join(folder(), 'blobs', blob))).toEqual(weights)
  })

  it('takes over when the process that downloads is killed', async () => {
    hub.deliver = (path, attempt) => (path === 'model.safetensors' && attempt === 1 ? slowly() : {})
    const first = start(['download', 'org/name'])
    await eventually(() => received() > 100_000)
    const second = start(['download', 'org/name'])
    await eventually(() => second.output.stderr.includes('Another process'))
    first.child.kill('SIGKILL')
    expect(await second.ended).toMatchObject({ code: 0 })
    expect(hub.bodies('model.safetensors').at(-1)!.range).toMatch(/^bytes=\d{6,}-$/)
    expect(readFileSync(join(folder(), 'blobs', blob))).toEqual(weights)
  })
})

describe('tfserve models', () => {
  it('lists what is there', async () => {
    expect((await run(['models'])).stdout).toMatch(/^No models in .*hub\./)
    await run(['download', 'org/name'])
    hub.add('org/more', { 'm-Q4_0.gguf': 'GGUF' })
    await run(['download', 'org/more:Q4_0'])
    const { code, stdout } = await run(['models'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^ID .*\norg\/more:m-Q4_0\.gguf {2}main +4 B +yes\norg\/name +main +1\.9 MiB +yes\n$/)
    const listed: unknown = JSON.parse((await run(['models', '--json'])).stdout)
    expect(listed).toMatchObject([
      { id: 'org/more:m-Q4_0.gguf', servable: true, size: 4 },
      { id: 'org/name', revision: 'main', servable: true },
    ])
    expect(await run(['models', '--nope'])).toMatchObject({ code: 2 })
  })
})

describe('locks', () => {
  const hasFlock = process.platform === 'linux' && existsSync('/usr/bin/flock')

  it('one at a time, in turn', async () => {
    const path = join(home, 'a/b.lock')
    const order: number[] = []
    let inside = 0
    await Promise.all(
      [1, 2, 3, 4].map(async (each) => {
        const release = await lockFile(path)
        expect(++inside).toBe(1)
        order.push(each)
        await new Promise((resolve) => setTimeout(resolve, 20))
        inside--
        await release()
      }),
    )
    expect(order).toHaveLength(4)
  })

  it.runIf(hasFlock)('are those of flock(2), which other programs take', async () => {
    const path = join(home, 'c.lock')
    const isFree = () => {
      try {
        execFileSync('flock', ['-n', path, 'true'])
        return true
      } catch {
        return false
      }
    }
    const release = await lockFile(path)
    expect(isFree()).toBe(false)
    await release()
    expect(isFree()).toBe(true)
    const other = spawn('flock', [path, 'sleep', '60'], { stdio: 'ignore', detached: true })
    running.push(other)
    await eventually(() => !isFree())
    const stop = new AbortController()
    let waited = 0
    const lock = lockFile(path, { signal: stop.signal, onWait: () => waited++ })
    await eventually(() => waited === 1)
    stop.abort()
    await expect(lock).rejects.toThrow(/abort/)
    process.kill(-other.pid!)
    await (
      await lockFile(path)
    )()
  })

  it('work among our own where there is no flock program', async () => {
    const before = process.env['PATH']
    process.env['PATH'] = join(home, 'nothing')
    try {
      const path = join(home, 'd.lock')
      const release = await lockFile(path)
      let waited = 0
      const stop = new AbortController()
      const second = lockFile(path, { signal: stop.signal, onWait: () => waited++ })
      await eventually(() => waited === 1)
      await release()
      await (
        await second
      )()
      expect(readdirSync(home)).toContain('d.lock')
      expect(readdirSync(home)).not.toContain('d.lock.held')
    } finally {
      process.env['PATH'] = before
    }
  })
})

describe('bars', () => {
  it('show bytes, rate and time left, and take themselves away', () => {
    let text = ''
    let time = 0
    const bars = new DownloadBars('org/name', { isTTY: true, columns: 120, write: (piece) => (text += piece) }, () => time)
    const step = (current: number) =>
      bars.update({
        current,
        total: 100 * 2 ** 20,
        received: current,
        active: [{ path: 'model.safetensors', current, total: 100 * 2 ** 20 }],
        filesDone: 1,
        files: 2,
      })
    step(0)
    time = 1000
    step(10 * 2 ** 20)
    expect(text).toContain('10% of 100 MiB, 10.0 MiB here, 1/2 files, 10.0 MiB/s, 9s left')
    expect(text).toContain('[##..................] 10.0 MiB of 100 MiB  model.safetensors')
    bars.notice('a word')
    bars.end()
    expect(text.endsWith('\x1b[2A\x1b[J')).toBe(true)
    expect([0, 59.6, 75, 3725].map(formatDuration)).toEqual(['0s', '1m00s', '1m15s', '1h02m'])
  })

  it('are lines now and then where there is no terminal', () => {
    let text = ''
    let time = 0
    const bars = new DownloadBars('org/name', { write: (piece) => (text += piece) }, () => time)
    for (time = 0; time <= 30_000; time += 500)
      bars.update({ current: time, total: 40_000, received: time, active: [], filesDone: 0, files: 1 })
    bars.end()
    expect(text.split('\n')).toHaveLength(5)
    expect(text).not.toContain('\x1b')
  })
})
