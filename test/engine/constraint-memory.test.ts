// V8 is told what compiled constraints hold beyond its own heap: otherwise their handles, which are small, would be kept for ever.
import { expect, it } from 'vitest'
import { nativeAddon } from '../../src/engine/native.js'
import { modelPath } from '../support/goldens.js'

it('lets go of compiled constraints that nobody holds', async () => {
  const options = { path: modelPath('qwen2'), quantization: '', dtype: 'auto', kvCacheDtype: 'auto', kvCacheMemory: 2 ** 24 }
  const sizes = { maxBatchTokens: 0, maxNumSeqs: 0, maxModelLen: 0, maxWaiting: 1, maxWaitingTokens: 4096, blockSize: 16, threads: 1 }
  const ignore = (): void => undefined
  const model = await nativeAddon().loadModel(
    { ...options, ...sizes, prefixCaching: true, continuousBatching: true, pagedKv: true },
    ignore,
    ignore,
  )
  try {
    // a megabyte each
    const compiled: WeakRef<object>[] = []
    for (let i = 0; i < 240; i++) {
      const handle: unknown = await model.compileConstraint(JSON.stringify({ type: 'regex', pattern: `(?:ab${i}c|[a-z]{3}){30000}` }))
      compiled.push(new WeakRef(handle as object))
    }
    expect(compiled.filter((handle) => handle.deref()).length).toBeLessThan(200)
  } finally {
    await model.close()
  }
})
