import type { Call } from '../call.js'
import { ClientGoneError } from '../transport/types.js'

/** What comes before a generation: where it fails, no run will count the request, so that it is counted here. Passes the failure on. */
export async function counted<T>(call: Call, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    call.context.metrics.requests.add(1, error instanceof ClientGoneError ? 'client_gone' : 'refused')
    throw error
  }
}
