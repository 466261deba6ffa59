// A small writer of Prometheus' text format: just what the server counts, nothing that grows with clients.

type Labels = Readonly<Record<string, string>>

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value.replace(/["\\\n]/g, '_')}"`)
  return pairs.length > 0 ? `{${pairs.join(',')}}` : ''
}

/** Counts events; with a label, one count for each value that was named at the start. */
export class Counter {
  readonly #values = new Map<string, number>()

  constructor(
    readonly name: string,
    readonly help: string,
    readonly label?: string,
    values: readonly string[] = [],
  ) {
    if (label === undefined) this.#values.set('', 0)
    for (const value of values) this.#values.set(value, 0)
  }

  add(count = 1, value = ''): void {
    this.#values.set(value, (this.#values.get(value) ?? 0) + count)
  }

  get(value = ''): number {
    return this.#values.get(value) ?? 0
  }

  render(): string {
    let text = `# HELP ${this.name} ${this.help}\n# TYPE ${this.name} counter\n`
    for (const [value, count] of this.#values) text += `${this.name}${this.label ? labelText({ [this.label]: value }) : ''} ${count}\n`
    return text
  }
}

/** Counts durations in seconds into fixed buckets. */
export class Histogram {
  readonly #counts: number[]
  #sum = 0
  #total = 0

  /** @param bounds upper bounds in rising order */
  constructor(
    readonly name: string,
    readonly help: string,
    readonly bounds: readonly number[],
  ) {
    this.#counts = bounds.map(() => 0)
  }

  /** @param times how many events took so long */
  observe(seconds: number, times = 1): void {
    this.#sum += seconds * times
    this.#total += times
    // no closure: this runs for every token
    for (let bucket = 0; bucket < this.bounds.length; bucket++) {
      if (seconds > this.bounds[bucket]!) continue
      this.#counts[bucket]! += times
      return
    }
  }

  get count(): number {
    return this.#total
  }

  render(): string {
    let text = `# HELP ${this.name} ${this.help}\n# TYPE ${this.name} histogram\n`
    let below = 0
    this.bounds.forEach((bound, i) => {
      below += this.#counts[i] ?? 0
      text += `${this.name}_bucket{le="${bound}"} ${below}\n`
    })
    return `${text}${this.name}_bucket{le="+Inf"} ${this.#total}\n${this.name}_sum ${this.#sum}\n${this.name}_count ${this.#total}\n`
  }
}

/** Numbers that are read when they are asked for, all of one name. */
export function renderValues(
  kind: 'gauge' | 'counter' | 'summary',
  name: string,
  help: string,
  values: readonly { labels?: Labels; suffix?: string; value: number }[],
): string {
  const rows = values.map(({ labels = {}, suffix = '', value }) => `${name}${suffix}${labelText(labels)} ${value}\n`)
  return rows.length > 0 ? `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n${rows.join('')}` : ''
}
