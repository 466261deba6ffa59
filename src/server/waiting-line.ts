/** Requests of each model that have been accepted and have no output yet, in order of acceptance. */
export class WaitingLine {
  readonly #lines = new Map<string, Set<object>>()

  join(model: string, request: object): void {
    const line = this.#lines.get(model)
    if (line) line.add(request)
    else this.#lines.set(model, new Set([request]))
  }

  /** Harmless for who is not in it. */
  leave(model: string, request: object): void {
    const line = this.#lines.get(model)
    line?.delete(request)
    if (line?.size === 0) this.#lines.delete(model)
  }

  /** 1: the next to have output; undefined: not in the line. */
  position(model: string, request: object): number | undefined {
    let position = 0
    for (const each of this.#lines.get(model) ?? []) {
      position++
      if (each === request) return position
    }
    return undefined
  }
}
