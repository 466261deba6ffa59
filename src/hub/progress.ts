// Adds up what arrives of many files, for bars and events: bytes over all of them, never going back.

export interface FileProgress {
  path: string
  current: number
  total: number
}

/** `current` of `total` bytes are here. Bytes that were there before the download count as here. */
export interface DownloadProgress {
  current: number
  total: number
  /** Bytes that came over the network so far, by which a rate is told. */
  received: number
  /** Those on their way. */
  active: FileProgress[]
  filesDone: number
  files: number
}

const intervalMs = 100
const steps = 100

export class ProgressSum {
  readonly #files = new Map<string, FileProgress & { started: boolean }>()
  #total = 0
  #shown = -1
  #received = 0
  #lastTime = 0
  #lastShown = 0

  constructor(private readonly report: ((progress: DownloadProgress) => void) | undefined) {}

  /** A file that is to come, or is here already. All are added before anything is reported. */
  add(path: string, total: number, here: boolean): void {
    this.#files.set(path, { path, current: here ? total : 0, total, started: here })
    this.#total += total
  }

  /** So many bytes of a file are here; the first call of a file tells what was there before. */
  update(path: string, current: number): void {
    const file = this.#files.get(path)
    if (!file) return
    if (file.started) this.#received += Math.max(0, current - file.current)
    file.started = true
    file.current = current
    this.#show(false)
  }

  /** A file is complete, however it came to be. */
  finish(path: string): void {
    const file = this.#files.get(path)
    if (!file) return
    file.started = true
    file.current = file.total
    this.#show(true)
  }

  /** Reports at once: the start and the end. */
  flush(): void {
    this.#show(true)
  }

  #show(now: boolean): void {
    if (!this.report) return
    const files = [...this.#files.values()]
    const current = Math.max(
      this.#shown,
      files.reduce((sum, file) => sum + file.current, 0),
    )
    const time = performance.now()
    if (!now && time - this.#lastTime < intervalMs && current - this.#lastShown < this.#total / steps) return
    this.#lastTime = time
    this.#lastShown = current
    this.#shown = current
    this.report({
      current,
      total: this.#total,
      received: this.#received,
      active: files
        .filter((file) => file.started && file.current < file.total)
        .map(({ path, current: here, total }) => ({ path, current: here, total })),
      filesDone: files.filter((file) => file.started && file.current === file.total).length,
      files: files.length,
    })
  }
}
