// Calls put together from the parts in which they stream, as clients do it.
interface Part {
  name?: string | undefined
  arguments?: string | undefined
}

export interface GatheredCall {
  name: string
  arguments: string
  /** What the arguments mean; undefined: they are no JSON. */
  value: unknown
}

function valueOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A part with a name begins a call. */
export function gatherCalls(parts: readonly Part[]): GatheredCall[] {
  const calls: { name: string; arguments: string }[] = []
  for (const part of parts) {
    if (part.name !== undefined) calls.push({ name: part.name, arguments: '' })
    calls.at(-1)!.arguments += part.arguments ?? ''
  }
  return calls.map((call) => ({ ...call, value: valueOf(call.arguments) }))
}
