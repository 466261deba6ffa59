// Locks on files that other processes respect, Python's huggingface_hub among them: flock(2) on .locks/<repository>/<etag>.lock.
// Node has no call for it. On macOS and the BSDs opening a file can take the lock; elsewhere the flock program holds it for us. Where
// there is neither (Windows, some network disks) a second file stands for the lock, among our own processes.
import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { mkdir, open, rm, stat, utimes } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

type Release = () => Promise<void>

export interface LockOptions {
  signal?: AbortSignal | undefined
  /** Called once when another holds the lock. */
  onWait?: () => void
}

const pollMs = 100
const heartbeatMs = 5_000
const abandonedMs = 30_000
const openExclusive = 0x20 // O_EXLOCK of macOS and the BSDs

/** Waits until the file's lock is ours. Resolves with the function that gives it back; rejects with the signal's reason. */
export async function lockFile(path: string, { signal, onWait = () => undefined }: LockOptions = {}): Promise<Release> {
  await mkdir(dirname(path), { recursive: true })
  // others of the group may have to wait on it
  await (await open(path, 'a', 0o664)).close()
  signal?.throwIfAborted()
  if (process.platform === 'darwin' || process.platform === 'freebsd') return lockByOpening(path, signal, onWait)
  const held = process.platform === 'win32' ? undefined : await lockByProgram(path, signal, onWait)
  return held ?? lockByExistence(`${path}.held`, signal, onWait)
}

async function lockByOpening(path: string, signal: AbortSignal | undefined, onWait: () => void): Promise<Release> {
  for (let waited = false; ; waited = true) {
    try {
      const handle = await open(path, constants.O_RDWR | constants.O_NONBLOCK | openExclusive)
      return () => handle.close()
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'EOPNOTSUPP' || code === 'ENOTSUP') return lockByExistence(`${path}.held`, signal, onWait)
      if (code !== 'EAGAIN' && code !== 'EWOULDBLOCK') throw error
    }
    if (!waited) onWait()
    await sleep(pollMs, undefined, signal ? { signal } : {})
  }
}

/** undefined: there is no such program, or the disk knows no such locks. */
async function lockByProgram(path: string, signal: AbortSignal | undefined, onWait: () => void): Promise<Release | undefined> {
  // it holds the lock until its input ends, so also when this process is killed; a group of its own keeps ctrl-C from it
  const child = spawn('flock', ['-x', path, 'sh', '-c', 'echo held; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    detached: true,
  })
  child.stdin.on('error', () => undefined)
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve())
    child.once('error', () => resolve())
  })
  const end = async (): Promise<void> => {
    child.stdin.end()
    await ended
  }
  const waiting = setTimeout(onWait, 300)
  const stop = (): void => void killGroup(child)
  signal?.addEventListener('abort', stop, { once: true })
  try {
    const held = await Promise.race([
      new Promise<boolean>((resolve) => child.stdout.once('data', () => resolve(true))),
      ended.then(() => false),
    ])
    if (signal?.aborted) {
      stop()
      await end()
      signal.throwIfAborted()
    }
    return held ? end : undefined
  } finally {
    clearTimeout(waiting)
    signal?.removeEventListener('abort', stop)
  }
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid)
  } catch {
    child.kill()
  }
}

async function lockByExistence(path: string, signal: AbortSignal | undefined, onWait: () => void): Promise<Release> {
  for (let waited = false; ; waited = true) {
    try {
      const handle = await open(path, 'wx', 0o664)
      await handle.write(`${process.pid}\n`)
      await handle.close()
      const beat = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => undefined), heartbeatMs)
      beat.unref()
      return async () => {
        clearInterval(beat)
        await rm(path, { force: true })
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    // whoever held it has ended without giving it back
    const touched = await stat(path).catch(() => undefined)
    if (touched && Date.now() - touched.mtimeMs > abandonedMs) await rm(path, { force: true })
    if (!waited) onWait()
    await sleep(pollMs, undefined, signal ? { signal } : {})
  }
}
