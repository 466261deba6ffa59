// Puts the pinned third-party sources and the HTTP server's binary under vendor/, as vendor.json says.
// Done again only when a pin or one of our patches changes.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { applyPatch, parsePatch } from 'diff'
import { checkoutBundle } from './git-bundle.mjs'
import { fetchPackage, filesInTarball } from './npm-package.mjs'
import { isMain, root, vendorDir } from './paths.mjs'

const patchesDir = join(root, 'native', 'llama-patches')

function patchFiles(name) {
  const dir = join(patchesDir, name)
  if (!existsSync(dir)) return []
  return readdirSync(dir)
    .filter((f) => f.endsWith('.patch'))
    .sort()
    .map((f) => join(dir, f))
}

function applyPatches(tree, patches) {
  for (const file of patches) {
    for (const patch of parsePatch(readFileSync(file, 'utf8'))) {
      const path = join(tree, patch.newFileName.replace(/^b\//, ''))
      const patched = applyPatch(readFileSync(path, 'utf8'), patch, { fuzzFactor: 0 })
      if (patched === false) throw new Error(`${file} does not apply to ${patch.newFileName}`)
      writeFileSync(path, patched)
    }
  }
}

function upToDate(stamp, want) {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === want
}

// a folder is complete or absent: it is filled beside its place and then renamed
function replaceFolder(dest, fill) {
  mkdirSync(dirname(dest), { recursive: true })
  const tmp = mkdtempSync(`${dest}.new-`)
  try {
    fill(tmp)
    rmSync(dest, { recursive: true, force: true })
    renameSync(tmp, dest)
  } finally {
    rmSync(tmp, { recursive: true, force: true })
  }
}

function vendorSource(name, pin) {
  const dest = join(vendorDir, name)
  const patches = patchFiles(name)
  const hash = createHash('sha256').update(JSON.stringify(pin))
  for (const file of patches) hash.update(file.slice(root.length)).update(readFileSync(file))
  const want = hash.digest('hex')
  if (upToDate(`${dest}.stamp`, want)) return
  console.log(`tfserve: fetching the sources of ${name} (${pin.package})`)
  const keep = (path) => pin.keep.some((k) => (k.endsWith('/') ? path.startsWith(k) : path === k))
  const tarball = fetchPackage(pin.package, pin.integrity)
  replaceFolder(dest, (tree) => {
    let files = 0
    for (const [path, body] of filesInTarball(tarball)) {
      if (path !== pin.bundle) continue
      const checkout = checkoutBundle(body, tree, keep)
      if (checkout.head !== pin.commit) throw new Error(`${name} is at ${checkout.head}, but ${pin.commit} is pinned`)
      files = checkout.files
    }
    if (files === 0) throw new Error(`${pin.package} holds no ${pin.bundle}`)
    applyPatches(tree, patches)
    console.log(`tfserve: unpacked ${files} files of ${name}, applied ${patches.length} patches`)
  })
  writeFileSync(`${dest}.stamp`, want)
}

/** The key of vendor.json's uws table that fits this process: platform, processor and Node's module version. */
export const uwsKey = () => `${process.platform}-${process.arch}-${process.versions.modules}`

function vendorUws(pins) {
  const pin = pins[uwsKey()]
  if (!pin) {
    console.log(`tfserve: no uWebSockets binary is pinned for ${uwsKey()}; HTTP will run on node:http`)
    return
  }
  const dest = join(vendorDir, 'uws', uwsKey())
  const want = JSON.stringify(pin)
  if (upToDate(`${dest}.stamp`, want)) return
  console.log(`tfserve: fetching uWebSockets (${pin.package})`)
  const tarball = fetchPackage(pin.package, pin.integrity)
  replaceFolder(dest, (dir) => {
    const binary = [...filesInTarball(tarball)].find(([path]) => path.endsWith('.node'))
    if (!binary) throw new Error(`${pin.package} holds no binary`)
    writeFileSync(join(dir, 'uws.node'), binary[1])
  })
  writeFileSync(`${dest}.stamp`, want)
}

export function vendor() {
  const pins = JSON.parse(readFileSync(join(root, 'vendor.json'), 'utf8'))
  for (const [name, pin] of Object.entries(pins.sources)) vendorSource(name, pin)
  vendorUws(pins.uws)
}

if (isMain(import.meta.url)) vendor()
