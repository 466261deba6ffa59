// Builds and runs the C++ tests: node scripts/test-native.mjs [--sanitize] [part of a test's name ...]
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { buildDir, fail, isMain, root } from './paths.mjs'
import { hasNinja, missingTool } from './toolchain.mjs'
import { vendor } from './vendor.mjs'

/** Runs a command with its output on the terminal; resolves with its exit code. */
function run(command, args, env = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } })
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
}

// CMake refuses to configure a folder for another generator or another source tree
function prepare(dir, generator, source) {
  const cache = join(dir, 'CMakeCache.txt')
  if (!existsSync(cache)) return
  const text = readFileSync(cache, 'utf8')
  const same = text.includes(`CMAKE_GENERATOR:INTERNAL=${generator}\n`) && text.includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${source}\n`)
  if (!same) rmSync(dir, { recursive: true, force: true })
}

export async function testNative({ sanitize = false, filters = [] } = {}) {
  const missing = missingTool()
  if (missing) fail(missing)
  vendor()
  const source = join(root, 'native', 'test')
  const dir = join(buildDir, sanitize ? 'native-test-sanitize' : 'native-test')
  const generator = hasNinja() ? 'Ninja' : 'Unix Makefiles'
  prepare(dir, generator, source)
  const configured = await run('cmake', ['-S', source, '-B', dir, '-G', generator, `-DTFSERVE_SANITIZE=${sanitize ? 'ON' : 'OFF'}`])
  if (configured !== 0) return configured
  const built = await run('cmake', ['--build', dir, '--parallel', String(availableParallelism())])
  if (built !== 0) return built
  return run(join(dir, 'native-test'), filters, { UBSAN_OPTIONS: 'print_stacktrace=1' })
}

if (isMain(import.meta.url)) {
  const args = process.argv.slice(2)
  const options = { sanitize: args.includes('--sanitize'), filters: args.filter((a) => !a.startsWith('--')) }
  process.exitCode = await testNative(options).catch((error) => fail(error.message))
}
