#!/usr/bin/env node
// The `tfserve` command. Nothing but the version check happens before the rest is loaded: an old Node gets a sentence, not a syntax error.
const oldest = 22
const major = Number(process.versions.node.split('.')[0])

if (major < oldest) {
  console.error(`tfserve needs Node ${oldest} or newer; this is ${process.version}.`)
  process.exitCode = 1
} else {
  const { run } = await import('./run.js')
  process.exitCode = await run(process.argv.slice(2))
}

export {}
