#!/usr/bin/env node
// npm run bench -- <command> [options]: each command measures one thing and writes JSON and a drawing to bench/results/.
import { parseArgs } from 'node:util'

const commands = {
  serve: {
    about: 'TTFT, ITL and tokens/s of our server beside a llama-server, alternating in one run',
    options: {
      model: 'DIR      checkpoint directory or GGUF file for our server',
      peer: 'PATH     a llama-server binary; without it only our server is measured',
      'peer-model': 'FILE     the same weights as GGUF',
      streams: 'LIST     streams at once (default 1,8,32)',
      rounds: 'N        rounds, each in another order (default 3)',
      requests: 'N        chats a stream (default 4 for one stream, 2 up to 8, else 1)',
      words: 'N        words a prompt (default 380)',
      'max-tokens': 'N        tokens an answer (default 64)',
      flags: 'TEXT     further flags for our server (default "--dtype bfloat16")',
      json: 'FILE     where to write (default bench/results/serve.json)',
    },
  },
  front: {
    about: 'what HTTP costs: CPU of the front process over a stand-in for the model, uWebSockets beside node:http',
    options: {
      streams: 'LIST     streams at once (default 64)',
      rounds: 'N        rounds (default 3)',
      'max-tokens': 'N        tokens an answer (default 256)',
      'step-ms': 'N        time of a stand-in step (default 30)',
      json: 'FILE',
    },
  },
  attention: {
    about: 'our paged attention beside upstream cache and attention, in one process, no HTTP',
    options: {
      model: 'DIR      checkpoint',
      streams: 'LIST     sequences at once (default 1,8,32)',
      rounds: 'N        rounds (default 3)',
      context: 'N        prompt tokens a sequence (default 512)',
      'max-tokens': 'N        tokens generated (default 64)',
      dtype: 'TYPE     weights (default bfloat16)',
      'kv-dtype': 'TYPE     KV cache (default float16)',
      json: 'FILE',
    },
  },
  prefix: {
    about: 'the first token of a long prompt: first time, and again with the prefix cached',
    options: {
      model: 'DIR      checkpoint',
      tokens: 'N        tokens of the prefix (default 2000)',
      rounds: 'N        rounds, each with a new prefix (default 5)',
      dtype: 'TYPE     weights (default bfloat16)',
      json: 'FILE',
    },
  },
  transcribe: {
    about: 'speech to text: real-time factor, alone and with requests at once, beside the transformers library',
    options: {
      model: 'DIR      Whisper checkpoint directory',
      file: 'FILE     recording; a wav of 16000 samples a second of 16 bits where --python is given',
      python: 'PATH     a python with transformers and torch; without it only our server is measured',
      streams: 'LIST     requests at once (default 1,4)',
      rounds: 'N        rounds, each in another order (default 3)',
      requests: 'N        recordings a stream (default 2)',
      threads: 'N        threads of each contender (default: the cores)',
      flags: 'TEXT     further flags for our server (default "--dtype float32")',
      json: 'FILE',
    },
  },
  perplexity: {
    about: 'perplexity over a text, beside a reference: what weights, cache and kernels cost in quality',
    options: {
      model: 'MODEL    checkpoint directory, GGUF file or an id in the cache (default: the embedded model)',
      text: 'FILE     UTF-8 text (default: LICENSE)',
      ids: 'FILE     token ids in place of a text, e.g. a JSON array',
      tokens: 'N        only the first N tokens',
      context: 'N        tokens a window (default: the context of the model)',
      stride: 'N        from one window to the next (default: the window)',
      at: 'LIST     also the sums of the first so many tokens',
      reference: 'N        a perplexity to compare with',
      dtype: 'TYPE     weights (default auto)',
      'kv-dtype': 'TYPE     KV cache (default: follows the weights)',
      threads: 'N',
      json: 'FILE',
    },
  },
}

function usage() {
  const lines = ['Usage: npm run bench -- <command> [MODEL] [options]', '']
  for (const [name, { about, options }] of Object.entries(commands)) {
    lines.push(`${name}: ${about}`)
    for (const [option, text] of Object.entries(options)) lines.push(`  --${option.padEnd(12)} ${text}`)
    lines.push('')
  }
  return lines.join('\n')
}

const [name, ...args] = process.argv.slice(2)
const command = Object.hasOwn(commands, name ?? '') ? commands[name] : undefined
if (!command || args.includes('--help')) {
  console.log(usage())
  process.exitCode = command || name === undefined || name === '--help' ? 0 : 2
} else {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: 'model' in command.options,
      options: Object.fromEntries(Object.keys(command.options).map((option) => [option, { type: 'string' }])),
    })
    if (positionals.length > 1 || (positionals.length > 0 && values.model !== undefined)) throw new Error('Name one model.')
    if (positionals.length > 0) values.model = positionals[0]
    const { run } = await import(`./${name}.mjs`)
    await run(values)
  } catch (error) {
    console.error(`bench ${name}: ${error.message}`)
    process.exitCode = 1
  }
}
