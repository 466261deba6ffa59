// How far a transcription is, at the terminal: a bar where somebody can see it move, and one line at its end.
import { formatDuration, type ProgressOutput } from './download-progress.js'

const redrawMs = 100
const barWidth = 24

/** Seconds as a clock shows them: 75 -> '1:15'. */
function clock(seconds: number): string {
  const whole = Math.floor(seconds)
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (value: number) => String(value).padStart(2, '0')
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}

/** Shows one recording's transcription. */
export class TranscriptionProgress {
  #drawn = false
  #lastDrawn = -Infinity

  /**
   * @param duration seconds of the recording
   * @param begun what `now` said when the work began, in milliseconds
   */
  constructor(
    private readonly name: string,
    private readonly duration: number,
    private readonly output: ProgressOutput,
    private readonly begun: number,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** @param position seconds of the recording that are done */
  update(position: number): void {
    const time = this.now()
    if (!this.output.isTTY || (this.#drawn && time - this.#lastDrawn < redrawMs)) return
    this.#lastDrawn = time
    this.#drawn = true
    const share = this.duration > 0 ? Math.min(1, position / this.duration) : 1
    const filled = Math.floor(share * barWidth)
    const speed = this.#speed(position)
    const left = speed > 0 ? `, ${formatDuration((this.duration - position) / speed)} left` : ''
    const line = `${this.name} [${'#'.repeat(filled)}${'.'.repeat(barWidth - filled)}] ${clock(position)} of ${clock(this.duration)}, ${speed.toFixed(1)} x real time${left}`
    this.output.write(`\r\x1b[K${line.slice(0, Math.max(20, (this.output.columns || 80) - 1))}`)
  }

  /** Takes the bar away. */
  clear(): void {
    if (this.#drawn) this.output.write('\r\x1b[K')
    this.#drawn = false
  }

  /** What it came to. */
  get summary(): string {
    const seconds = (this.now() - this.begun) / 1000
    return `${this.name}: ${this.duration.toFixed(1)} s in ${seconds.toFixed(1)} s, ${this.#speed(this.duration).toFixed(1)} x real time`
  }

  #speed(position: number): number {
    const seconds = (this.now() - this.begun) / 1000
    return seconds > 0 ? position / seconds : 0
  }
}
