import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { UploadFolder } from '../../src/server/uploads/upload-folder.js'

// as in a container whose user is in no list
vi.mock('node:os', async (original) => ({
  ...(await original<typeof import('node:os')>()),
  userInfo: () => {
    throw new Error('uv_os_get_passwd returned ENOENT (no such file or directory)')
  },
}))

const directory = mkdtempSync(join(tmpdir(), 'sweep-test-'))
afterAll(() => rmSync(directory, { recursive: true }))

test('a user without a name sweeps what it has left, too', async () => {
  const left = join(directory, `tfserve-upload-${'a'.repeat(32)}`)
  writeFileSync(left, 'x')
  const old = new Date(Date.now() - 25 * 3_600_000)
  utimesSync(left, old, old)
  await new UploadFolder({ totalBytes: 1, count: 1 }, directory).sweep()
  expect(readdirSync(directory)).toEqual([])
})
