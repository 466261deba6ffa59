import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * The compiled file of a thread, by its path in this room; undefined: it was not compiled. It is beside this file when that runs compiled;
 * sources run as TypeScript (tests) take the compiled one.
 */
export function threadFile(path: string): URL | undefined {
  const candidates = [new URL(`./${path}`, import.meta.url), new URL(`../../dist/server/${path}`, import.meta.url)]
  return candidates.find((url) => existsSync(fileURLToPath(url)))
}
