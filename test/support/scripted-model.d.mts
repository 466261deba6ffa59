import type { RequestError, StartedGeneration } from '../../src/engine/types.js'
import type { WorkerTextModel } from '../../src/worker/message-loop.js'

export function scriptedModel(
  error: typeof RequestError,
  options?: { word?: (index: number) => string },
): WorkerTextModel & { readonly open: Set<StartedGeneration>; readonly closed: boolean }
