// The thread that holds the database: SQLite's calls block, and HTTP must not wait for a disk.
import { parentPort, workerData } from 'node:worker_threads'
import { HistoryTooLongError, NotStoredError, ResponseDatabase, type StoreLimits } from './database.js'

/** Names of the database's methods that the store may call. */
export type StoreMethod = Exclude<keyof ResponseDatabase, 'close'>

export interface StoreCall {
  id: number
  method: StoreMethod | 'close'
  args: unknown[]
}

export type StoreAnswer =
  | { id: number; value: unknown }
  | { id: number; missing: { kind: NotStoredError['kind']; id: string } }
  | { id: number; tooLong: HistoryTooLongError['kind'] }
  | { id: number; fault: string }

export interface StoreThreadData {
  path: string
  limits: StoreLimits
}

const { path, limits } = workerData as StoreThreadData
const database = new ResponseDatabase(path, limits)
setInterval(() => database.expire(), 60_000).unref()

function answer({ id, method, args }: StoreCall): StoreAnswer {
  try {
    const call = database[method] as (...args: unknown[]) => unknown
    return { id, value: call.apply(database, args) }
  } catch (error) {
    if (error instanceof NotStoredError) return { id, missing: { kind: error.kind, id: error.id } }
    if (error instanceof HistoryTooLongError) return { id, tooLong: error.kind }
    return { id, fault: error instanceof Error ? error.message : String(error) }
  }
}

parentPort?.on('message', (call: StoreCall) => {
  parentPort?.postMessage(answer(call))
  if (call.method === 'close') parentPort?.close()
})
