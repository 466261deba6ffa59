import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { apiKeys } from '../../src/cli/api-keys.js'
import { UsageError } from '../../src/cli/flags.js'

const folder = mkdtemp(join(tmpdir(), 'tfserve-keys-'))
afterAll(async () => rm(await folder, { recursive: true, force: true }))

async function file(text: string): Promise<string> {
  const path = join(await folder, 'keys')
  await writeFile(path, text)
  return path
}

test('keys come from flags, the environment and a file, each once', async () => {
  const path = await file('# of the team\nthree\r\n\n  one  \n')
  expect(await apiKeys(['one', 'two'], path, { TFSERVE_API_KEY: 'four, two,' })).toEqual(['one', 'two', 'four', 'three'])
  expect(await apiKeys([], undefined, {})).toEqual([])
})

test.each<[string, () => Promise<string[]>]>([
  ['a file that is not there', async () => apiKeys([], join(await folder, 'none'), {})],
  ['a file without a key: the server would be open', async () => apiKeys([], await file('# none\n'), {})],
  ['a flag without a key: the server would be open', () => apiKeys([''], undefined, {})],
  ['a key with a space', () => apiKeys(['a b'], undefined, {})],
  ['a key that no header can carry', () => apiKeys(['schlüssel'], undefined, {})],
])('refuses %s', async (_name, read) => {
  await expect(read()).rejects.toBeInstanceOf(UsageError)
})
