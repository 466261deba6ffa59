// Reading caches that others made: the layout as huggingface_hub leaves it, and what can go wrong in it.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { modelTable } from '../../src/cli/models.js'
import { ensureModel } from '../../src/hub/ensure-model.js'
import { type LoadedName, modelRows } from '../../src/hub/model-rows.js'
import { type CachedRevision, scanCache } from '../../src/hub/scan-cache.js'
import { servableArchitectures } from '../../src/hub/servable.js'
import { resolveModel } from '../../src/models/resolve.js'

const one = '1'.repeat(40)
const two = '2'.repeat(40)
const llama = '{"architectures":["LlamaForCausalLM"],"model_type":"llama"}'
let cache: string
let found: CachedRevision[]

/** Puts a file into a snapshot the way huggingface_hub does. */
function put(id: string, commit: string, path: string, content: string): void {
  const folder = join(cache, `models--${id.replace('/', '--')}`)
  const blob = join(folder, 'blobs', `${commit.slice(0, 8)}-${path.replaceAll('/', '-')}`)
  const pointer = join(folder, 'snapshots', commit, path)
  for (const each of [blob, pointer]) mkdirSync(dirname(each), { recursive: true })
  writeFileSync(blob, content)
  symlinkSync(relative(dirname(pointer), blob), pointer)
}

function ref(id: string, name: string, commit: string): void {
  const path = join(cache, `models--${id.replace('/', '--')}`, 'refs', name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, commit)
}

function checkpoint(id: string, commit: string, files: Record<string, string> = {}): void {
  const all = { 'config.json': llama, 'tokenizer.json': '{}', 'model.safetensors': 'weights', ...files }
  for (const [path, content] of Object.entries(all)) if (content !== '') put(id, commit, path, content)
  ref(id, 'main', commit)
}

beforeAll(async () => {
  cache = mkdtempSync(join(tmpdir(), 'tfserve-cache-'))
  checkpoint('org/good', one)
  put('org/good', two, 'config.json', llama)
  put('org/good', two, 'tokenizer.json', '{}')
  put('org/good', two, 'model.safetensors', 'other weights')
  ref('org/good', 'refs/pr/1', two)
  const whisper = { 'config.json': '{"architectures":["WhisperForConditionalGeneration"]}', 'tokenizer.json': '' }
  checkpoint('org/speech', one, { ...whisper, 'vocab.json': '{}', 'merges.txt': '' })
  checkpoint('org/speechless', one, whisper)
  checkpoint('org/other', one, { 'config.json': '{"architectures":["Wav2Vec2ForCTC"]}' })
  checkpoint('org/quantised', one, { 'config.json': llama.replace('}', ',"quantization_config":{"quant_method":"gptq"}}') })
  checkpoint('org/tokenless', one, { 'tokenizer.json': '' })
  checkpoint('org/weightless', one, { 'model.safetensors': '' })
  checkpoint('org/pickled', one, { 'model.safetensors': '', 'pytorch_model.bin': 'x' })
  checkpoint('org/broken', one, { 'config.json': '[' })
  checkpoint('org/shards', one, {
    'model.safetensors': '',
    'model.safetensors.index.json': '{"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}',
    'a.safetensors': 'a',
  })
  for (const file of ['m-Q4_0.gguf', 'm-Q8_0.gguf', 's/m-F16-00001-of-00002.gguf', 's/m-F16-00002-of-00002.gguf'])
    put('org/gguf', one, file, 'GGUF and more')
  put('org/gguf', one, 'not.gguf', 'something else')
  put('org/gguf', one, 'half-00001-of-00002.gguf', 'GGUF')
  put('org/gguf', one, 'mmproj-m.gguf', 'GGUF')
  ref('org/gguf', 'main', one)
  put('gpt2', one, 'config.json', llama)
  ref('gpt2', 'main', one)
  put('org/by-commit', one, 'm.gguf', 'GGUF')
  // a link that leads out of the cache
  checkpoint('org/evil', one, { 'config.json': '' })
  symlinkSync('/etc/hostname', join(cache, 'models--org--evil/snapshots', one, 'config.json'))
  // not the cache's own
  for (const folder of ['datasets--org--data/snapshots', '.locks/models--org--good', 'models--a--b--c', 'models--..--x/snapshots']) {
    mkdirSync(join(cache, folder), { recursive: true })
  }
  mkdirSync(join(cache, 'models--org--good/.no_exist', one), { recursive: true })
  writeFileSync(join(cache, 'models--org--good/.no_exist', one, 'm.gguf'), '')
  writeFileSync(join(cache, 'version.txt'), '1')
  found = await scanCache(cache)
})
afterAll(() => rmSync(cache, { recursive: true, force: true }))

const obstacle = (id: string, file?: string): string | undefined => {
  const model = found.find((each) => each.id === id)!.models.find((each) => each.file === file)
  expect(model, `${id}:${file}`).toBeDefined()
  return model!.obstacle
}

describe('what the cache holds', () => {
  it('by refs, main first', () => {
    expect(found.filter(({ id }) => id === 'org/good')).toMatchObject([
      { revision: 'main', commit: one, named: true, size: llama.length + 2 + 7 },
      { revision: 'refs/pr/1', commit: two, named: true },
    ])
    expect(found.filter(({ id }) => id === 'org/by-commit')).toMatchObject([{ revision: one, commit: one, named: false }])
    expect(new Set(found.map(({ id }) => id)).has('a/b--c')).toBe(false)
  })

  it('can be served, or says why not', () => {
    expect(obstacle('org/good')).toBeUndefined()
    expect(obstacle('org/speech')).toBeUndefined()
    expect(obstacle('org/speechless')).toMatch(/tokenizer/)
    expect(obstacle('org/other')).toMatch(/Wav2Vec2ForCTC is not supported: of speech models only Whisper is/)
    expect(obstacle('org/quantised')).toMatch(/gptq/)
    expect(obstacle('org/tokenless')).toMatch(/tokenizer/)
    expect(obstacle('org/weightless')).toMatch(/no weights in the cache: tfserve download/)
    expect(obstacle('org/pickled')).toMatch(/only there as \.bin files/)
    expect(obstacle('org/broken')).toMatch(/malformed/)
    expect(obstacle('org/shards')).toMatch(/b\.safetensors/)
    expect(obstacle('org/evil')).toMatch(/leads out/)
    expect(obstacle('org/gguf', 'm-Q4_0.gguf')).toBeUndefined()
    expect(obstacle('org/gguf', 's/m-F16-00001-of-00002.gguf')).toBeUndefined()
    expect(obstacle('org/gguf', 'not.gguf')).toMatch(/no GGUF/)
    expect(obstacle('org/gguf', 'half-00001-of-00002.gguf')).toMatch(/half-00002-of-00002\.gguf is missing/)
    const files = found.find(({ id }) => id === 'org/gguf')!.models.map(({ file }) => file)
    expect(files).not.toContain('mmproj-m.gguf')
    expect(files).not.toContain('s/m-F16-00002-of-00002.gguf')
  })

  it('nothing where nothing is', async () => {
    expect(await scanCache(join(cache, 'none'))).toEqual([])
  })

  it('as a table', () => {
    const rows = [
      { id: 'org/a', revision: 'main', commit: one, size: 2048, modified: '', servable: true, path: '' },
      { id: 'b', revision: one, commit: one, size: 1, modified: '', servable: false, reason: 'it is odd', path: '' },
    ]
    expect(modelTable(rows).split('\n')).toEqual([
      'ID     REVISION      SIZE     CAN BE SERVED',
      'org/a  main          2.0 KiB  yes',
      'b      111111111111  1 B      no: it is odd',
      '',
    ])
  })

  it('knows the families that the loader has', () => {
    const folder = join(import.meta.dirname, '../../native/loader/families')
    const sources = readdirSync(folder).filter((name) => name.endsWith('.cpp'))
    const names = sources.flatMap((name) =>
      [...readFileSync(join(folder, name), 'utf8').matchAll(/"(\w+For(?:CausalLM|ConditionalGeneration))"/g)].map(([, each]) => each!),
    )
    expect([...servableArchitectures].sort()).toEqual([...new Set(names)].sort())
  })
})

describe('the rows of /v1/models', () => {
  const ids = (rows: ReturnType<typeof modelRows>) => rows.map(({ id }) => id)

  it('a row a ref and a GGUF file that can be served', () => {
    const rows = modelRows(found)
    expect(ids(rows)).toEqual([
      'org/by-commit@' + one + ':m.gguf',
      'org/gguf:m-Q4_0.gguf',
      'org/gguf:m-Q8_0.gguf',
      'org/gguf:s/m-F16-00001-of-00002.gguf',
      'org/good',
      'org/good@refs/pr/1',
      'org/speech',
    ])
    for (const row of rows) {
      expect(Object.keys(row)).toEqual(['owned_by', 'id', 'object', 'created'])
      expect(row).toMatchObject({ owned_by: 'org', object: 'model' })
      expect(Number.isInteger(row.created)).toBe(true)
      expect(row.created).toBeGreaterThan(1_000_000_000)
    }
  })

  it('loaded ones first and marked, each once', () => {
    const loaded: LoadedName[] = [
      { id: 'org/gguf:m-Q8_0.gguf', revision: 'main', created: 5.5 },
      { id: 'tfserve-demo', revision: 'main', created: 1 },
      { id: 'org/good', revision: two, commit: two, created: 2 },
    ]
    const rows = modelRows(found, loaded)
    expect(rows.slice(0, 4)).toEqual([
      { owned_by: 'org', id: 'org/gguf:m-Q8_0.gguf', object: 'model', created: 5, loaded: true },
      { owned_by: 'local', id: 'tfserve-demo', object: 'model', created: 1, loaded: true },
      { owned_by: 'org', id: `org/good@${two}`, object: 'model', created: 2, loaded: true },
      expect.objectContaining({ id: 'org/good@refs/pr/1', loaded: true }),
    ])
    expect(new Set(ids(rows)).size).toBe(rows.length)
    expect(rows.find(({ id }) => id === 'org/good')).not.toHaveProperty('loaded')
  })
})

describe('a model of such a cache', () => {
  it('is used as it is', async () => {
    const env = { HF_HUB_CACHE: cache, HF_HUB_OFFLINE: '1' }
    const snapshot = join(cache, 'models--org--good/snapshots', one)
    expect(await ensureModel('org/good', { env })).toMatchObject({ path: snapshot, cached: true })
    expect(await ensureModel('org/gguf:F16', { env })).toMatchObject({ file: 's/m-F16-00001-of-00002.gguf' })
    await expect(ensureModel('org/good:m.gguf', { env })).rejects.toMatchObject({ code: 'file_not_found' })
    await expect(ensureModel('org/shards', { env })).rejects.toMatchObject({ code: 'offline' })
    expect(await resolveModel('org/gguf:q4_0', { env })).toMatchObject({ id: 'org/gguf:m-Q4_0.gguf', aliases: ['org/gguf:q4_0'] })
    await expect(resolveModel('org/gguf:Q2_K', { env })).rejects.toThrow(/tfserve download org\/gguf:Q2_K/)
    await expect(resolveModel('org/evil', { env })).rejects.toThrow(/leads out/)
  })
})
