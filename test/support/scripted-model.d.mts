import type { RequestError, StartedGeneration } from '../../src/engine/types.js'
import type { TextModel } from '../../src/engine/types.js'
import type { LocalModel } from '../../src/worker/message-loop.js'

export function scriptedModel(
  error: typeof RequestError,
  options?: { word?: (index: number) => string },
): LocalModel & TextModel & { readonly open: Set<StartedGeneration>; readonly closed: boolean }
