import { describe, expect, test } from 'vitest'
import type { TranscribeRequest } from '../../src/engine/speech-types.js'
import { RequestError } from '../../src/engine/types.js'
import { formType, postForm, recording, transcribe } from '../support/form.js'
import { request } from '../support/http-client.js'
import { speechServer, testServer, transports } from '../support/test-server.js'

const json = (text: string): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>
const sseEvents = (text: string) =>
  text
    .split('\n\n')
    .filter((block) => block.startsWith('data: '))
    .map((block) => json(block.slice(6)))

describe.each(transports)('transcriptions over %s', (transport) => {
  test('a recording reaches the model as it was sent, and its text comes back as it was written', async () => {
    await using t = await speechServer(transport)
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251))
    const reply = await transcribe(t.port, { model: 'whisper-1' }, { file: recording(bytes) })
    expect(reply.status).toBe(200)
    expect(json(reply.text)).toEqual({ text: t.model.text, usage: { type: 'duration', seconds: 6 } })
    expect(t.model.recordings[0]!.equals(bytes)).toBe(true)
    expect(t.model.requests[0]!.audio.name).toBe('speech.wav')
  })

  test.each<[string, Record<string, string | string[]>, Partial<TranscribeRequest>]>([
    ['nothing', {}, { task: 'transcribe', temperatures: [0], timestamps: 'segment', maxSeconds: 3600 }],
    ['empty fields, which are no fields', { language: '', prompt: '', temperature: '' }, { temperatures: [0] }],
    ['language and prompt', { language: ' EN ', prompt: 'Ännem\nBrillah' }, { language: 'en', prompt: 'Ännem\nBrillah' }],
    [
      'a temperature of 0, which asks for the ladder',
      { temperature: '0' },
      {
        temperatures: [0, 0.2, 0.4, 0.6, 0.8, 1],
        thresholds: { compression_ratio_threshold: 1.35, logprob_threshold: -1, no_speech_threshold: 0.6 },
      },
    ],
    ['a temperature of its own', { temperature: '0.4' }, { temperatures: [0.4] }],
    ['words', { response_format: 'verbose_json', 'timestamp_granularities[]': 'word' }, { timestamps: 'word' }],
    ['words, spelled plainly', { response_format: 'verbose_json', timestamp_granularities: ['segment', 'word'] }, { timestamps: 'word' }],
    ['words, as JSON', { response_format: 'verbose_json', timestamp_granularities: '["word"]' }, { timestamps: 'word' }],
    ['segments', { response_format: 'verbose_json', 'timestamp_granularities[]': 'segment' }, { timestamps: 'segment' }],
    ['subtitles', { response_format: 'srt' }, { timestamps: 'segment' }],
    ['log probabilities', { 'include[]': 'logprobs' }, { logprobs: true }],
    ['cuts at silences', { chunking_strategy: 'auto' }, { vad: {} }],
    [
      'cuts, as JSON',
      { chunking_strategy: '{"type":"server_vad","threshold":0.6,"prefix_padding_ms":100,"silence_duration_ms":400}' },
      { vad: { threshold: 0.6, prefixPaddingMs: 100, silenceDurationMs: 400 } },
    ],
    [
      'cuts, in brackets',
      { 'chunking_strategy[type]': 'server_vad', 'chunking_strategy[silence_duration_ms]': '250' },
      { vad: { silenceDurationMs: 250 } },
    ],
    [
      'what has no effect',
      {
        'keywords[]': ['London', 'Annembrillah'],
        languages: '["en"]',
        'known_speaker_names[]': 'agent',
        'known_speaker_references[]': `data:audio/wav;base64,${'A'.repeat(500_000)}`,
      },
      { temperatures: [0] },
    ],
  ])('%s', async (_, fields, expected) => {
    await using t = await speechServer(transport)
    const reply = await transcribe(t.port, { model: 'test-org/whisper', ...fields })
    expect(reply.status, reply.text).toBe(200)
    expect(t.model.requests[0]).toMatchObject(expected)
  })

  test('the flags say what is looked at where a request says nothing', async () => {
    await using t = await speechServer(transport, {}, { speechThresholds: { no_speech_threshold: 0.5 }, maxAudioSeconds: 77 })
    await transcribe(t.port)
    expect(t.model.requests[0]).toMatchObject({ temperatures: [0], thresholds: { no_speech_threshold: 0.5 }, maxSeconds: 77 })
    await transcribe(t.port, { temperature: '0' })
    expect(t.model.requests[1]!.thresholds).toEqual({ compression_ratio_threshold: 1.35, logprob_threshold: -1, no_speech_threshold: 0.5 })
  })

  test.each<[string, Record<string, string | string[]>, number, string, string | null]>([
    ['an unknown field', { foo: '1' }, 422, "Unexpected fields in the request: {'foo'}", 'foo'],
    ['an unknown list', { 'foo[]': '1' }, 422, "Unexpected fields in the request: {'foo[]'}", 'foo[]'],
    ['a field twice', { language: ['en', 'de'] }, 400, 'more than once', 'language'],
    ['an unknown format', { response_format: 'docx' }, 400, 'verbose_json', 'response_format'],
    ['speakers', { response_format: 'diarized_json' }, 400, 'speakers', 'response_format'],
    ['a temperature that is no number', { temperature: 'warm' }, 400, 'number', 'temperature'],
    ['a temperature that is too high', { temperature: '1.5' }, 400, '`temperature`', 'temperature'],
    ['an unknown granularity', { 'timestamp_granularities[]': 'phoneme' }, 400, 'word or segment', 'timestamp_granularities[0]'],
    ['words in a format without them', { 'timestamp_granularities[]': 'word' }, 400, 'verbose_json', 'timestamp_granularities'],
    ['log probabilities in a format without them', { 'include[]': 'logprobs', response_format: 'srt' }, 400, 'json', 'include'],
    ['an unknown thing to include', { include: 'speakers' }, 400, 'logprobs', 'include[0]'],
    ['a stream of subtitles', { stream: 'true', response_format: 'srt' }, 400, 'stream', 'stream'],
    ['a stream that is no boolean', { stream: 'perhaps' }, 400, 'true or false', 'stream'],
    ['an unknown way to cut', { chunking_strategy: 'client_vad' }, 400, 'server_vad', 'chunking_strategy'],
    ['an unknown detector', { 'chunking_strategy[type]': 'x' }, 400, 'server_vad', 'chunking_strategy'],
    [
      'a padding beyond what a detector takes',
      { chunking_strategy: '{"type":"server_vad","prefix_padding_ms":30001}' },
      400,
      '30000',
      'chunking_strategy.prefix_padding_ms',
    ],
    ['another model than the pinned one', { model: 'openai/other' }, 400, "pinned to 'test-org/whisper'", 'model'],
    ['a recording as text', { file: 'RIFF' }, 422, 'Expected file upload, got string', 'file'],
  ])('refuses %s', async (_, fields, status, message, param) => {
    await using t = await speechServer(transport)
    const reply = await transcribe(t.port, fields)
    expect(reply.status).toBe(status)
    const { error, detail } = json(reply.text) as { error: { message: string; param: string }; detail: string }
    expect(error.message).toContain(message)
    expect(detail).toBe(error.message)
    expect(error.param).toBe(param)
    expect(t.model.requests).toHaveLength(0)
  })

  test('leaves unknown fields out where it is told to', async () => {
    await using t = await speechServer(transport, {}, { allowUnknownFields: true })
    expect((await transcribe(t.port, { foo: '1' })).status).toBe(200)
  })

  test('a form without a recording, and what is no form', async () => {
    await using t = await speechServer(transport)
    const without = await postForm(t.port, [{ name: 'model', value: 'whisper-1' }])
    expect([without.status, without.text]).toEqual([400, expect.stringContaining('Missing `file`')])
    const empty = await request(t.port, 'POST', '/v1/audio/transcriptions', '', { 'content-type': formType })
    expect(empty.status).toBe(400)
    const asJson = await request(t.port, 'POST', '/v1/audio/transcriptions', '{}')
    expect([asJson.status, asJson.text]).toEqual([422, expect.stringContaining('multipart/form-data')])
    const elsewhere = await postForm(t.port, [{ ...recording(), name: 'audio' }])
    expect([elsewhere.status, elsewhere.text]).toEqual([400, expect.stringContaining('goes to `file`')])
    for (const method of ['GET', 'PUT']) expect((await request(t.port, method, '/v1/audio/transcriptions')).status).toBe(405)
  })

  test('a model for text says that it hears nothing', async () => {
    await using t = await testServer(transport)
    const reply = await transcribe(t.port, { model: 'short-name' })
    expect(reply.status).toBe(400)
    expect((json(reply.text) as { error: { code: string } }).error.code).toBe('model_task_mismatch')
  })

  test("a key, and the model's own refusals", async () => {
    await using t = await speechServer(transport, {}, { apiKeys: ['secret'] })
    expect((await transcribe(t.port)).status).toBe(401)
    const refusal = new RequestError('queue_full', 'Too many recordings are waiting.')
    await using busy = await speechServer(transport, {
      onStart: () => {
        throw refusal
      },
    })
    const reply = await transcribe(busy.port)
    expect([reply.status, reply.headers['retry-after'], reply.text]).toEqual([429, '1', expect.stringContaining(refusal.message)])
  })

  test('text, srt, vtt and verbose_json', async () => {
    await using t = await speechServer(transport)
    const text = await transcribe(t.port, { response_format: 'text' })
    expect([text.headers['content-type'], text.text]).toEqual(['text/plain; charset=utf-8', t.model.text])
    const srt = await transcribe(t.port, { response_format: 'srt' })
    expect(srt.headers['content-type']).toBe('text/plain; charset=utf-8')
    expect(srt.text.split('\n').slice(0, 4)).toEqual(['1', '00:00:00,000 --> 00:00:02,000', 'The weather in London', ''])
    const vtt = await transcribe(t.port, { response_format: 'vtt' })
    expect(vtt.text).toContain('WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nThe weather in London\n\n')
    expect(vtt.text).toContain('&amp; 5 &lt; 6 🎉 --&gt; ok.')
    const verbose = json((await transcribe(t.port, { response_format: 'verbose_json' })).text)
    expect(verbose).toMatchObject({ task: 'transcribe', language: 'english', duration: 6, text: t.model.text })
    expect(verbose.segments).toHaveLength(3)
    expect(verbose.segments).toMatchObject([{ id: 0, seek: 0, start: 0, end: 2, temperature: 0 }, {}, {}])
    expect(verbose).not.toHaveProperty('words')
    const fields = { response_format: 'verbose_json', 'timestamp_granularities[]': 'word' }
    const words = json((await transcribe(t.port, fields)).text)
    expect(words).not.toHaveProperty('segments')
    expect((words.words as { word: string }[]).map(({ word }) => word)).toEqual(t.model.text.trim().split(/\s+/))
  })

  test('a translation is into English, whatever was spoken', async () => {
    await using t = await speechServer(transport)
    const reply = await transcribe(t.port, { response_format: 'verbose_json' }, { path: '/v1/audio/translations' })
    expect(json(reply.text)).toMatchObject({ task: 'translate', language: 'english', text: t.model.text })
    expect(t.model.requests[0]).toMatchObject({ task: 'translate' })
  })

  test('a stream tells the segments as they are decided, and the whole at its end', async () => {
    await using t = await speechServer(transport, { stepMs: 10 })
    const reply = await transcribe(t.port, { stream: 'true', 'include[]': 'logprobs' })
    expect(reply.headers['content-type']).toBe('text/event-stream; charset=utf-8')
    const events = sseEvents(reply.text)
    expect(events.map(({ type }) => type)).toEqual([...t.model.segments.map(() => 'transcript.text.delta'), 'transcript.text.done'])
    expect(events.map(({ delta = '' }) => delta).join('')).toBe(t.model.text)
    const logprobs = t.model.segments.map((token) => ({ token, logprob: -0.5, bytes: [...Buffer.from(token)] }))
    expect(events[0]).toEqual({ type: 'transcript.text.delta', delta: t.model.segments[0], logprobs: [logprobs[0]] })
    expect(events.at(-1)).toMatchObject({ text: t.model.text, logprobs })
    const usage = events.at(-1)!.usage as Record<string, number>
    expect(usage).toMatchObject({ type: 'tokens', input_tokens: 300 })
    expect(usage.total_tokens).toBe(usage.input_tokens! + usage.output_tokens!)
  })

  test('silence is an answer', async () => {
    await using t = await speechServer(transport, { segments: [] })
    expect(json((await transcribe(t.port)).text)).toMatchObject({ text: '' })
    expect((await transcribe(t.port, { response_format: 'text' })).text).toBe('')
    expect((await transcribe(t.port, { response_format: 'srt' })).text).toBe('')
    expect((await transcribe(t.port, { response_format: 'vtt' })).text).toBe('WEBVTT\n\n')
    expect(sseEvents((await transcribe(t.port, { stream: '1' })).text)).toMatchObject([{ type: 'transcript.text.done', text: '' }])
  })

  test('a failure in the middle is an error event, or an error', async () => {
    const failure = { code: 'model_crashed' as const, message: 'The model process ended.' }
    await using t = await speechServer(transport, { failure })
    const streamed = sseEvents((await transcribe(t.port, { stream: 'true' })).text)
    expect(streamed.at(-1)).toMatchObject({ error: { code: 'model_crashed', message: failure.message } })
    expect((await transcribe(t.port)).status).toBe(503)
  })

  test('the metrics tell how much was heard', async () => {
    await using t = await speechServer(transport)
    await transcribe(t.port)
    await transcribe(t.port, { foo: '1' })
    const { text } = await request(t.port, 'GET', '/metrics')
    expect(text).toContain('tfserve_transcriptions_total{outcome="stop"} 1\n')
    expect(text).toContain('tfserve_transcriptions_total{outcome="refused"} 1\n')
    expect(text).toContain('tfserve_transcription_audio_seconds_total 6\n')
    expect(text).toContain('tfserve_transcription_real_time_factor_count 1\n')
  })
})

describe.each(transports)("the Hub's task at / over %s", (transport) => {
  test('raw bytes of any type, and of none', async () => {
    await using t = await speechServer(transport)
    const bytes = Buffer.from('fLaC and more')
    for (const type of ['audio/flac', 'audio/x-wav', 'application/octet-stream', 'video/mp4', undefined]) {
      const reply = await request(t.port, 'POST', '/', bytes, type === undefined ? { 'content-type': '' } : { 'content-type': type })
      expect([reply.status, json(reply.text)]).toEqual([200, { text: t.model.text }])
    }
    expect(t.model.recordings.every((recorded) => recorded.equals(bytes))).toBe(true)
  })

  test('base64 with parameters', async () => {
    await using t = await speechServer(transport)
    const inputs = Buffer.from('RIFF').toString('base64')
    const ask = (parameters: object) => request(t.port, 'POST', '/', JSON.stringify({ inputs, parameters }))
    const stamped = json((await ask({ return_timestamps: true })).text)
    expect(stamped.chunks).toEqual(t.model.segments.map((text, i) => ({ text, timestamp: [i * 2, i * 2 + 2] })))
    expect(t.model.recordings[0]!.toString()).toBe('RIFF')
    const words = json((await ask({ return_timestamps: 'word' })).text).chunks as { text: string }[]
    const oneSpace = (text: string): string => text.replace(/\s+/g, ' ')
    expect(oneSpace(words.map(({ text }) => text).join(''))).toBe(oneSpace(t.model.text))
    expect(words.length).toBe(t.model.text.trim().split(/\s+/).length)
    await ask({ generation_parameters: { language: 'German', task: 'translate', temperature: 0.3, num_beams: 1 } })
    expect(t.model.requests.at(-1)).toMatchObject({ language: 'german', task: 'translate', temperatures: [0.3] })
    for (const generation_parameters of [{ num_beams: 4 }, { max_new_tokens: 5 }, { top_k: 3 }]) {
      expect((await ask({ generation_parameters })).status).toBe(400)
    }
    expect((await ask({ generation_parameters: { nonsense: 1 } })).status).toBe(422)
    expect((await ask({ nonsense: 1 })).status).toBe(422)
    expect((await request(t.port, 'POST', '/', '{"inputs": "not base64!"}')).status).toBe(400)
    expect((await request(t.port, 'POST', '/', '{}')).status).toBe(400)
  })

  test('ten megabytes of base64', async () => {
    await using t = await speechServer(transport)
    const bytes = Buffer.alloc(10 << 20, 'abc')
    const reply = await request(t.port, 'POST', '/', JSON.stringify({ inputs: bytes.toString('base64') }))
    expect([reply.status, t.model.recordings[0]?.equals(bytes)]).toEqual([200, true])
  })

  test('nothing else is there', async () => {
    await using t = await speechServer(transport)
    expect((await request(t.port, 'GET', '/')).status).toBe(405)
    expect((await postForm(t.port, [recording()], '/')).status).toBe(422)
  })
})
