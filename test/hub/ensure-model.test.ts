// Models from a Hub on this machine into a cache of their own.
import { randomBytes } from 'node:crypto'
import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ensureModel, type EnsureOptions } from '../../src/hub/ensure-model.js'
import { HubError, type HubErrorCode } from '../../src/hub/errors.js'
import type { DownloadProgress } from '../../src/hub/progress.js'
import { gitSha1, HubServer, sha256, validToken } from '../support/hub-server.js'

let hub: HubServer
let cache: string
let env: Record<string, string>

const config = '{"architectures":["LlamaForCausalLM"]}'
const weights = randomBytes(400_000)
const checkpoint = { 'config.json': config, 'tokenizer.json': '{}', 'model.safetensors': weights }

beforeEach(async () => {
  hub = await HubServer.start()
  cache = mkdtempSync(join(tmpdir(), 'tfserve-hub-'))
  env = { HF_HUB_CACHE: cache, HF_ENDPOINT: hub.endpoint, HF_HOME: join(cache, 'home') }
})
afterEach(async () => {
  await hub[Symbol.asyncDispose]()
  rmSync(cache, { recursive: true, force: true })
})

const ensure = (name: string, options: EnsureOptions = {}) => ensureModel(name, { env, retryDelayMs: 1, ...options })

async function failure(name: string, options: EnsureOptions = {}): Promise<HubError> {
  const error: unknown = await ensure(name, options).then(
    () => undefined,
    (each: unknown) => each,
  )
  expect(error).toBeInstanceOf(HubError)
  return error as HubError
}

const repository = (id = 'org/name') => join(cache, `models--${id.replace('/', '--')}`)
const blobs = (id?: string) => (existsSync(join(repository(id), 'blobs')) ? readdirSync(join(repository(id), 'blobs')).sort() : [])

function expectSteady(seen: readonly DownloadProgress[]): void {
  for (let at = 1; at < seen.length; at++) {
    expect(seen[at]!.current).toBeGreaterThanOrEqual(seen[at - 1]!.current)
    expect(seen[at]!.total).toBe(seen[0]!.total)
  }
  expect(seen.at(-1)!.current).toBe(seen.at(-1)!.total)
}

describe('a checkpoint', () => {
  it('is written as huggingface_hub writes it, and only what is needed', async () => {
    const commit = hub.add('org/name', {
      ...checkpoint,
      'generation_config.json': '{}',
      'tokenizer.model': 'sp',
      'chat_template.jinja': '{{ x }}',
      'preprocessor_config.json': '{}',
      'pytorch_model.bin': 'no',
      'consolidated.safetensors': 'no',
      'onnx/model.onnx': 'no',
      'original/tokenizer.model': 'no',
      'README.md': 'no',
    })
    const seen: DownloadProgress[] = []
    const model = await ensure('org/name', { onProgress: (progress) => seen.push(progress) })
    const snapshot = join(repository(), 'snapshots', commit)
    expect(model).toMatchObject({ path: snapshot, snapshot, commit, id: 'org/name', revision: 'main', file: undefined, cached: false })
    expect(model.files).toEqual([
      'chat_template.jinja',
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'preprocessor_config.json',
      'tokenizer.json',
      'tokenizer.model',
    ])
    expect(readdirSync(snapshot).sort()).toEqual(model.files)
    expect(readlinkSync(join(snapshot, 'model.safetensors'))).toBe(`../../blobs/${sha256(weights)}`)
    expect(readlinkSync(join(snapshot, 'config.json'))).toBe(`../../blobs/${gitSha1(Buffer.from(config))}`)
    expect(readFileSync(join(snapshot, 'model.safetensors'))).toEqual(weights)
    expect(readFileSync(join(repository(), 'refs/main'), 'utf8')).toBe(commit)
    expect(readdirSync(join(cache, '.locks/models--org--name'))).toContain(`${sha256(weights)}.lock`)
    expect(readFileSync(join(cache, 'CACHEDIR.TAG'), 'utf8')).toMatch(/^Signature: 8a477f597d28d172789f06886806bc55\n/)
    expect(blobs().filter((name) => name.includes('.'))).toEqual([])
    expectSteady(seen)
    expect(seen[0]!.current).toBe(0)
    // no jump from nothing to all
    expect(seen.some(({ current, total }) => current > 0 && current < total)).toBe(true)
  })

  it('that is there is not asked for again; a new commit brings what has changed', async () => {
    hub.add('org/name', checkpoint)
    await ensure('org/name')
    const before = hub.bodies().length
    expect(await ensure('org/name')).toMatchObject({ cached: true })
    expect(hub.bodies().length).toBe(before)
    const commit = hub.add('org/name', { ...checkpoint, 'config.json': `${config} ` })
    expect(await ensure('org/name')).toMatchObject({ commit, cached: false })
    expect(hub.bodies().length).toBe(before + 1)
    expect(readFileSync(join(repository(), 'refs/main'), 'utf8')).toBe(commit)
    expect(readdirSync(join(repository(), 'snapshots'))).toHaveLength(2)
  })

  it('without a question when the cache goes first', async () => {
    const first = hub.add('org/name', checkpoint)
    await ensure('org/name')
    hub.add('org/name', { ...checkpoint, 'config.json': '{"a":1}' })
    hub.requests.length = 0
    expect(await ensure('org/name', { preferCache: true })).toMatchObject({ commit: first, cached: true })
    expect(hub.requests).toEqual([])
    rmSync(join(repository(), 'snapshots', first, 'model.safetensors'))
    await ensure('org/name', { preferCache: true })
    expect(hub.requests.length).toBeGreaterThan(0)
  })

  it('of a branch, a tag, a pull request, a commit', async () => {
    const main = hub.add('org/name', checkpoint)
    const branch = hub.add('org/name', { ...checkpoint, 'config.json': '{"b":1}' }, { ref: 'branch' })
    const request = hub.add('org/name', { ...checkpoint, 'config.json': '{"c":1}' }, { ref: 'refs/pr/1' })
    expect(await ensure('org/name@branch')).toMatchObject({ commit: branch, revision: 'branch' })
    expect(await ensure('org/name@refs/pr/1')).toMatchObject({ commit: request })
    expect(await ensure(`org/name@${main}`)).toMatchObject({ commit: main, revision: main })
    expect(readFileSync(join(repository(), 'refs/refs/pr/1'), 'utf8')).toBe(request)
    expect(existsSync(join(repository(), 'refs/main'))).toBe(false)
  })

  it('in shards, by its index; listed over several pages', async () => {
    const index = JSON.stringify({
      metadata: {},
      weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' },
    })
    const shards = { 'model-00001-of-00002.safetensors': randomBytes(50_000), 'model-00002-of-00002.safetensors': randomBytes(50_000) }
    hub.pageSize = 2
    hub.add('org/name', {
      'config.json': config,
      'model.safetensors.index.json': index,
      ...shards,
      'other-00001-of-00001.safetensors': 'no',
    })
    const { files } = await ensure('org/name')
    expect(files).toEqual(['config.json', ...Object.keys(shards), 'model.safetensors.index.json'])
    hub.add('org/part', { 'config.json': config, 'model.safetensors.index.json': index, 'model-00001-of-00002.safetensors': 'x' })
    expect((await failure('org/part')).message).toMatch(/incomplete.*model-00002-of-00002/)
    hub.add('org/odd', { 'config.json': config, 'model.safetensors.index.json': '[1' })
    expect((await failure('org/odd')).code).toBe('no_model')
    hub.add('org/up', { 'config.json': config, 'model.safetensors.index.json': '{"weight_map":{"a":"../../../x.safetensors"}}' })
    expect((await failure('org/up')).code).toBe('no_model')
  })

  it('as the user says: include', async () => {
    hub.add('org/name', { ...checkpoint, 'docs/a.md': 'a', 'docs/b.txt': 'b' })
    expect((await ensure('org/name', { include: ['*.md', 'conf*'] })).files).toEqual(['config.json', 'docs/a.md'])
    expect((await ensure('org/name', { include: ['docs/'] })).files).toEqual(['docs/a.md', 'docs/b.txt'])
    expect((await ensure('org/name', { include: ['[ct]o*.json'] })).files).toEqual(['config.json', 'tokenizer.json'])
    expect((await failure('org/name', { include: ['(x'] })).code).toBe('file_not_found')
  })

  it('several files at once, but not all', async () => {
    const many = Object.fromEntries(Array.from({ length: 12 }, (_, at) => [`f${at}.txt`, randomBytes(30_000)]))
    hub.add('org/name', many)
    hub.deliver = () => ({ delayMs: 10, chunkBytes: 10_000 })
    await ensure('org/name', { include: ['*'], concurrency: 3 })
    expect(hub.mostAtOnce).toBeGreaterThan(1)
    expect(hub.mostAtOnce).toBeLessThanOrEqual(3)
  })

  it('anew when forced, in place of what is there', async () => {
    hub.add('org/name', checkpoint)
    const { snapshot } = await ensure('org/name')
    writeFileSync(join(repository(), 'blobs', sha256(weights)), Buffer.alloc(weights.length))
    expect(await ensure('org/name')).toMatchObject({ cached: true })
    expect(await ensure('org/name', { force: true })).toMatchObject({ cached: false })
    expect(readFileSync(join(snapshot, 'model.safetensors'))).toEqual(weights)
  })

  it('with files in place of links where there are none', async () => {
    hub.add('org/name', checkpoint)
    const { snapshot } = await ensure('org/name', { env: { ...env, HF_HUB_DISABLE_SYMLINKS: '1' } })
    expect(lstatSync(join(snapshot, 'model.safetensors')).isFile()).toBe(true)
    expect(readFileSync(join(snapshot, 'model.safetensors'))).toEqual(weights)
    expect(await ensure('org/name')).toMatchObject({ cached: true })
  })
})

describe('GGUF', () => {
  const gguf = Buffer.concat([Buffer.from('GGUF'), randomBytes(2000)])

  it('by file, by quantisation, or the only one', async () => {
    hub.add('org/many', {
      'm-Q4_K_M.gguf': gguf,
      'm-UD-Q4_K_M.gguf': gguf,
      'm-Q4_0.gguf': gguf,
      'm-IQ4_0.gguf': 'x',
      'mmproj-f16.gguf': gguf,
      'config.json': '{}',
    })
    expect(await ensure('org/many:m-Q4_0.gguf')).toMatchObject({ file: 'm-Q4_0.gguf', files: ['m-Q4_0.gguf'] })
    const { path, snapshot } = await ensure('org/many:q4_k_m')
    expect(path).toBe(join(snapshot, 'm-Q4_K_M.gguf'))
    expect((await ensure('org/many:UD-Q4_K_M')).file).toBe('m-UD-Q4_K_M.gguf')
    expect((await ensure('org/many:Q4_0')).file).toBe('m-Q4_0.gguf')
    const several = await failure('org/many')
    expect(several.code).toBe('ambiguous_file')
    expect(several.message).toContain('m-Q4_0.gguf, m-Q4_K_M.gguf')
    expect(several.message).not.toContain('mmproj')
    expect(await failure('org/many:Q8_0')).toMatchObject({ code: 'file_not_found' })
    expect(await failure('org/many:none.gguf')).toMatchObject({ code: 'file_not_found' })
    hub.add('org/one', { 'sub/only.gguf': gguf })
    expect((await ensure('org/one')).file).toBe('sub/only.gguf')
    // the note that others make of a file that is not there
    const [commit] = readdirSync(join(repository('org/many'), '.no_exist'))
    expect(existsSync(join(repository('org/many'), '.no_exist', commit!, 'none.gguf'))).toBe(true)
  })

  it('with all parts of a split one', async () => {
    const parts = ['Q8_0/m-Q8_0-00001-of-00002.gguf', 'Q8_0/m-Q8_0-00002-of-00002.gguf']
    hub.add('org/split', { [parts[0]!]: gguf, [parts[1]!]: randomBytes(3000), 'm-Q2_K.gguf': gguf })
    expect(await ensure('org/split:Q8_0')).toMatchObject({ file: parts[0], files: parts })
    hub.add('org/half', { 'm-00001-of-00002.gguf': gguf })
    expect((await failure('org/half')).message).toMatch(/m-00002-of-00002\.gguf/)
  })
})

describe('broken connections', () => {
  it('are taken up where they broke', async () => {
    hub.add('org/name', checkpoint)
    hub.deliver = (path, attempt) => (path === 'model.safetensors' && attempt <= 3 ? { cutAfter: 100_000 } : {})
    const seen: DownloadProgress[] = []
    const notices: string[] = []
    const { snapshot } = await ensure('org/name', { onProgress: (each) => seen.push(each), onNotice: (each) => notices.push(each) })
    expect(readFileSync(join(snapshot, 'model.safetensors'))).toEqual(weights)
    const ranges = hub
      .bodies('model.safetensors')
      .filter(({ host }) => host === 'store')
      .map(({ range }) => range)
    expect(ranges).toHaveLength(4)
    expect(ranges[0]).toBeUndefined()
    // bytes that were on their way when the connection broke may be lost, no more than that
    for (const range of ranges.slice(1)) expect(Number(/^bytes=(\d+)-$/.exec(range!)![1])).toBeGreaterThan(50_000)
    expect(notices.length).toBe(3)
    expectSteady(seen)
  })

  it('that stay broken are an error; the next attempt goes on', async () => {
    hub.add('org/name', checkpoint)
    hub.deliver = (path, attempt) => (path !== 'model.safetensors' ? {} : attempt === 1 ? { cutAfter: 150_000 } : { cutAfter: 0 })
    expect(await failure('org/name')).toMatchObject({ code: 'unreachable' })
    const partial = join(repository(), 'blobs', `${sha256(weights)}.incomplete`)
    const kept = statSync(partial).size
    expect(kept).toBeGreaterThan(100_000)
    expect(existsSync(join(repository(), 'refs/main'))).toBe(false)
    hub.deliver = () => ({})
    hub.requests.length = 0
    const seen: DownloadProgress[] = []
    const { snapshot } = await ensure('org/name', { onProgress: (each) => seen.push(each) })
    expect(hub.bodies('model.safetensors').at(-1)!.range).toBe(`bytes=${kept}-`)
    expect(readFileSync(join(snapshot, 'model.safetensors'))).toEqual(weights)
    expect(existsSync(partial)).toBe(false)
    expectSteady(seen)
    expect(seen.at(-1)!.received).toBeLessThan(weights.length)
  })

  it('a server that cannot go on in the middle starts anew', async () => {
    hub.add('org/name', checkpoint)
    hub.deliver = (path, attempt) => (path !== 'model.safetensors' ? {} : attempt === 1 ? { cutAfter: 200_000 } : { ignoreRange: true })
    const seen: DownloadProgress[] = []
    const { snapshot } = await ensure('org/name', { onProgress: (each) => seen.push(each) })
    expect(readFileSync(join(snapshot, 'model.safetensors'))).toEqual(weights)
    expectSteady(seen)
  })

  it('a connection that falls silent is given up', async () => {
    hub.add('org/name', checkpoint)
    hub.deliver = (path, attempt) => (path === 'model.safetensors' && attempt === 1 ? { delayMs: 60_000 } : {})
    const { snapshot } = await ensure('org/name', { env: { ...env, HF_HUB_DOWNLOAD_TIMEOUT: '0.2' } })
    expect(readFileSync(join(snapshot, 'model.safetensors'))).toEqual(weights)
  })

  it('a busy server is asked again, as late as it wants', async () => {
    hub.add('org/name', checkpoint)
    hub.failWith = { status: 503, times: 2 }
    await ensure('org/name')
    hub.add('org/other', checkpoint)
    hub.failWith = { status: 429, times: 1, headers: { 'retry-after': '0' } }
    await ensure('org/other')
    hub.failWith = { status: 500, times: 1000 }
    expect(await failure('org/third')).toMatchObject({ code: 'server_error' })
    hub.failWith = { status: 429, times: 1000, headers: { 'retry-after': '0' } }
    expect(await failure('org/third')).toMatchObject({ code: 'rate_limited' })
  })

  it('are the cache, when it has the model', async () => {
    hub.add('org/name', checkpoint)
    const { commit } = await ensure('org/name')
    const notices: string[] = []
    hub.failWith = { status: 502, times: 1000 }
    expect(await ensure('org/name', { onNotice: (each) => notices.push(each) })).toMatchObject({ commit, cached: true })
    expect(notices.at(-1)).toMatch(/that is used/)
    expect(await failure('org/name', { force: true })).toMatchObject({ code: 'server_error' })
  })

  it('no server at all', async () => {
    const endpoint = hub.endpoint
    await hub[Symbol.asyncDispose]()
    const error = await failure('org/name')
    expect(error.code).toBe('unreachable')
    expect(error.message).toContain(endpoint)
    hub = await HubServer.start()
    expect(await failure('org/name', { env: { ...env, HF_ENDPOINT: 'no address' } })).toMatchObject({ code: 'unreachable' })
  })
})

describe('wrong bytes', () => {
  it('are not kept', async () => {
    hub.add('org/name', checkpoint)
    const wrong = Buffer.from(weights)
    wrong[1000]! ^= 1
    hub.deliver = (path) => (path === 'model.safetensors' ? { content: wrong } : {})
    const error = await failure('org/name')
    expect(error.code).toBe('checksum_mismatch')
    expect(error.message).toContain('model.safetensors')
    expect(blobs().filter((name) => name.startsWith(sha256(weights)))).toEqual([])
    expect(existsSync(join(repository(), 'refs/main'))).toBe(false)
    hub.add('org/text', checkpoint)
    hub.deliver = (path) => (path === 'config.json' ? { content: Buffer.from(config.replace('L', 'M')) } : {})
    expect(await failure('org/text')).toMatchObject({ code: 'checksum_mismatch' })
    hub.add('org/long', checkpoint)
    hub.deliver = (path) => (path === 'model.safetensors' ? { content: Buffer.concat([weights, weights]) } : {})
    expect(await failure('org/long')).toMatchObject({ code: 'size_mismatch' })
    expect(blobs('org/long').filter((name) => name.startsWith(sha256(weights)))).toEqual([])
  })

  it('in what an earlier attempt left are replaced', async () => {
    hub.add('org/name', checkpoint)
    await ensure('org/name', { include: ['config.json'] })
    writeFileSync(join(repository(), 'blobs', `${sha256(weights)}.incomplete`), Buffer.alloc(5000))
    const { snapshot } = await ensure('org/name')
    expect(readFileSync(join(snapshot, 'model.safetensors'))).toEqual(weights)
    // longer than the file; and as long as the file
    for (const length of [weights.length + 1, weights.length]) {
      rmSync(join(repository(), 'blobs', sha256(weights)))
      writeFileSync(join(repository(), 'blobs', `${sha256(weights)}.incomplete`), Buffer.alloc(length))
      await ensure('org/name')
      expect(readFileSync(join(snapshot, 'model.safetensors'))).toEqual(weights)
    }
  })

  it('a blob that was cut short is replaced', async () => {
    hub.add('org/name', checkpoint)
    const { snapshot } = await ensure('org/name')
    writeFileSync(join(repository(), 'blobs', sha256(weights)), weights.subarray(0, 100))
    expect(await ensure('org/name')).toMatchObject({ cached: false })
    expect(readFileSync(join(snapshot, 'model.safetensors'))).toEqual(weights)
  })

  it('names that lead out of the cache are no files', async () => {
    hub.add('org/name', { ...checkpoint, '../../../../evil.json': 'x', '/etc/evil': 'x' })
    expect((await ensure('org/name', { include: ['*'] })).files).toEqual(['config.json', 'tokenizer.json', 'model.safetensors'])
  })
})

describe('what cannot be had', () => {
  const cases: [string, HubErrorCode, RegExp][] = [
    ['org/none', 'repository_not_found', /no repository 'org\/none'.*give a token/],
    ['org/name@v9', 'revision_not_found', /no revision 'v9'/],
    [`org/name@${'0'.repeat(40)}`, 'revision_not_found', /no revision/],
    ['org/private', 'repository_not_found', /private/],
    ['org/gated', 'gated', /Accept its terms on http.*org\/gated.*HF_TOKEN/],
    ['org/bin', 'no_model', /\.bin/],
    ['org/nothing', 'no_model', /neither/],
  ]

  beforeEach(() => {
    hub.add('org/name', checkpoint)
    hub.add('org/private', checkpoint, { private: true })
    hub.add('org/gated', checkpoint, { gated: true })
    hub.add('org/bin', { 'config.json': '{}', 'pytorch_model.bin': 'x' })
    hub.add('org/nothing', { 'README.md': '' })
  })

  it.each(cases)('%s: %s', async (name, code, message) => {
    const error = await failure(name)
    expect(error.code).toBe(code)
    expect(error.message).toMatch(message)
    expect(readdirSync(cache).filter((each) => each.startsWith('models--'))).toEqual([])
  })

  it('from a server that gives no codes', async () => {
    hub.errorCodes = false
    expect(await failure('org/none')).toMatchObject({ code: 'repository_not_found' })
    expect(await failure('org/name@v9')).toMatchObject({ code: 'revision_not_found' })
  })

  it('from a server that knows files alone', async () => {
    hub.filesOnly = true
    const commit = hub.add('org/name', { ...checkpoint, 'config.json': '{"a":2}' }, { ref: 'refs/pr/2' })
    expect(await ensure('org/name@refs/pr/2')).toMatchObject({ commit })
    expect(await failure('org/none')).toMatchObject({ code: 'repository_not_found' })
    expect(await failure('org/name@v9')).toMatchObject({ code: 'revision_not_found' })
    hub.filesOnly = false
    for (const [status, message] of [
      [401, /private or gated.*HF_TOKEN/],
      [403, /refused.*HF_TOKEN.*accept its terms/],
    ] as const) {
      hub.failWith = { status, times: 1 }
      const error = await failure('org/name')
      expect(error.code).toBe(status === 401 ? 'repository_not_found' : 'forbidden')
      expect(error.message).toMatch(message)
    }
  })

  it('a token opens what is private or gated, from each of its places', async () => {
    await ensure('org/private', { token: validToken })
    await ensure('org/gated', { env: { ...env, HF_TOKEN: `${validToken}\n` } })
    const file = join(cache, 'token')
    writeFileSync(file, `${validToken}\n`)
    await ensure('org/gated', { force: true, env: { ...env, HF_TOKEN_PATH: file } })
    const wrong = await failure('org/name', { env: { ...env, HF_TOKEN: 'hf_wrong' } })
    expect(wrong.code).toBe('wrong_token')
    expect(wrong.message).toContain('HF_TOKEN')
    expect(wrong.message).not.toContain('hf_wrong')
    expect(await failure('org/name', { token: 'a\u00e9b c' })).toMatchObject({ code: 'wrong_token' })
  })

  it('the token is for the endpoint alone', async () => {
    await ensure('org/gated', { token: validToken })
    const stored = hub.requests.filter(({ host }) => host === 'store')
    expect(stored.length).toBeGreaterThan(0)
    expect(stored.every(({ authorization }) => authorization === undefined)).toBe(true)
    expect(hub.requests.filter(({ host }) => host === 'hub').every(({ authorization }) => authorization === `Bearer ${validToken}`)).toBe(
      true,
    )
  })

  it('offline', async () => {
    const offline = { ...env, HF_HUB_OFFLINE: '1' }
    expect(await failure('org/name', { env: offline })).toMatchObject({ code: 'offline' })
    expect(hub.requests).toEqual([])
    await ensure('org/name', { include: ['config.json'] })
    expect((await failure('org/name', { env: offline })).message).toMatch(/only a part/)
    const { commit } = await ensure('org/name')
    expect(await ensure('org/name', { env: offline })).toMatchObject({ commit, cached: true })
    expect(await failure('org/name', { env: offline, force: true })).toMatchObject({ code: 'offline' })
  })

  it('ids that are none', async () => {
    for (const name of [
      '../x',
      'a/../b',
      '/etc/passwd',
      'a/b/c',
      'a--b',
      'a/b@',
      'a/b@..',
      'a/b:../x.gguf',
      'a/b:',
      `a/${'b'.repeat(200)}`,
      '',
      'a b',
      'a/b:x y',
    ]) {
      expect(await failure(name), name).toMatchObject({ code: 'invalid_id' })
    }
    expect(hub.requests).toEqual([])
  })

  it('a cache that cannot be written', async () => {
    const file = join(cache, 'file')
    writeFileSync(file, '')
    expect((await failure('org/name', { cacheDir: file })).code).toMatch(/cache_error|permission_denied/)
  })
})

describe('an end in the middle', () => {
  it('keeps what has arrived for the next time', async () => {
    hub.add('org/name', checkpoint)
    hub.deliver = (path) => (path === 'model.safetensors' ? { delayMs: 5, chunkBytes: 20_000 } : {})
    const stop = new AbortController()
    const onProgress = ({ current }: DownloadProgress) => current > 150_000 && stop.abort()
    expect(await failure('org/name', { signal: stop.signal, onProgress })).toMatchObject({ code: 'aborted' })
    const kept = statSync(join(repository(), 'blobs', `${sha256(weights)}.incomplete`)).size
    expect(kept).toBeGreaterThan(100_000)
    hub.deliver = () => ({})
    await ensure('org/name')
    expect(hub.bodies('model.safetensors').at(-1)!.range).toBe(`bytes=${kept}-`)
    const before = AbortSignal.abort()
    expect(await failure('org/name', { signal: before })).toMatchObject({ code: 'aborted' })
  })

  it('one failure ends all', async () => {
    const many = Object.fromEntries(Array.from({ length: 6 }, (_, at) => [`f${at}.txt`, randomBytes(30_000)]))
    hub.add('org/name', many)
    hub.deliver = (path) => (path === 'f0.txt' ? { status: 403 } : { delayMs: 50, chunkBytes: 100 })
    const started = performance.now()
    expect(await failure('org/name', { include: ['*'] })).toMatchObject({ code: 'forbidden' })
    expect(performance.now() - started).toBeLessThan(5000)
  })
})
