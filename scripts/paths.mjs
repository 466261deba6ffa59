// The few places that every script needs.
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))
export const vendorDir = join(root, 'vendor')
export const buildDir = join(root, 'build')

/** Whether the module at `url` is the program that node was asked to run. */
export const isMain = (url) => process.argv[1] === fileURLToPath(url)

/** Ends an installation step with one readable sentence; no stack trace. */
export function fail(sentence) {
  console.error(`\ntfserve: ${sentence}\n`)
  process.exit(1)
}
