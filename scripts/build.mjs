// Builds the native addon: pinned sources, then CMake through cmake-js, into build/Release/tfserve.node.
// Extra CMake options: node scripts/build.mjs -DTFSERVE_CUDA=ON
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { buildDir, fail, isMain, root } from './paths.mjs'
import { runWithProgress } from './run-cmake.mjs'
import { hasNinja, missingTool, processorKey } from './toolchain.mjs'
import { vendor } from './vendor.mjs'

// objects made for other instruction sets, options or generators are no use: start afresh then
function prepareBuildDir(key) {
  const stamp = join(buildDir, 'tfserve-build-key')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === key) return
  rmSync(buildDir, { recursive: true, force: true })
  return () => {
    mkdirSync(buildDir, { recursive: true })
    writeFileSync(stamp, key)
  }
}

export async function build(defines = []) {
  const missing = missingTool()
  if (missing) fail(missing)
  vendor()
  const processor = processorKey()
  const ninja = hasNinja()
  const all = [...defines, `-DTFSERVE_PROCESSOR_KEY=${processor}`]
  const writeStamp = prepareBuildDir(JSON.stringify([ninja, all, root]))
  const require = createRequire(import.meta.url)
  const cli = join(dirname(require.resolve('cmake-js/package.json')), 'bin', 'cmake-js')
  const args = [
    cli,
    'build',
    '--directory',
    root,
    '--out',
    buildDir,
    '--CDCMAKE_BUILD_TYPE=Release',
    '--target',
    'tfserve',
    '--parallel',
    String(availableParallelism()),
  ]
  if (ninja) args.push('--generator', 'Ninja')
  for (const define of all) args.push(`--CD${define.replace(/^-D/, '')}`)
  console.log('tfserve: building the native engine; the first time this takes some minutes')
  await runWithProgress('native build', process.execPath, args, { cwd: root })
  writeStamp?.()
}

if (isMain(import.meta.url)) {
  await build(process.argv.slice(2).filter((a) => a.startsWith('-D'))).catch((error) => fail(error.message))
}
