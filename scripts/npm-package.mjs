// Brings a pinned npm package here as bytes: through the user's own npm settings, checked by hash.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

/** The tarball of `spec` (name@version). Throws when its sha512 is not `integrity`. */
export function fetchPackage(spec, integrity) {
  const dir = mkdtempSync(join(tmpdir(), 'tfserve-pack-'))
  try {
    const args = ['pack', spec, '--silent', '--ignore-scripts', '--pack-destination', dir]
    const npmCli = process.env.npm_execpath
    const options = { cwd: dir, stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, npm_config_dry_run: 'false' } }
    const out = npmCli ? execFileSync(process.execPath, [npmCli, ...args], options) : execFileSync('npm', args, options)
    const tarball = readFileSync(join(dir, out.toString().trim().split('\n').pop()))
    const got = `sha512-${createHash('sha512').update(tarball).digest('base64')}`
    if (got !== integrity) throw new Error(`${spec} has the hash ${got}, but ${integrity} is pinned in vendor.json`)
    return tarball
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** The regular files of a .tgz as [path, bytes]. */
export function* filesInTarball(tarball) {
  const tar = gunzipSync(tarball)
  let longName = ''
  for (let at = 0; at + 512 <= tar.length;) {
    const field = (offset, length) => tar.toString('utf8', at + offset, at + offset + length).replace(/\0.*$/s, '')
    const name = field(0, 100)
    if (!name) return
    const size = Number.parseInt(field(124, 12), 8) || 0
    const type = field(156, 1)
    const prefix = field(345, 155)
    const body = tar.subarray(at + 512, at + 512 + size)
    at += 512 + Math.ceil(size / 512) * 512
    if (type === 'x') {
      longName = /^\d+ path=(.*)$/m.exec(body.toString('utf8'))?.[1] ?? ''
      continue
    }
    if (type === '' || type === '0') yield [longName || (prefix ? `${prefix}/${name}` : name), body]
    longName = ''
  }
}
