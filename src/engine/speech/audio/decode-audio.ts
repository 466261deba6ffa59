import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { AudioFile } from '../../speech-types.js'
import { Turns } from '../turns.js'
import { AudioError, brokenAudio } from './audio-error.js'
import type { DecodeNews, DecodeTask } from './decode-thread.js'

export interface DecodeOptions {
  /** Longer recordings are refused as soon as so much is decoded. */
  maxSeconds: number
  /** Ends the work at once; the promise then rejects with the signal's reason. */
  signal?: AbortSignal
  /** How much is decoded, in seconds of the recording; not for every piece. */
  onProgress?: (seconds: number) => void
}

export interface DecoderLimits {
  /** Recordings that are decoded at once; the others wait in line, in the order they came. Default 2. */
  threads?: number
  /** Milliseconds that a decoder may take in any case. Default 30000. */
  patience?: number
  /** Milliseconds more for every second of recording that it has decoded. Default 200. */
  patiencePerSecond?: number
  /** The compiled thread; for tests. */
  threadFile?: URL
}

/** It is beside this file when that runs compiled; sources run as TypeScript (tests) take the compiled one. */
function compiledThread(): URL {
  const candidates = [
    new URL('./decode-thread.js', import.meta.url),
    new URL('../../../../dist/engine/speech/audio/decode-thread.js', import.meta.url),
  ]
  return candidates.find((url) => existsSync(fileURLToPath(url))) ?? candidates[0]!
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended already
  }
}

/** Milliseconds for a thread to notice that its processes have ended. */
const grace = 2000

/**
 * The processes go first: only the thread that has started one can take note of its end, and until somebody has the system keeps its
 * entry.
 */
async function endThread(thread: Worker, processes: ReadonlySet<number>): Promise<void> {
  if (processes.size > 0) {
    const noticed = new AbortController()
    const exited = once(thread, 'exit', { signal: noticed.signal }).catch(() => undefined)
    for (const pid of processes) endProcess(pid)
    await Promise.race([exited, sleep(grace, undefined, { signal: noticed.signal }).catch(() => undefined)])
    noticed.abort()
  }
  await thread.terminate()
  // one that the thread told of meanwhile
  for (const pid of processes) endProcess(pid)
}

/** Decodes recordings on threads of its own. How many callers wait in line is bounded by who lets them in. */
export class AudioDecoder {
  readonly #limits: Required<DecoderLimits>
  readonly #turns: Turns

  constructor(limits: DecoderLimits = {}) {
    this.#limits = { threads: 2, patience: 30_000, patiencePerSecond: 200, threadFile: compiledThread(), ...limits }
    this.#turns = new Turns(this.#limits.threads)
  }

  /**
   * The recording as one channel at 16 kHz, full scale 1: the mean of its channels, resampled. Of a file with several sound tracks the
   * first. Rejects with an AudioError.
   */
  async decode(file: AudioFile, { maxSeconds, signal, onProgress }: DecodeOptions): Promise<Float32Array> {
    const leave = await this.#turns.take(signal)
    try {
      return await this.#run({ path: file.path, maxSeconds }, signal, onProgress)
    } finally {
      leave()
    }
  }

  async #run(task: DecodeTask, signal: AbortSignal | undefined, onProgress: DecodeOptions['onProgress']): Promise<Float32Array> {
    const { patience, patiencePerSecond, threadFile } = this.#limits
    // decoders may print what they think of a file: nobody reads it
    const thread = new Worker(threadFile, {
      workerData: task,
      stdout: true,
      stderr: true,
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: 512 },
    })
    const processes = new Set<number>()
    const began = performance.now()
    let over = false
    let timer: NodeJS.Timeout | undefined
    let onAbort: (() => void) | undefined
    try {
      return await new Promise<Float32Array>((resolve, reject) => {
        const slow = (): void => reject(brokenAudio('decoding it takes too long'))
        timer = setTimeout(slow, patience)
        onAbort = () => reject(signal?.reason as Error)
        if (signal?.aborted) onAbort()
        signal?.addEventListener('abort', onAbort, { once: true })
        thread.on('message', (news: DecodeNews) => {
          if ('samples' in news) resolve(news.samples)
          else if ('kind' in news) reject(new AudioError(news.kind, news.message))
          else if ('child' in news) processes.add(news.child)
          else if ('childEnded' in news) processes.delete(news.childEnded)
          // a thread that is being ended may still have told of its progress
          else if (!over) {
            clearTimeout(timer)
            timer = setTimeout(slow, Math.max(0, patience + patiencePerSecond * news.seconds - (performance.now() - began)))
            onProgress?.(news.seconds)
          }
        })
        // out of memory, or a mistake of a library outside of any promise
        thread.on('error', () => reject(brokenAudio('it is damaged')))
        thread.on('exit', () => reject(brokenAudio('it is damaged')))
      })
    } finally {
      over = true
      clearTimeout(timer)
      if (onAbort) signal?.removeEventListener('abort', onAbort)
      await endThread(thread, processes)
    }
  }
}

const decoder = new AudioDecoder()

/** AudioDecoder.decode of the decoder that all recordings of this process share. */
export function decodeAudioFile(file: AudioFile, options: DecodeOptions): Promise<Float32Array> {
  return decoder.decode(file, options)
}
