import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hubCacheFolder } from '../../src/models/hub-cache.js'
import { ModelNotFoundError, resolveModel } from '../../src/models/resolve.js'

const one = '1'.repeat(40)
const two = '2'.repeat(40)
let root: string
let env: Record<string, string>

function put(path: string, text = 'x'): string {
  const full = join(root, path)
  mkdirSync(dirname(full), { recursive: true })
  writeFileSync(full, text)
  return full
}

const cached = (path: string): string => join('hub', 'models--org--name', path)
const find = (typed?: string): ReturnType<typeof resolveModel> => resolveModel(typed, { env })

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'tfserve-'))
  env = { HF_HUB_CACHE: join(root, 'hub') }
  put(cached('refs/main'), `${one}\n`)
  put(cached('refs/pr/1'), two)
  put(cached('refs/broken'), '../../../etc')
  put(cached('refs/gone'), '3'.repeat(40))
  const blob = put(cached('blobs/abc'), '{}')
  mkdirSync(join(root, cached(`snapshots/${one}`)), { recursive: true })
  symlinkSync(relative(join(root, cached(`snapshots/${one}`)), blob), join(root, cached(`snapshots/${one}/config.json`)))
  put(cached(`snapshots/${two}/config.json`))
  put(`hub/models--org--gguf/refs/main`, one)
  put(`hub/models--org--gguf/snapshots/${one}/a.Q4_0.gguf`)
  put(`hub/models--org--gguf/snapshots/${one}/sub/b.gguf`)
  put(`hub/models--gpt2/refs/main`, one)
  put(`hub/models--gpt2/snapshots/${one}/config.json`)
  put(`hub/models--org--empty/refs/main`, one)
  put(`hub/models--org--empty/snapshots/${one}/README.md`)
  put('local/checkpoint/config.json')
  put('local/model.gguf')
  put('local/notes.txt')
  put('local/many/a.gguf')
  put('local/many/b.gguf')
  put('local/split/m-00001-of-00002.gguf')
  put('local/split/m-00002-of-00002.gguf')
  put('local/nothing/readme')
  put('local/ggml-tiny.bin', 'lmgg and more')
  put('local/weights.bin', 'pickled')
  put('local/speech/ggml-tiny.bin', 'lmgg and more')
  put('local/speech/weights.bin', 'pickled')
  put('local/speeches/a.bin', 'lmgg')
  put('local/speeches/b.bin', 'lmgg')
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

describe('a model named on the command line', () => {
  it('nothing: the embedded one', async () => {
    const model = await find()
    expect(model).toMatchObject({ id: 'tfserve-demo', revision: 'main', aliases: [] })
    expect(basename(model.path)).toBe('tfserve-demo')
    expect(model.created).toBeGreaterThan(1_000_000_000)
  })

  it('a ggml file of a Whisper model, by its first bytes, and a directory with one', async () => {
    const file = join(root, 'local/ggml-tiny.bin')
    expect(await find(file)).toMatchObject({ path: file, id: 'ggml-tiny.bin' })
    expect(await find(join(root, 'local/speech'))).toMatchObject({ path: join(root, 'local/speech/ggml-tiny.bin'), id: 'speech' })
    await expect(find(join(root, 'local/weights.bin'))).rejects.toThrow('is not a model')
    await expect(find(join(root, 'local/speeches'))).rejects.toThrow('several ggml files; name one of them: a.bin, b.bin')
  })

  it('a path: a directory, a GGUF file, a directory with one GGUF model', async () => {
    const checkpoint = join(root, 'local/checkpoint')
    expect(await find(checkpoint)).toMatchObject({ path: checkpoint, id: 'checkpoint', revision: 'main', aliases: [checkpoint] })
    const typed = relative(process.cwd(), checkpoint) + '/'
    expect(await find(typed)).toMatchObject({ path: checkpoint, id: 'checkpoint', aliases: [typed, checkpoint] })
    const file = join(root, 'local/model.gguf')
    expect(await find(file)).toMatchObject({ path: file, id: 'model.gguf' })
    expect(await find(join(root, 'local/split'))).toMatchObject({ path: join(root, 'local/split/m-00001-of-00002.gguf'), id: 'split' })
  })

  it('a path that is no model says why', async () => {
    await expect(find(join(root, 'local/notes.txt'))).rejects.toThrow(/not a model/)
    await expect(find(join(root, 'local/many'))).rejects.toThrow(/a\.gguf, b\.gguf/)
    await expect(find(join(root, 'local/nothing'))).rejects.toThrow(/holds no model/)
    await expect(find('./does-not-exist')).rejects.toThrow(/no file or directory/)
    await expect(find('/does/not/exist')).rejects.toThrow(/does not exist either/)
  })

  it('an id in the cache, with its revision', async () => {
    const main = join(root, cached(`snapshots/${one}`))
    const other = join(root, cached(`snapshots/${two}`))
    expect(await find('org/name')).toMatchObject({ path: main, id: 'org/name', revision: 'main', aliases: [] })
    expect(await find('org/name@main')).toMatchObject({ path: main, id: 'org/name', revision: 'main', aliases: ['org/name@main'] })
    expect(await find('org/name@refs/pr/1').catch((error: Error) => error.message)).toMatch(/not in the Hugging Face cache \(there: /)
    expect(await find('org/name@pr/1')).toMatchObject({ path: other, revision: 'pr/1' })
    expect(await find(`org/name@${two}`)).toMatchObject({ path: other, revision: two })
    expect(await find('gpt2')).toMatchObject({ id: 'gpt2' })
  })

  it('a GGUF file of a repository in the cache', async () => {
    const folder = join(root, `hub/models--org--gguf/snapshots/${one}`)
    expect(await find('org/gguf')).toMatchObject({ path: join(folder, 'a.Q4_0.gguf'), id: 'org/gguf' })
    expect(await find('org/gguf:sub/b.gguf')).toMatchObject({
      path: join(folder, 'sub/b.gguf'),
      id: 'org/gguf:sub/b.gguf',
      revision: 'main',
    })
    expect(await find('org/gguf@main:a.Q4_0.gguf')).toMatchObject({ id: 'org/gguf:a.Q4_0.gguf', aliases: ['org/gguf@main:a.Q4_0.gguf'] })
    await expect(find('org/gguf:c.gguf')).rejects.toThrow(/tfserve download org\/gguf:c\.gguf/)
  })

  it('an id that is not there says how to get it', async () => {
    await expect(find('org/other')).rejects.toThrow(/tfserve download org\/other/)
    await expect(find('org/name@v2')).rejects.toThrow(/tfserve download org\/name@v2/)
    await expect(find('org/name@gone')).rejects.toBeInstanceOf(ModelNotFoundError)
    await expect(find('org/name@broken')).rejects.toBeInstanceOf(ModelNotFoundError)
    await expect(find('org/empty')).rejects.toThrow(/holds no model/)
  })

  it('nothing leads out of the cache', async () => {
    for (const bad of [
      '',
      ' ',
      'org/../name',
      '../hub/models--org--name',
      'org/name/more',
      'org/name@..',
      'org/name@../refs/main',
      'org/name@/etc/passwd',
      'org/name@a//b',
      'org/gguf:../../x.gguf',
      'org/gguf:/etc/x.gguf',
      'org/gguf:a\0.gguf',
      'org--name',
      'org/-name',
      'org/name.',
      'http://host/org/name',
      'org/name:config.json',
      '~/x',
      'C:\\models\\x',
      'a\0b',
      'x'.repeat(5000),
    ]) {
      await expect(find(bad), bad).rejects.toBeInstanceOf(ModelNotFoundError)
    }
  })
})

describe('the folder of the cache', () => {
  it("follows the variables in huggingface_hub's order", () => {
    const all = { HF_HUB_CACHE: '/a', HUGGINGFACE_HUB_CACHE: '/b', HF_HOME: '/c', XDG_CACHE_HOME: '/d', HOME: '/home/me' }
    const { HF_HUB_CACHE: _a, ...b } = all
    const { HUGGINGFACE_HUB_CACHE: _b, ...c } = b
    const { HF_HOME: _c, ...d } = c
    const { XDG_CACHE_HOME: _d, ...e } = d
    expect([all, b, c, d, e].map((each) => hubCacheFolder(each))).toEqual([
      '/a',
      '/b',
      join('/c', 'hub'),
      join('/d', 'huggingface', 'hub'),
      join('/home/me', '.cache', 'huggingface', 'hub'),
    ])
    expect(hubCacheFolder({ HF_HOME: '~/hf', HOME: '/home/me' })).toBe(join('/home/me', 'hf', 'hub'))
    expect(hubCacheFolder({ HF_HUB_CACHE: '', HOME: '/home/me' })).toBe(join('/home/me', '.cache', 'huggingface', 'hub'))
  })
})
