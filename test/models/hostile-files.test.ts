// Broken and hostile files of a model: each is refused in a sentence, by a process that lives on.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { runCommand } from '../support/cli.js'
import { hostileCases, makeHostile } from '../support/hostile-files.js'

const resultShape = z.object({
  path: z.string(),
  text: z.string().optional(),
  refused: z.string().optional(),
  error: z.string().optional(),
  residentBytes: z.number(),
})
type Result = z.infer<typeof resultShape>

const folder = mkdtempSync(join(tmpdir(), 'tfserve-hostile-'))
const directoryOf = (index: number): string => join(folder, `case-${index}`)
const results = new Map<string, Result>()
let baseline = 0
let ended: { code: number | null; signal: string | null; stderr: string }

// all in one process: one that dies of a case is seen by the cases after it
beforeAll(async () => {
  hostileCases.forEach((each, index) => makeHostile(directoryOf(index), each))
  const sound = join(folder, 'sound')
  makeHostile(sound, { file: 'nothing', make: () => undefined })
  const child = spawn(process.execPath, [fileURLToPath(new URL('../support/load-models.mjs', import.meta.url))])
  let stderr = ''
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()))
  const closed = new Promise<typeof ended>((resolve) => child.on('close', (code, signal) => resolve({ code, signal, stderr })))
  child.stdin.end([sound, ...hostileCases.map((_, index) => directoryOf(index))].map((path) => `${path}\n`).join(''))
  for await (const line of createInterface({ input: child.stdout })) {
    const result = resultShape.parse(JSON.parse(line))
    if (result.path === sound) {
      expect(result.text).toBeTruthy()
      baseline = result.residentBytes
    } else results.set(result.path, result)
  }
  ended = await closed
}, 120_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('a model of which', () => {
  it.each(hostileCases.map((each, index) => ({ ...each, index })))('$file $name', ({ index, error }) => {
    const result = results.get(directoryOf(index))
    expect(result, `the process ended before: ${JSON.stringify(ended)}`).toBeDefined()
    if (error === undefined) {
      expect(result!.error).toBeUndefined()
      expect(result!.text).toBeTruthy()
      return
    }
    expect(result!.error).toMatch(error)
    // no place of this machine, no words of a library, no more than a line
    expect(result!.error).not.toMatch(/\/tmp|\/home|\/work|tfserve-hostile|nlohmann|ENO[A-Z]{3}|serde|untagged|exception/i)
    expect(result!.error!.length).toBeLessThan(700)
    expect(result!.error).not.toMatch(/[\n\r]/)
  })

  it('all are told apart by one process that lives on, in bounded memory', () => {
    expect(ended).toMatchObject({ code: 0, signal: null })
    const most = Math.max(...[...results.values()].map(({ residentBytes }) => residentBytes))
    expect(most - baseline).toBeLessThan(400 * 2 ** 20)
  })
})

describe('tfserve with such a model', () => {
  it.each(['model.safetensors is cut short', 'tokenizer.json is a pipe', 'config.json has a billion layers'])(
    'ends with the sentence: %s',
    async (name) => {
      const index = hostileCases.findIndex((each) => `${each.file} ${each.name}` === name)
      const { code, signal, stderr } = await runCommand(directoryOf(index), '--port', '0')
      expect({ code, signal }).toEqual({ code: 1, signal: null })
      expect(stderr).toMatch(hostileCases[index]!.error!)
    },
    30_000,
  )
})
