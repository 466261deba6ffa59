// Starts servers for a measurement, one at a time, and reads what they cost from /proc.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

// USER_HZ is 100 on every Linux that Node runs on
const ticksPerSecond = 100

/** A TCP port that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

function statFields(pid) {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // the command's name is in parentheses and may hold anything
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

/** CPU seconds that a process has used, its threads included, its children not. Linux only. */
export function cpuSeconds(pid) {
  const fields = statFields(pid)
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
}

/** The part of `cpuSeconds` that the kernel used for it: system calls, and what they set off. Linux only. */
export function kernelSeconds(pid) {
  return Number(statFields(pid)[12]) / ticksPerSecond
}

/** Process ids of the direct children. Linux only. */
export function childrenOf(pid) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((candidate) => {
      try {
        return Number(statFields(candidate)[1]) === pid
      } catch {
        return false // it ended while we looked
      }
    })
}

/** The most memory that the process and its children have held, bytes; undefined where /proc is missing. */
export function peakResidentBytes(pid) {
  try {
    const of = (p) => Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${p}/status`, 'utf8'))?.[1] ?? 0) * 1024
    return [pid, ...childrenOf(pid)].reduce((sum, p) => sum + of(p), 0)
  } catch {
    return undefined
  }
}

/** A server under measurement: `command` gets its port from `args(port)`; ready when /health answers 200. */
export async function startServer(command, args, { readyTimeoutMs = 180_000, verbose = false } = {}) {
  const port = await freePort()
  const child = spawn(command, args(port), { stdio: ['ignore', verbose ? 'inherit' : 'pipe', verbose ? 'inherit' : 'pipe'] })
  let output = ''
  let exited
  const keep = (data) => (output = (output + data).slice(-4000))
  child.stdout?.on('data', keep)
  child.stderr?.on('data', keep)
  const ended = new Promise((resolve) => {
    child.on('error', (error) => resolve((exited = error.message)))
    child.on('exit', (code, signal) => resolve((exited = `exit ${code ?? signal}`)))
  })
  const url = `http://127.0.0.1:${port}`
  const stop = async () => {
    if (exited === undefined) child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), 15_000)
    await ended
    clearTimeout(timer)
  }
  const deadline = Date.now() + readyTimeoutMs
  for (;;) {
    const ok = await fetch(`${url}/health`).then(
      (response) => response.ok,
      () => false,
    )
    if (ok) break
    if (exited === undefined && Date.now() < deadline) {
      await sleep(100)
      continue
    }
    await stop()
    throw new Error(`${command} did not come up (${exited ?? 'no /health in time'}):\n${output}`)
  }
  return { url, pid: child.pid, stop }
}
