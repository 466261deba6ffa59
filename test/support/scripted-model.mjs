// A text model whose prompts (or last chat messages) say what happens: "count 5 every 2" gives the words 0 1 2 3 4, one every 2 ms. For tests of the
// worker, in process and (through scripted-worker.mjs) in a child process.
//   count N [every MS] [burst B]   B words a turn; n choices get the same
//   refuse | broken                start rejects with a RequestError | another error
//   early                          deltas before start resolves
//   kill | throw | hang            SIGKILL itself | an uncaught error | an endless loop, after the first word
//   silent                         accepted, and nothing more until aborted
//   never                          start does not answer

/** @param {new (code: string, message: string, param?: string | null) => Error} RequestError */
export function scriptedModel(RequestError, { word = (i) => `${i} ` } = {}) {
  const open = new Set()
  let steps = 0
  let closed = false
  return {
    info: {
      kind: 'text',
      id: 'scripted',
      revision: 'main',
      created: 1,
      architecture: 'script',
      dtype: 'float32',
      quantization: 'none',
      kvCacheDtype: 'float32',
      parameters: 0,
      weightBytes: 0,
      vocabSize: 10,
      maxModelLen: 100,
      pagedKv: true,
      blockSize: 16,
      kvGroups: [{ blocks: 1, window: 0 }],
      kvBlocks: 1,
      kvBytes: 1,
      maxNumSeqs: 1,
      maxBatchTokens: 1,
      threads: 1,
      attentionKernel: 'none',
      hasChatTemplate: false,
      loadMs: 1,
      timings: { files: 0, weights: 1, quantize: 0, tokenizer: 0, vocabulary: 0, context: 0, firstToken: 0 },
    },
    warnings: ['made up'],
    open,
    get closed() {
      return closed
    },
    async close() {
      closed = true
      for (const generation of [...open]) generation.abort()
    },
    async stats() {
      const zero =
        'waiting blocksTotal blocksFree blocksCached promptTokens cachedPromptTokens computedTokens outputTokens preemptions prefixQueries prefixHits evictions blockCopies abortsWaiting abortsPrefill abortsDecode lastStepMs'
      return { ...Object.fromEntries(zero.split(' ').map((key) => [key, 0])), running: open.size, steps }
    },
    async start(request, onDelta) {
      const { input } = request
      const text = input.kind === 'chat' ? String(input.messages.at(-1)?.content) : (input.text ?? '')
      const [verb, ...rest] = text.split(' ')
      const option = (name, otherwise) => (rest.includes(name) ? Number(rest[rest.indexOf(name) + 1]) : otherwise)
      const n = request.n ?? 1
      if (verb === 'refuse') throw new RequestError('context_length_exceeded', 'too long', 'messages')
      if (verb === 'broken') throw new TypeError('a bug')
      if (verb === 'never') return new Promise(() => undefined)
      let sent = 0
      let timer
      const emit = (choice, more) => {
        onDelta({ choice, text: '', tokens: [], promptTokens: 4, cachedTokens: 1, outputTokens: sent, ...more })
      }
      const finish = (finishReason) => {
        if (!open.delete(generation)) return
        clearInterval(timer)
        for (let choice = 0; choice < n; choice++) emit(choice, { finishReason })
      }
      const generation = {
        promptTokens: 4,
        abort: () => setImmediate(() => finish('abort')),
        pause() {
          throw new Error('the worker keeps text itself')
        },
        resume() {},
      }
      open.add(generation)
      const total = verb === 'count' || verb === 'early' ? Number(rest[0] ?? 3) : verb === 'silent' ? 0 : 1
      const burst = verb === 'early' ? total : option('burst', 1)
      const turn = () => {
        for (let i = 0; i < burst && sent < total; i++) {
          steps++
          const text = word(sent)
          sent++
          for (let choice = 0; choice < n; choice++) emit(choice, { text, tokens: [sent] })
        }
        if (sent < total) return
        clearInterval(timer)
        if (verb === 'count' || verb === 'early') finish('stop')
        if (verb === 'kill') setTimeout(() => process.kill(process.pid, 'SIGKILL'), 20)
        if (verb === 'throw')
          setTimeout(() => {
            throw new Error('thrown on purpose')
          }, 20)
        if (verb === 'hang')
          setTimeout(() => {
            for (;;);
          }, 20)
      }
      if (verb === 'early') turn()
      else if (verb !== 'silent') timer = setInterval(turn, option('every', 1))
      return generation
    },
  }
}
