import { describe, expect, test } from 'vitest'
import type { TranscriptSegment } from '../../src/engine/speech-types.js'
import { deltaEvent, doneEvent, renderSrt, renderTranscript, renderVtt, Transcript } from '../../src/protocol/transcript-formats.js'

const segment = (start: number, end: number, text: string, id = 0): TranscriptSegment => ({
  ...{ id, seek: 0, start, end, text, tokens: [1, 2] },
  ...{ temperature: 0, avg_logprob: -0.1, compression_ratio: 1, no_speech_prob: 0 },
})

/** What a player reads of subtitles: times in milliseconds and lines. */
function played(subtitles: string): { from: number; to: number; lines: string[] }[] {
  const time = /^(\d{2,}):([0-5]\d):([0-5]\d)[,.](\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d)[,.](\d{3})$/
  return subtitles
    .split('\n\n')
    .filter((block) => block.trim() !== '' && block !== 'WEBVTT')
    .map((block) => {
      const lines = block.split('\n')
      if (/^\d+$/.test(lines[0]!)) lines.shift()
      const match = time.exec(lines.shift()!)
      expect(match, block).not.toBeNull()
      const [h1, m1, s1, f1, h2, m2, s2, f2] = match!.slice(1).map(Number) as [
        number,
        number,
        number,
        number,
        number,
        number,
        number,
        number,
      ]
      return { from: ((h1 * 60 + m1) * 60 + s1) * 1000 + f1, to: ((h2 * 60 + m2) * 60 + s2) * 1000 + f2, lines }
    })
}

describe('subtitles', () => {
  test('are numbered, timed and separated', () => {
    const segments = [segment(0, 2.5, ' Hello there.'), segment(2.5, 3661.0005, ' And\nagain.', 1)]
    expect(renderSrt(segments)).toBe('1\n00:00:00,000 --> 00:00:02,500\nHello there.\n\n2\n00:00:02,500 --> 01:01:01,001\nAnd\nagain.\n\n')
    expect(renderVtt(segments)).toBe(
      'WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nHello there.\n\n00:00:02.500 --> 01:01:01.001\nAnd\nagain.\n\n',
    )
  })

  test('go on past a hundred hours, and never round to 60 seconds', () => {
    expect(renderSrt([segment(59.9996, 360_000, 'x')])).toContain('00:01:00,000 --> 100:00:00,000')
  })

  test('what would be markup, an arrow or the end of a cue is not', () => {
    const nasty = segment(0, 1, ' <i>a</i> & b --> c\n\n\r\n  d\u2028e ')
    expect(played(renderSrt([nasty]))).toEqual([{ from: 0, to: 1000, lines: ['<i>a</i> & b -> c', 'd', 'e'] }])
    expect(played(renderVtt([nasty]))[0]!.lines).toEqual(['&lt;i&gt;a&lt;/i&gt; &amp; b --&gt; c', 'd', 'e'])
  })

  test('segments without text are left out, and the others are counted without gaps', () => {
    const segments = [segment(0, 1, ' '), segment(1, 2, ' a'), segment(2, 3, '\n'), segment(3, 4, ' b')]
    expect(renderSrt(segments)).toBe('1\n00:00:01,000 --> 00:00:02,000\na\n\n2\n00:00:03,000 --> 00:00:04,000\nb\n\n')
    expect(renderSrt([])).toBe('')
    expect(renderVtt([segment(0, 1, '')])).toBe('WEBVTT\n\n')
  })

  test('cues of any times are in order, last a moment and do not overlap', () => {
    let state = 12345
    const random = (): number => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648
    for (let round = 0; round < 200; round++) {
      let at = 0
      const segments = Array.from({ length: 20 }, (_, id) => {
        at = Math.max(0, at + random() * 4 - 1)
        return segment(at, at + random() * 3 - 0.5, ` word ${id}`, id)
      })
      for (const cues of [played(renderSrt(segments)), played(renderVtt(segments))]) {
        expect(cues).toHaveLength(20)
        cues.forEach(({ from, to }, i) => {
          expect(to).toBeGreaterThan(from)
          if (i > 0) expect(from).toBeGreaterThanOrEqual(cues[i - 1]!.to)
        })
      }
    }
  })
})

describe('the events of a stream', () => {
  test('put together are the whole, whatever the text', () => {
    const texts = ['', ' a', '\n\ndata: x', '\u2028"\\', '🎉', '', ' –ü']
    const transcript = new Transcript()
    let stream = ''
    for (const [i, text] of texts.entries()) {
      const delta = { text, segments: [segment(i, i + 1, text, i)], position: i }
      transcript.add(delta)
      stream += deltaEvent(delta)
    }
    stream += doneEvent(transcript, { duration: 7.005 }, false)
    const events = stream
      .split('\n\n')
      .filter(Boolean)
      .map((block) => JSON.parse(block.replace(/^data: /, '')) as { type: string; delta?: string; text?: string; usage?: object })
    expect(events.map(({ delta = '' }) => delta).join('')).toBe(texts.join(''))
    expect(events.filter(({ delta }) => delta === '')).toHaveLength(0)
    expect(events.at(-1)).toEqual({
      ...{ type: 'transcript.text.done', text: texts.join('') },
      usage: {
        ...{ type: 'tokens', input_tokens: 351, input_token_details: { text_tokens: 0, audio_tokens: 351 } },
        ...{ output_tokens: 14, total_tokens: 365 },
      },
    })
  })

  test('verbose_json has times to the millisecond and no more keys than its types', () => {
    const transcript = new Transcript()
    transcript.add({
      ...{ text: ' a', position: 1 },
      segments: [{ ...segment(0.1234567, 1.9999, ' a'), words: [{ word: 'a', start: 0.12345, end: 0.98765 }] }],
    })
    const head = { duration: 1.99999, languageName: 'german', task: 'transcribe' as const }
    const { body } = renderTranscript(transcript, head, { format: 'verbose_json', segments: true, words: true, logprobs: false })
    expect(JSON.parse(body)).toEqual({
      ...{ task: 'transcribe', language: 'german', duration: 2, text: ' a' },
      words: [{ word: 'a', start: 0.123, end: 0.988 }],
      segments: [{ ...segment(0.123, 2, ' a') }],
      usage: { type: 'duration', seconds: 2 },
    })
  })
})
