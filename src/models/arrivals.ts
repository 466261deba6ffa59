// Models whose files are being found or downloaded: one arrival for all who ask for it under a name.
import { RequestError } from '../engine/types.js'
import type { DownloadProgress } from '../hub/progress.js'
import type { ServedModelName } from '../server/served-model.js'
import { LoadFeed } from './load-feed.js'
import type { FoundModel, ModelSource } from './model-source.js'
import type { NamedModel } from './request-names.js'

export interface Arrival {
  readonly name: ServedModelName
  readonly feed: LoadFeed
  /** Rejects with a RequestError. */
  readonly found: Promise<FoundModel>
}

const maxArrivals = 64

export class Arrivals {
  readonly #open = new Map<string, Arrival>()

  /**
   * @param isReady whether the model of an identity is in memory and takes requests
   * @param obstacle why weights of so many bytes need not be downloaded, if they need not
   * @param signal ends all downloads
   */
  constructor(
    private readonly source: ModelSource,
    private readonly isReady: (identity: string) => boolean,
    private readonly obstacle: (id: string, bytes: number) => RequestError | undefined,
    private readonly signal: AbortSignal,
  ) {}

  get open(): Arrival[] {
    return [...this.#open.values()]
  }

  /** Goes on when those who asked have left. Throws a RequestError when too many are open. */
  of(asked: NamedModel): Arrival {
    const { key, name } = asked
    const known = this.#open.get(key)
    if (known) return known
    if (this.#open.size >= maxArrivals) throw new RequestError('queue_full', 'Too many models are on their way. Try again later.')
    const feed = new LoadFeed()
    const found = this.#fetch(asked, feed).finally(() => this.#open.delete(key))
    // told to those who wait; there may be nobody
    found.catch(() => undefined)
    const arrival = { name, feed, found }
    this.#open.set(key, arrival)
    return arrival
  }

  /** Tells those who watch that nothing comes any more; resolves when nothing is written to the disk. */
  async close(message: string): Promise<void> {
    for (const { feed } of this.open) feed.fail(message)
    await Promise.all(this.open.map(({ found }) => found.catch(() => undefined)))
  }

  async #fetch(asked: NamedModel, feed: LoadFeed): Promise<FoundModel> {
    const begun = performance.now()
    let here: FoundModel | undefined
    try {
      here = await this.source.here(asked)
    } finally {
      // of a model that is in memory under another name there is no load to tell
      if (!here || !this.isReady(here.identity)) feed.loading('processor')
    }
    if (here) return here
    if (asked.kind !== 'hub') throw new RequestError('model_not_found', `The model '${asked.name.id}' is not there any more.`, 'model')
    const refused = new AbortController()
    const onDownload = ({ current, total, received }: DownloadProgress): void => {
      if (received === 0 && current === total) return
      const obstacle = this.obstacle(asked.spec.id, total)
      if (obstacle) return refused.abort(obstacle)
      feed.loading('config')
      feed.loading('download', { current, total })
    }
    const found = await this.source.download(asked.spec, {
      onDownload,
      signal: AbortSignal.any([this.signal, refused.signal]),
    })
    return { ...found, fetchMs: performance.now() - begun }
  }
}
