// npm's install step: a prebuilt binary when one fits this machine, else a build from source.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fail, root } from './paths.mjs'

function prebuiltWorks() {
  if (process.env.npm_config_build_from_source || !existsSync(join(root, 'prebuilds'))) return false
  const loader = createRequire(import.meta.url).resolve('node-gyp-build')
  // in a child: a binary that does not suit this processor may crash rather than throw
  const probe = `require(${JSON.stringify(loader)})(${JSON.stringify(root)}).systemInfo()`
  return spawnSync(process.execPath, ['-e', probe], { stdio: 'ignore' }).status === 0
}

if (!prebuiltWorks()) {
  const { build } = await import('./build.mjs')
  await build().catch((error) => fail(error.message))
}
