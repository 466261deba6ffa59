// The library as a user of the package has it: iterators, signals, closing, and a process that ends by itself.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Engine, type GenerateOptions, RequestError } from '../../src/index.js'

const path = fileURLToPath(new URL('../../models/tfserve-demo', import.meta.url))
const long: GenerateOptions = { messages: [{ role: 'user', content: 'Tell me a story.' }], max_new_tokens: 3000, ignore_eos: true }

let engine: Engine
beforeAll(async () => {
  engine = await Engine.load({ path, threads: 1, maxNumSeqs: 4, maxWaiting: 2 })
})
afterAll(() => engine.close())

/** Every page is free or cached, and nothing runs or waits. */
async function settled(): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const { running, waiting, blocksFree, blocksCached, blocksTotal } = await engine.stats()
    if (running + waiting === 0 && blocksFree + blocksCached === blocksTotal) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error(`pages are still held: ${JSON.stringify(await engine.stats())}`)
}

describe('the end of a generation', () => {
  it('comes with the signal, whose reason the iterator throws', async () => {
    const controller = new AbortController()
    const texts: string[] = []
    const run = (async () => {
      for await (const { text } of engine.generate({ ...long, signal: controller.signal })) {
        texts.push(text)
        if (texts.length === 3) controller.abort(new Error('enough'))
      }
    })()
    await expect(run).rejects.toThrow('enough')
    expect(texts.length).toBeLessThan(100)
    await settled()
  })

  it('comes when the loop is left', async () => {
    for await (const chunk of engine.generate(long)) if (chunk.outputTokens >= 2) break
    await settled()
  })

  it('is refused before it begins for a signal that has fired', async () => {
    await expect(engine.generate({ ...long, signal: AbortSignal.abort(new Error('too late')) }).next()).rejects.toThrow('too late')
  })
})

it('gives n choices, also one sequence at a time', async () => {
  await using single = await Engine.load({ path, threads: 1, continuousBatching: false })
  for (const each of [engine, single]) {
    const texts = ['', '', '']
    const reasons = new Set<string | undefined>()
    for await (const { choice, text, reasoning, finishReason } of each.generate({
      ...long,
      max_new_tokens: 12,
      n: 3,
      seed: 1,
      temperature: 1,
    })) {
      texts[choice] += text + (reasoning ?? '')
      if (finishReason) reasons.add(finishReason)
    }
    expect(texts.every((text) => text.length > 0)).toBe(true)
    expect([...reasons]).toEqual(['length'])
  }
})

it('leaves nothing open when requests are refused', async () => {
  for (let i = 0; i < 20; i++) {
    const wrong = { ...long, stop: [5] } as unknown as GenerateOptions
    await expect(engine.generate(wrong).next()).rejects.toBeInstanceOf(RequestError)
    await expect(engine.generate({ tokens: [-1] }).next()).rejects.toBeInstanceOf(RequestError)
    await expect(engine.generate({ prompt: 'x', temperature: -1 }).next()).rejects.toBeInstanceOf(RequestError)
  }
  const { value } = await engine.generate({ ...long, max_new_tokens: 1 }).next()
  expect(value).toMatchObject({ outputTokens: 1 })
})

it('refuses what would wait beyond the bound, and serves the rest', async () => {
  const results = await Promise.allSettled(
    Array.from({ length: 12 }, async () => {
      for await (const chunk of engine.generate({ ...long, max_new_tokens: 20 })) if (chunk.finishReason) return chunk.finishReason
    }),
  )
  const refused = results.filter((result) => result.status === 'rejected')
  expect(refused).toHaveLength(6)
  for (const { reason } of refused) expect(reason).toMatchObject({ code: 'queue_full' })
  await settled()
})

it('closes while generations run and signals fire', async () => {
  const other = await Engine.load({ path, threads: 1 })
  const controller = new AbortController()
  const runs = Array.from({ length: 4 }, async () => {
    for await (const _ of other.generate({ ...long, signal: controller.signal }));
  })
  const ended = Promise.allSettled(runs)
  await new Promise((resolve) => setTimeout(resolve, 50))
  const closing = other.close()
  controller.abort(new Error('gone'))
  await closing
  expect((await ended).map(({ status }) => status)).toEqual(Array(4).fill('rejected'))
  await expect(other.generate(long).next()).rejects.toMatchObject({ code: 'shutting_down' })
})

it('rejects the load when the progress callback throws', async () => {
  const load = Engine.load({ path, threads: 1 }, ({ stage }) => {
    if (stage === 'weights') throw new Error('boom')
  })
  await expect(load).rejects.toThrow('boom')
})

it('does not keep a process alive, closed or not', async () => {
  const index = new URL('../../dist/index.js', import.meta.url).href
  for (const end of ['await engine.close()', '']) {
    const script = `
      const { Engine } = await import(${JSON.stringify(index)})
      const engine = await Engine.load({ path: ${JSON.stringify(path)}, threads: 1 })
      for await (const chunk of engine.generate({ prompt: 'Once', max_new_tokens: 3, ignore_eos: true })) if (chunk.finishReason) console.log('done')
      ${end}`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { timeout: 30_000 })
    expect(stdout).toBe('done\n')
  }
})
