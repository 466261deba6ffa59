// Loads the models that its standard input names, one after the other, in a process that may die of it: a JSON line for each.
import { createInterface } from 'node:readline'
import { Engine } from '../../dist/index.js'

for await (const path of createInterface({ input: process.stdin })) {
  const result = { path }
  try {
    const engine = await Engine.load({ path, threads: 1, logLevel: 'error', kvCacheMemory: 16 << 20 })
    try {
      // what loads must also run
      result.text = ''
      for await (const delta of engine.generate({ prompt: 'Hello, wörld 🙂', max_new_tokens: 4 })) result.text += delta.text
    } catch (error) {
      result.refused = String(error?.message ?? error)
    }
    result.warnings = engine.warnings
    await engine.close()
  } catch (error) {
    result.error = String(error?.message ?? error)
  }
  result.residentBytes = process.memoryUsage.rss()
  process.stdout.write(`${JSON.stringify(result)}\n`)
}
