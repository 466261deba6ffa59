import { createHash, timingSafeEqual } from 'node:crypto'

/** Whose a request is: '' where the server asks for no key. Keeps what clients store and the prefixes they share apart. */
export type Owner = string

const hash = (key: string): Buffer => createHash('sha256').update(key).digest()

/** The keys that open the server. Only their hashes are kept. */
export class ApiKeys {
  readonly #hashes: Buffer[]

  constructor(keys: readonly string[]) {
    this.#hashes = keys.map(hash)
  }

  /** Whether a key is needed at all. */
  get needed(): boolean {
    return this.#hashes.length > 0
  }

  /**
   * The owner that an `authorization` header stands for; undefined: it opens nothing. Takes as long for a wrong key as for a right
   * one, whichever it is.
   */
  owner(authorization: string | undefined): Owner | undefined {
    if (!this.needed) return ''
    const [, key = ''] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? []
    const given = hash(key)
    let found = false
    for (const each of this.#hashes) if (timingSafeEqual(each, given)) found = true
    return found && key !== '' ? given.toString('hex').slice(0, 32) : undefined
  }
}
