// npm run bench -- transcribe, on a small checkpoint.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'

const main = fileURLToPath(new URL('../../bench/main.mjs', import.meta.url))
const fixture = (path: string): string => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'tfserve-bench-transcribe-'))
afterAll(() => rmSync(folder, { recursive: true }))

interface Report {
  runs: { streams: number; audioSeconds: number; seconds: number; speed: number; realTimeFactor: number; text: string }[]
}

test('measures recordings alone and at once, and draws them', async () => {
  const json = join(folder, 'speech.json')
  const options = ['--streams', '1,3', '--rounds', '1', '--requests', '1', '--threads', '1', '--json', json]
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...[main, 'transcribe', fixture('whisper-random'), '--file', fixture('audio/speech-short.wav')],
    ...options,
  ])
  const { runs } = JSON.parse(readFileSync(json, 'utf8')) as Report
  expect(runs.map(({ streams }) => streams)).toEqual([1, 3])
  for (const { streams, audioSeconds, seconds, speed, realTimeFactor, text } of runs) {
    expect(audioSeconds).toBeCloseTo(streams * 3.612, 2)
    expect(speed).toBeCloseTo(audioSeconds / seconds, 6)
    expect(realTimeFactor * speed).toBeCloseTo(1, 6)
    expect(text).toBe(' Good morning, everyone.')
  }
  expect(stdout).toContain('3 at once')
  expect(readFileSync(join(folder, 'speech.svg'), 'utf8')).toContain('real-time factor')
})
