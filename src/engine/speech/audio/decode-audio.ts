import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { AudioFile } from '../../speech-types.js'
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

/** Decodes recordings on threads of its own. How many callers wait in line is bounded by who lets them in. */
export class AudioDecoder {
  #running = 0
  readonly #line: (() => void)[] = []
  readonly #limits: Required<DecoderLimits>

  constructor(limits: DecoderLimits = {}) {
    this.#limits = { threads: 2, patience: 30_000, patiencePerSecond: 200, threadFile: compiledThread(), ...limits }
  }

  /**
   * The recording as one channel at 16 kHz, full scale 1: the mean of its channels, resampled. Of a file with several sound tracks the
   * first. Rejects with an AudioError.
   */
  async decode(file: AudioFile, { maxSeconds, signal, onProgress }: DecodeOptions): Promise<Float32Array> {
    await this.#enter(signal)
    try {
      return await this.#run({ path: file.path, maxSeconds }, signal, onProgress)
    } finally {
      const next = this.#line.shift()
      // the place goes straight to the next in line: nobody slips in between
      if (next) next()
      else this.#running--
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted()
    if (this.#running < this.#limits.threads) {
      this.#running++
      return
    }
    await new Promise<void>((resolve, reject) => {
      const enter = (): void => {
        signal?.removeEventListener('abort', leave)
        resolve()
      }
      const leave = (): void => {
        this.#line.splice(this.#line.indexOf(enter), 1)
        reject(signal?.reason as Error)
      }
      signal?.addEventListener('abort', leave, { once: true })
      this.#line.push(enter)
    })
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
    const children: number[] = []
    const began = performance.now()
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
          else if ('child' in news) children.push(news.child)
          else {
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
      clearTimeout(timer)
      if (onAbort) signal?.removeEventListener('abort', onAbort)
      await thread.terminate()
      for (const pid of children) endProcess(pid)
    }
  }
}

const decoder = new AudioDecoder()

/** AudioDecoder.decode of the decoder that all recordings of this process share. */
export function decodeAudioFile(file: AudioFile, options: DecodeOptions): Promise<Float32Array> {
  return decoder.decode(file, options)
}
