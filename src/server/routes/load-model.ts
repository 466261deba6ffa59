import { errorTable } from '../../protocol/errors.js'
import { withRevision } from '../../protocol/model-names.js'
import type { Call } from '../call.js'
import type { LiveCall } from '../live-calls.js'
import type { LoadEvent } from '../model-directory.js'

/** JSON of one object with a blank after each comma and colon: clients of transformers serve get its events to the letter. */
function spacedJson(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const pairs = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${spacedJson(item)}`)
  return `{${pairs.join(', ')}}`
}

const eventText = (event: LoadEvent) => `data: ${spacedJson(event)}\n\n`

/** One client that watches a load. */
class LoadWatch implements LiveCall {
  #over = false
  #unsubscribe: () => void = () => undefined
  #lastWrite = performance.now()
  // for a client that does not keep up: the latest event only
  #held: LoadEvent | undefined
  #blocked = false

  constructor(
    readonly call: Call,
    readonly asked: string,
  ) {}

  start(): void {
    const { call } = this
    const { context, exchange } = call
    if (exchange.closed) return
    context.loads.add(this)
    call.beginEvents()
    exchange.onAborted(() => this.#stop())
    exchange.onWritable(() => this.#caughtUp())
    const unsubscribe = context.models.watchLoad(this.asked, (event) => this.#show(event))
    if (this.#over) unsubscribe()
    else this.#unsubscribe = unsubscribe
  }

  tick(now: number): void {
    if (this.#blocked || now - this.#lastWrite < this.call.context.options.keepAliveMs) return
    this.#write(': keep-alive\n\n')
  }

  shutDown(): void {
    this.#show({ status: 'error', model: withRevision(this.asked), message: errorTable.shutting_down.message })
  }

  #show(event: LoadEvent): void {
    if (this.#over) return
    if (event.status === 'loading') {
      if (this.#blocked) this.#held = event
      else this.#write(eventText(event))
      return
    }
    this.#stop()
    this.call.exchange.end((this.#held ? eventText(this.#held) : '') + eventText(event))
  }

  #caughtUp(): void {
    this.#blocked = false
    const held = this.#held
    this.#held = undefined
    if (held && !this.#over) this.#write(eventText(held))
  }

  #write(text: string): void {
    this.#lastWrite = performance.now()
    this.#blocked = !this.call.exchange.write(text)
  }

  #stop(): void {
    this.#over = true
    this.#unsubscribe()
    this.call.context.loads.delete(this)
  }
}

/** POST /load_model: loads a model and tells how far it is. `transformers chat` calls it before the first turn. */
export async function loadModel(call: Call): Promise<void> {
  new LoadWatch(call, await call.readJsonBody((body) => call.context.parser.parse('modelName', body))).start()
}
