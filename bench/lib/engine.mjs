// The library for benchmarks that need no HTTP.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './machine.mjs'

async function loadLibrary() {
  const entry = join(root, 'dist', 'index.js')
  if (!existsSync(entry)) throw new Error('dist/ is missing: run npm run build:ts first.')
  return (await import(pathToFileURL(entry))).Engine
}

/** Loads a model, hands it to `use` and gives it back whatever happens. */
export async function withEngine(options, use) {
  const Engine = await loadLibrary()
  const engine = await Engine.load({ logLevel: 'warning', ...options })
  try {
    return await use(engine)
  } finally {
    await engine.close()
  }
}

/** Random token ids that avoid the low and the high end of a vocabulary, where control tokens are. */
export function randomTokens(random, n, vocabSize) {
  const low = Math.floor(vocabSize * 0.1)
  return Array.from({ length: n }, () => low + random(Math.floor(vocabSize * 0.8)))
}

/** Generates greedily from token ids to the end; returns start, the times at which tokens came (one entry a token) and the cached tokens. */
export async function timedGeneration(engine, tokens, maxNewTokens) {
  const start = performance.now()
  const times = []
  let cachedTokens = 0
  for await (const chunk of engine.generate({ tokens, temperature: 0, ignore_eos: true, max_new_tokens: maxNewTokens })) {
    const now = performance.now()
    for (let i = 0; i < chunk.tokens.length; i++) times.push(now)
    cachedTokens = chunk.cachedTokens
  }
  return { start, times, cachedTokens }
}
