// What a native build needs on this machine, said in one sentence when it is missing.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { arch, cpus, platform } from 'node:os'

const runs = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0

/** The missing piece as a sentence that says what to do, or null when a build can start. */
export function missingTool() {
  if (!runs('cmake')) {
    return 'building the native engine needs CMake 3.18 or newer, and no `cmake` is on the PATH: install it (Debian/Ubuntu: apt-get install cmake; macOS: brew install cmake) and run npm ci again.'
  }
  const compilers = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++']
  if (platform() !== 'win32' && !compilers.some(runs)) {
    return 'building the native engine needs a C++20 compiler, and none of c++, g++, clang++ is on the PATH: install one (Debian/Ubuntu: apt-get install g++ make; macOS: xcode-select --install) and run npm ci again.'
  }
  return null
}

export const hasNinja = () => runs('ninja')

/** A short name for this processor's instruction sets: a native build made for one must not be reused on another. */
export function processorKey() {
  let text = `${platform()} ${arch()} ${cpus()[0]?.model ?? ''}`
  if (existsSync('/proc/cpuinfo')) text += /^(flags|Features)\s*:.*$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[0] ?? ''
  return createHash('sha256').update(text).digest('hex').slice(0, 12)
}
