// The progress of a download at the terminal: bars that move where somebody can see them move, else a plain line now and then.
import type { DownloadProgress } from '../hub/progress.js'
import { formatBytes } from './log.js'

export interface ProgressOutput {
  write(text: string): unknown
  isTTY?: boolean
  columns?: number
}

const redrawMs = 100
const plainMs = 10_000
const rateWindowMs = 5_000
const maxBars = 8

/** 75 -> '1m15s'. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  if (hours > 0) return `${hours}h${String(minutes).padStart(2, '0')}m`
  return minutes > 0 ? `${minutes}m${String(rest).padStart(2, '0')}s` : `${rest}s`
}

/** Shows one model's download. */
export class DownloadBars {
  #lines = 0
  #lastDrawn = -Infinity
  #samples: { time: number; received: number }[] = []
  #last: DownloadProgress | undefined

  constructor(
    private readonly name: string,
    private readonly output: ProgressOutput,
    private readonly now: () => number = () => performance.now(),
  ) {}

  readonly update = (progress: DownloadProgress): void => {
    this.#last = progress
    const time = this.now()
    this.#samples.push({ time, received: progress.received })
    while (this.#samples.length > 2 && time - this.#samples[0]!.time > rateWindowMs) this.#samples.shift()
    const complete = progress.current >= progress.total
    if (time - this.#lastDrawn < (this.output.isTTY ? redrawMs : plainMs) && !complete) return
    // a plain log needs no second line that says the end
    if (complete && !this.output.isTTY) return
    this.#lastDrawn = time
    if (this.output.isTTY) this.#draw(progress)
    else this.output.write(`${this.name}: ${this.#numbers(progress)}\n`)
  }

  /** A line of its own, above the bars. */
  notice(message: string): void {
    this.#clear()
    this.output.write(`${message}\n`)
    if (this.output.isTTY && this.#last) this.#draw(this.#last)
  }

  /** Takes the bars away. */
  end(): void {
    this.#clear()
  }

  #rate(): number | undefined {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)]
    if (!first || !last || last.time - first.time < 200) return undefined
    return ((last.received - first.received) / (last.time - first.time)) * 1000
  }

  #numbers({ current, total, files, filesDone }: DownloadProgress): string {
    const rate = this.#rate()
    const percent = total > 0 ? Math.floor((current / total) * 100) : 100
    const speed = rate === undefined ? '' : `, ${formatBytes(rate)}/s`
    const left = rate ? `, ${formatDuration((total - current) / rate)} left` : ''
    return `${percent}% of ${formatBytes(total)}, ${formatBytes(current)} here, ${filesDone}/${files} files${speed}${left}`
  }

  #draw(progress: DownloadProgress): void {
    const width = Math.max(20, (this.output.columns || 80) - 1)
    const numbers = this.#numbers(progress)
    const lines = [`${this.name} ${bar(progress.current, progress.total, 20)} ${numbers}`]
    for (const { path, current, total } of progress.active.slice(0, maxBars)) {
      lines.push(`  ${bar(current, total, 20)} ${formatBytes(current)} of ${formatBytes(total)}  ${path}`)
    }
    if (progress.active.length > maxBars) lines.push(`  and ${progress.active.length - maxBars} more files`)
    this.#clear()
    this.output.write(lines.map((line) => `${line.slice(0, width)}\n`).join(''))
    this.#lines = lines.length
  }

  #clear(): void {
    if (this.#lines > 0) this.output.write(`\x1b[${this.#lines}A\x1b[J`)
    this.#lines = 0
  }
}

function bar(current: number, total: number, width: number): string {
  const filled = total > 0 ? Math.min(width, Math.floor((current / total) * width)) : width
  return `[${'#'.repeat(filled)}${'.'.repeat(width - filled)}]`
}
