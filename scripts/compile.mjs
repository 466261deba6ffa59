// Compiles src/ to dist/ with the TypeScript compiler. A package installed from npm brings dist/ and needs none of this.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fail, root } from './paths.mjs'

if (existsSync(join(root, 'src'))) {
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc')
  const { status } = spawnSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json')], { stdio: 'inherit' })
  if (status !== 0) fail('the TypeScript sources do not compile; the errors are above.')
  chmodSync(join(root, 'dist', 'cli', 'main.js'), 0o755)
}
