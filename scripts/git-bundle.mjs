// Checks out the single commit held in a git bundle, on a machine without git.
// A bundle is some text lines and a packfile (Documentation/gitformat-bundle, gitformat-pack).
import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { inflateSync } from 'node:zlib'

const objectTypes = { 1: 'commit', 2: 'tree', 3: 'blob', 4: 'tag' }
const offsetDelta = 6
const refDelta = 7

function readHeader(bundle) {
  let head
  for (let at = 0; ;) {
    const end = bundle.indexOf(10, at)
    if (end < 0) throw new Error('the git bundle ends inside its header')
    const line = bundle.toString('utf8', at, end)
    at = end + 1
    if (line === '') return { head, packStart: at }
    if (line.startsWith('-')) throw new Error('the git bundle needs commits that it does not hold')
    head = /^([0-9a-f]{40}) HEAD$/.exec(line)?.[1] ?? head
  }
}

function readPack(bundle, start) {
  if (bundle.toString('latin1', start, start + 4) !== 'PACK') throw new Error('the git bundle holds no packfile')
  const count = bundle.readUInt32BE(start + 8)
  const objects = new Map()
  let at = start + 12
  for (let i = 0; i < count; i++) {
    const offset = at
    let byte = bundle[at++]
    const type = (byte >> 4) & 7
    let size = byte & 15
    for (let shift = 4; byte & 0x80; shift += 7) {
      byte = bundle[at++]
      size += (byte & 0x7f) * 2 ** shift
    }
    let base
    if (type === offsetDelta) {
      byte = bundle[at++]
      let distance = byte & 0x7f
      while (byte & 0x80) {
        byte = bundle[at++]
        distance = (distance + 1) * 128 + (byte & 0x7f)
      }
      base = offset - distance
    } else if (type === refDelta) {
      base = bundle.toString('hex', at, at + 20)
      at += 20
    }
    // zlib stops by itself at the end of the stream; the window only bounds what it is given
    const window = bundle.subarray(at, Math.min(bundle.length, at + Math.max(4096, size + (size >> 3) + 1024)))
    const { buffer, engine } = inflateSync(window, { info: true })
    if (buffer.length !== size) throw new Error(`git object at ${offset}: ${buffer.length} bytes instead of ${size}`)
    at += engine.bytesWritten
    objects.set(offset, { type, base, data: buffer })
  }
  const sum = createHash('sha1').update(bundle.subarray(start, at)).digest('hex')
  if (sum !== bundle.toString('hex', at, at + 20)) throw new Error('the packfile does not match its checksum')
  return objects
}

function applyDelta(base, delta) {
  let at = 0
  const readSize = () => {
    let value = 0
    for (let shift = 0, byte = 0x80; byte & 0x80; shift += 7) {
      byte = delta[at++]
      value += (byte & 0x7f) * 2 ** shift
    }
    return value
  }
  if (readSize() !== base.length) throw new Error('a git delta does not fit its base')
  const out = Buffer.allocUnsafe(readSize())
  let length = 0
  while (at < delta.length) {
    const op = delta[at++]
    if (op & 0x80) {
      let from = 0
      let size = 0
      for (let i = 0; i < 4; i++) if (op & (1 << i)) from += delta[at++] * 2 ** (8 * i)
      for (let i = 0; i < 3; i++) if (op & (16 << i)) size += delta[at++] * 2 ** (8 * i)
      if (size === 0) size = 0x10000
      length += base.copy(out, length, from, from + size)
    } else {
      length += delta.copy(out, length, at, at + op)
      at += op
    }
  }
  if (length !== out.length) throw new Error('a git delta gives the wrong size')
  return out
}

function resolveDeltas(objects) {
  const byId = new Map()
  const resolve = (object) => {
    if (object.type < offsetDelta) return true
    const base = typeof object.base === 'number' ? objects.get(object.base) : byId.get(object.base)
    if (!base || !resolve(base)) return false
    object.data = applyDelta(base.data, object.data)
    object.type = base.type
    return true
  }
  let pending = [...objects.values()]
  while (pending.length > 0) {
    const later = pending.filter((object) => {
      if (!resolve(object)) return true
      const head = `${objectTypes[object.type]} ${object.data.length}\0`
      byId.set(createHash('sha1').update(head).update(object.data).digest('hex'), object)
      return false
    })
    if (later.length === pending.length) throw new Error('the packfile lacks the base of a delta')
    pending = later
  }
  return byId
}

/**
 * Writes the files of the bundle's HEAD for which `keep(path)` holds below `dest`.
 * Every object is checked by its SHA-1. Returns the commit's id and the number of files.
 */
export function checkoutBundle(bundle, dest, keep) {
  const { head, packStart } = readHeader(bundle)
  if (!head) throw new Error('the git bundle names no HEAD')
  const byId = resolveDeltas(readPack(bundle, packStart))
  const treeId = /^tree ([0-9a-f]{40})/.exec(byId.get(head)?.data.toString('utf8') ?? '')?.[1]
  if (!treeId) throw new Error('the git bundle lacks its HEAD commit')
  let files = 0
  const walk = (id, prefix) => {
    const tree = byId.get(id).data
    for (let at = 0; at < tree.length;) {
      const space = tree.indexOf(32, at)
      const nul = tree.indexOf(0, space)
      const mode = tree.toString('latin1', at, space)
      const name = tree.toString('utf8', space + 1, nul)
      const child = tree.toString('hex', nul + 1, nul + 21)
      at = nul + 21
      const path = prefix ? `${prefix}/${name}` : name
      if (name === '..' || name === '.git' || name.includes('/')) throw new Error(`unsafe path in the git bundle: ${path}`)
      if (mode === '40000') walk(child, path)
      else if (mode !== '160000' && keep(path)) {
        const to = join(dest, path)
        mkdirSync(dirname(to), { recursive: true })
        if (mode === '120000') symlinkSync(byId.get(child).data.toString('utf8'), to)
        else writeFileSync(to, byId.get(child).data)
        if (mode === '100755') chmodSync(to, 0o755)
        files++
      }
    }
  }
  walk(treeId, '')
  return { head, files }
}
