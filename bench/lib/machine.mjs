// What a figure depends on besides the code: the machine, the versions and what else is running.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { arch, availableParallelism, cpus, loadavg, platform, release, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The package's root. */
export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

// the instruction sets that a kernel or a compiler could choose between
const relevantFlags = [
  ['avx', 'avx2', 'fma', 'f16c', 'avx_vnni', 'avx512f', 'avx512bw', 'avx512_vnni', 'avx512_bf16', 'avx512_fp16', 'amx_int8', 'amx_bf16'],
  ['asimd', 'asimddp', 'asimdhp', 'i8mm', 'bf16', 'sve', 'sve2'],
].flat()

function read(path) {
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined
}

function processorFlags() {
  const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(read('/proc/cpuinfo') ?? '')
  const have = new Set((line?.[1] ?? '').split(' '))
  return relevantFlags.filter((flag) => have.has(flag))
}

/** The machine as a plain object. */
export function machineFacts() {
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    flags: processorFlags(),
    cores: availableParallelism(),
    logicalProcessors: cpus().length,
    cgroupCpuMax: read('/sys/fs/cgroup/cpu.max'),
    governor: read('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor'),
    memoryBytes: totalmem(),
    platform: `${platform()} ${release()} ${arch()}`,
  }
}

/** The one-minute load average before a run: above a few tenths, something else is computing too. */
export const loadAverage = () => loadavg()[0]

/** Versions of ours, of Node and, where given, of the peer's binary. */
export function versions(peer) {
  const git = spawnSync('git', ['-C', root, 'describe', '--always', '--dirty'], { encoding: 'utf8' })
  const found = {
    tfserve: JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version,
    commit: git.status === 0 ? git.stdout.trim() : undefined,
    node: process.version,
    llamaCpp: JSON.parse(readFileSync(join(root, 'vendor.json'), 'utf8')).sources['llama.cpp'].commit,
  }
  if (peer) found.peer = peerVersion(peer)
  return found
}

// llama.cpp prints its version among log lines, on either stream
function peerVersion(peer) {
  const { stdout, stderr, error } = spawnSync(peer, ['--version'], { encoding: 'utf8' })
  if (error) throw new Error(`${peer} does not run: ${error.message}`)
  const text = `${stdout}\n${stderr}`
  return /version:.*/.exec(text)?.[0] ?? text.trim()
}
