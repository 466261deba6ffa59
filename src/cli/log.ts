// Lines for the person at the terminal, on stderr.
import type { LoadProgress, LogLevel } from '../engine/types.js'

const order: readonly LogLevel[] = ['debug', 'info', 'warning', 'error']

export class Log {
  #bar = false

  constructor(private readonly threshold: LogLevel) {}

  readonly write = (level: LogLevel, message: string): void => {
    if (order.indexOf(level) < order.indexOf(this.threshold)) return
    this.#clearBar()
    const prefix = level === 'warning' || level === 'error' ? `${level}: ` : ''
    process.stderr.write(`tfserve: ${prefix}${message}\n`)
  }

  /** A bar while the model loads; only where somebody can see it move. */
  progress({ stage, current, total }: LoadProgress): void {
    if (!process.stderr.isTTY || order.indexOf('info') < order.indexOf(this.threshold)) return
    const width = 24
    const share = current !== undefined && total ? current / total : undefined
    const filled = Math.round((share ?? 0) * width)
    const bar = share === undefined ? '' : ` [${'#'.repeat(filled)}${'.'.repeat(width - filled)}] ${current}/${total}`
    process.stderr.write(`\r\x1b[Ktfserve: loading, ${stage}${bar}`)
    this.#bar = true
  }

  #clearBar(): void {
    if (this.#bar) process.stderr.write('\r\x1b[K')
    this.#bar = false
  }
}

/** 1536 -> '1.5 KiB'. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const step = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(bytes, 1)) / 10)))
  const value = bytes / 1024 ** step
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${units[step]}`
}
