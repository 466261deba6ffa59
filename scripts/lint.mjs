// Formatting and lint rules over all our sources: `npm run lint` checks, `npm run format` (--fix) puts right what can be put right.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { root } from './paths.mjs'

const fix = process.argv.includes('--fix')
const bin = (name) => join(root, 'node_modules', '.bin', name)

const native = readdirSync(join(root, 'native'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.(h|cpp)$/.test(entry.name))
  .map((entry) => relative(root, join(entry.parentPath, entry.name)))
  .sort()

const scripts = ['src/**/*.ts', 'test/**/*.ts', 'scripts/**/*.mjs', 'bench/**/*.mjs', '*.{js,ts}']

const steps = [
  ['clang-format', fix ? ['-i', ...native] : ['--dry-run', '--Werror', ...native]],
  ['prettier', [fix ? '--write' : '--check', '--log-level', 'warn', '--no-error-on-unmatched-pattern', ...scripts]],
  ['eslint', ['.', '--max-warnings', '0', ...(fix ? ['--fix'] : [])]],
]

let failed = 0
for (const [tool, args] of steps) {
  const started = performance.now()
  const { status } = spawnSync(bin(tool), args, { cwd: root, stdio: 'inherit' })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`lint: ${tool} ${status === 0 ? 'ok' : 'found something'} (${seconds} s)`)
  if (status !== 0) failed++
}
process.exit(failed === 0 ? 0 : 1)
