// Mistakes on the command line get one clear sentence.
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { parseServeArguments, UsageError } from '../../src/cli/options.js'
import { runCommand } from '../support/cli.js'

const oneSentence = (stderr: string) => {
  expect(stderr.trim().split('\n')).toHaveLength(1)
  expect(stderr).toMatch(/^tfserve: .+/)
  expect(stderr).not.toMatch(/\n\s+at /)
}

test.each([
  [['--no-such-flag'], '--no-such-flag'],
  [['--port', 'abc'], '--port'],
  [['--port', '70000'], '--port'],
  [['--port'], '--port'],
  [['--port', '-1'], "an integer from 0 to 65535 for --port but received '-1'"],
  [['--model-timeout', '-2'], "an integer from -1 to 2147483647 for --model-timeout but received '-2'"],
  [['--max-batch-tokens', '0'], '--max-batch-tokens'],
  [['--max-batch-tokens', '1.5'], '--max-batch-tokens'],
  [['--max-num-seqs', '257'], '--max-num-seqs'],
  [['--dtype', 'int3'], '--dtype'],
  [['--quantization', 'q3'], "mxfp4, bnb-4bit, bnb-8bit, none for --quantization but received 'q3'"],
  [['--kv-cache-dtype', 'x'], '--kv-cache-dtype'],
  [['--kv-cache-memory', 'lots'], '--kv-cache-memory'],
  [['--chat-template-kwargs', '[]'], '--chat-template-kwargs'],
  [['--block-size', '24'], '--block-size'],
  [['--transport', 'http3'], '--transport'],
  [['one', 'two'], 'one, two'],
  [['one', '--force-model', 'two'], 'one, two'],
  [['--device', 'cuda:0'], 'computes on the processor'],
  [['--cb-num-blocks', '64'], '--kv-cache-memory'],
  [['--decision-config', 'x.json'], '/v1/systemone'],
  [['--max-loaded-models', '0'], '--max-loaded-models'],
  [['--memory-limit', 'much'], '--memory-limit'],
  [['serve', '--model-id', 'x'], '--model-id'],
])('%j ends with 2 and one sentence', async (args, named) => {
  const { code, stdout, stderr } = await runCommand(...args)
  expect(code).toBe(2)
  expect(stdout).toBe('')
  oneSentence(stderr)
  expect(stderr).toContain(named)
})

test('--help names every option of the table, and nothing hidden', async () => {
  const { code, stdout, stderr } = await runCommand('--help')
  expect(code).toBe(0)
  expect(stderr).toBe('')
  for (const flag of ['--port', '--dtype', 'continuous-batching', '--kv-cache-memory', '--max-batch-tokens', '--max-model-len'])
    expect(stdout).toContain(flag)
  expect(stdout).not.toContain('stand-in')
})

test.each([
  ['--model-timeout', '-1', '--port', '0'],
  ['--port', '0', '--model-timeout=-1'],
])('a negative number is a value: %s %s %s', (...args) => {
  expect(parseServeArguments(args).values).toEqual({ 'model-timeout': -1, port: 0 })
})

test('a model is named by its place, by --force-model, or both alike', () => {
  for (const args of [['org/a'], ['serve', 'org/a'], ['--force-model', 'org/a'], ['serve', 'org/a', '--force-model=org/a']]) {
    expect(parseServeArguments(args).model).toBe('org/a')
  }
  expect(parseServeArguments(['serve'])).toMatchObject({ model: undefined, serve: true })
  expect(parseServeArguments([])).toMatchObject({ model: undefined, serve: false })
})

test('--allow-local may come several times', () => {
  expect(parseServeArguments(['--allow-local', '/a', '--allow-local=/b']).values['allow-local']).toEqual(['/a', '/b'])
})

test('what transformers serve takes is taken; what changes nothing here is said', () => {
  const quiet = [
    '--continuous-batching',
    '--no-compile',
    '--no-trust-remote-code',
    '--no-cb-use-cuda-graph',
    '--device',
    'cpu',
    '--dtype',
    'bfloat16',
  ]
  quiet.push(
    '--format',
    'json',
    '--json',
    '-q',
    '--no-truncate',
    '--log-level',
    'critical',
    '--cb-block-size',
    '256',
    '--model-timeout',
    '-1',
  )
  expect(parseServeArguments(quiet).notes).toEqual([])
  expect(parseServeArguments(quiet).values).toMatchObject({ 'log-level': 'error', 'cb-block-size': 256 })
  const { notes } = parseServeArguments(['--compile', '--attn-implementation', 'sdpa', '--trust-remote-code', '--cb-use-cuda-graph'])
  expect(notes.map((note) => note.split(' ')[0])).toEqual([
    '--attn-implementation',
    '--compile',
    '--cb-use-cuda-graph',
    '--trust-remote-code',
  ])
})

test('--trust-remote-code runs no code, and says so', async () => {
  const { stderr } = await runCommand('no-org/no-such-model', '--trust-remote-code', '--port', '0')
  expect(stderr).toContain('warning: --trust-remote-code has no effect: code from model repositories is never run')
})

test('what follows -- is no flag', () => {
  expect(parseServeArguments(['--', '--port']).model).toBe('--port')
  expect(() => parseServeArguments(['--port', '--', '-1'])).toThrow(UsageError)
})

test('--version prints the version', async () => {
  const { code, stdout } = await runCommand('--version')
  expect(code).toBe(0)
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\S*\n$/)
})

test.each([['./no/such/folder'], ['no-org/no-such-model'], ['/dev/null']])(
  'a model that cannot be served, %s, ends with 1 and a sentence',
  async (model) => {
    const { code, stderr } = await runCommand(model, '--port', '0')
    expect(code).toBe(1)
    expect(stderr).toMatch(/^tfserve: error: .+/m)
    expect(stderr).not.toMatch(/\n\s+at /)
  },
)

test('a port that is taken', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => other.once('listening', resolve))
  try {
    const { port } = other.address() as AddressInfo
    for (const transport of ['uws', 'node']) {
      const { code, stderr } = await runCommand('--port', String(port), '--host', '127.0.0.1', '--transport', transport)
      expect(code).toBe(1)
      expect(stderr).toContain(String(port))
      expect(stderr).not.toMatch(/\n\s+at /)
    }
  } finally {
    other.close()
  }
})
