// A speech model whose requests' prompts say what happens: "say 5 every 2" gives the segments w0 to w4, one every 2 ms, each of a second. Without a prompt:
// "say 3". For tests of the worker, in process and (through scripted-worker.mjs) in a child process, and of the routes.
//   say N [every MS]       N segments of one word
//   early N                deltas before transcribe resolves
//   refuse CODE | broken   rejects with a RequestError of that code | another error
//   fail                   the last delta is an error, after the first segment
//   kill | hang            SIGKILL itself | an endless loop, after the first segment
//   silent                 begun, and nothing more until aborted
//   never                  does not begin

/** @param {new (code: string, message: string, param?: string | null) => Error} RequestError */
export function scriptedSpeech(RequestError) {
  const open = new Set()
  const requests = []
  let steps = 0
  let closed = false
  return {
    info: {
      kind: 'speech',
      id: 'scripted-speech',
      revision: 'main',
      created: 1,
      architecture: 'script',
      dtype: 'float32',
      parameters: 0,
      weightBytes: 0,
      vocabSize: 10,
      multilingual: true,
      maxNumSeqs: 2,
      bytesPerSequence: 1,
      threads: 1,
      loadMs: 1,
      timings: { files: 0, weights: 1, quantize: 0, tokenizer: 0, vocabulary: 0, context: 0, firstToken: 0 },
    },
    warnings: [],
    open,
    requests,
    get closed() {
      return closed
    },
    async close() {
      closed = true
      for (const transcription of [...open]) transcription.abort()
      await new Promise((resolve) => setImmediate(resolve))
    },
    async stats() {
      const zero =
        'waiting blocksTotal blocksFree blocksCached promptTokens cachedPromptTokens computedTokens outputTokens preemptions prefixQueries prefixHits evictions blockCopies abortsWaiting abortsPrefill abortsDecode lastStepMs'
      return { ...Object.fromEntries(zero.split(' ').map((key) => [key, 0])), running: open.size, steps }
    },
    async transcribe(request, onDelta, signal) {
      signal?.throwIfAborted()
      requests.push(request)
      const [verb, ...rest] = (request.prompt ?? 'say 3').split(' ')
      if (verb === 'refuse') throw new RequestError(rest[0], 'refused on purpose', 'file')
      if (verb === 'broken') throw new TypeError('a bug')
      if (verb === 'never') {
        const gone = Promise.withResolvers()
        const waiting = { abort: () => gone.reject(signal?.reason ?? new Error('closed')) }
        open.add(waiting)
        signal?.addEventListener('abort', waiting.abort)
        return gone.promise.finally(() => open.delete(waiting))
      }
      const counts = verb === 'say' || verb === 'early'
      const total = counts ? Number(rest[0] ?? 3) : verb === 'silent' ? 0 : 1
      const every = rest.includes('every') ? Number(rest[rest.indexOf('every') + 1]) : 1
      let sent = 0
      let timer
      const emit = (more) => onDelta({ text: '', segments: [], position: sent, ...more })
      const finish = (more) => {
        if (!open.delete(transcription)) return
        clearInterval(timer)
        signal?.removeEventListener('abort', transcription.abort)
        emit(more)
      }
      const transcription = { abort: () => setImmediate(() => finish({ finishReason: 'abort' })) }
      const say = () => {
        const id = sent++
        const text = ` w${id}`
        const tokens = [id]
        const measures = { temperature: 0, avg_logprob: -0.5, compression_ratio: 1, no_speech_prob: 0.25 }
        const words = request.timestamps === 'word' ? { words: [{ word: `w${id}`, start: id, end: id + 1 }] } : {}
        const logprob = { token: text, logprob: -0.5, bytes: [...Buffer.from(text)], top_logprobs: [] }
        const segment = { id, seek: 0, start: id, end: id + 1, text, tokens, ...measures, ...words }
        emit({ text, segments: [segment], ...(request.logprobs && { logprobs: [logprob] }) })
      }
      const turn = () => {
        steps++
        if (sent < total) say()
        if (sent < total) return
        clearInterval(timer)
        if (counts) finish({ finishReason: 'stop' })
        if (verb === 'fail') finish({ finishReason: 'error', error: { code: 'engine_error', message: 'failed on purpose' } })
        if (verb === 'kill') setTimeout(() => process.kill(process.pid, 'SIGKILL'), 20)
        if (verb === 'hang')
          setTimeout(() => {
            for (;;);
          }, 20)
      }
      open.add(transcription)
      signal?.addEventListener('abort', transcription.abort, { once: true })
      if (verb === 'early') for (let i = 0; i < Math.max(total, 1); i++) turn()
      else if (verb !== 'silent') timer = setInterval(turn, every)
      return { duration: total, language: 'en', languageName: 'english', abort: transcription.abort }
    },
  }
}
