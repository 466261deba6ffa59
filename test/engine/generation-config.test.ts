import { describe, expect, it } from 'vitest'
import { type GenerationContext, resolveSampling } from '../../src/engine/generation-config.js'
import { RequestError } from '../../src/engine/types.js'
import { unsupportedFields } from '../../src/engine/unsupported-fields.js'

const context: GenerationContext = { defaults: {}, eosTokenIds: [2], vocabSize: 100, maxModelLen: 4096, promptTokens: 10 }
const sampled = { do_sample: true, temperature: 0.6, top_k: 20, top_p: 0.95, repetition_penalty: 1.1 }

function refusal(run: () => unknown): RequestError {
  try {
    run()
  } catch (error) {
    if (error instanceof RequestError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

describe('sampling or greedy', () => {
  it.each([
    ['nothing said', {}, {}, false],
    ['the checkpoint samples', {}, sampled, true],
    ['temperature above 0 turns sampling on', { temperature: 0.7 }, {}, true],
    ['temperature 0 is greedy though the checkpoint samples', { temperature: 0 }, sampled, false],
    ['do_sample false wins over a temperature', { temperature: 0.7, do_sample: false }, sampled, false],
    ['do_sample true at temperature 0 has nothing to draw from', { temperature: 0, do_sample: true }, {}, false],
    ['top_p 0 is greedy though the checkpoint samples', { top_p: 0 }, sampled, false],
    ['top_p 0 at a temperature has nothing to draw from', { top_p: 0, temperature: 0.7 }, {}, false],
    ['top_p alone leaves a greedy checkpoint greedy', { top_p: 0.5 }, {}, false],
  ])('%s', (_name, params, defaults, expected) => {
    expect(resolveSampling(params, undefined, { ...context, defaults }).doSample).toBe(expected)
  })

  it('takes each value from the request, else its generation_config, else the checkpoint, else transformers', () => {
    const own = resolveSampling({ top_p: 0.5 }, undefined, { ...context, defaults: sampled })
    expect(own).toMatchObject({ topP: 0.5, topK: 20, temperature: 0.6, repetitionPenalty: expect.closeTo(1.1, 9) as number })
    const replaced = resolveSampling({ top_p: 0.5 }, { do_sample: true, temperature: 0.9 }, { ...context, defaults: sampled })
    expect(replaced).toMatchObject({ doSample: true, topP: 0.5, temperature: 0.9, topK: 50, repetitionPenalty: 1 })
  })

  it('keeps the model’s end-of-sequence ids when a generation_config names none', () => {
    expect(resolveSampling({}, { max_new_tokens: 5 }, context).eosTokenIds).toEqual([2])
    expect(resolveSampling({}, { eos_token_id: [3, 4] }, context).eosTokenIds).toEqual([3, 4])
  })
})

describe('lengths', () => {
  it('stops at the stop_strings of a generation_config or of the checkpoint, where the request names no stop', () => {
    const stop = (own: object, config: object | undefined, defaults: object): string[] =>
      resolveSampling(own, config as Record<string, unknown>, { ...context, defaults: { ...defaults } }).stop
    expect(stop({}, undefined, {})).toEqual([])
    expect(stop({}, undefined, { stop_strings: 'END' })).toEqual(['END'])
    expect(stop({}, { stop_strings: ['a', 'b'] }, { stop_strings: 'END' })).toEqual(['a', 'b'])
    expect(stop({ stop: ['c'] }, { stop_strings: ['a'] }, {})).toEqual(['c'])
    expect(refusal(() => stop({}, { stop_strings: [5] }, {})).param).toBe('generation_config.stop_strings')
  })

  it('gives at least 1,024 new tokens, within the context', () => {
    expect(resolveSampling({}, undefined, context).maxNewTokens).toBe(1024)
    expect(resolveSampling({}, undefined, { ...context, defaults: { max_new_tokens: 2000 } }).maxNewTokens).toBe(2000)
    expect(resolveSampling({}, undefined, { ...context, maxModelLen: 100 }).maxNewTokens).toBe(90)
    expect(resolveSampling({ max_new_tokens: 5 }, undefined, context).maxNewTokens).toBe(5)
    expect(resolveSampling({}, { max_new_tokens: 7 }, context).maxNewTokens).toBe(7)
  })

  it('reads max_length and min_length as prompt and output together', () => {
    expect(resolveSampling({ max_length: 30 }, undefined, context).maxNewTokens).toBe(20)
    expect(resolveSampling({ min_length: 30 }, undefined, context).minNewTokens).toBe(20)
    expect(refusal(() => resolveSampling({ max_length: 10 }, undefined, context))).toMatchObject({
      code: 'invalid_request',
      param: 'max_length',
    })
  })
})

describe('refusals name the field', () => {
  it.each([
    [{ temperature: -1 }, 'temperature'],
    [{ top_p: -0.1 }, 'top_p'],
    [{ top_p: 1.1 }, 'top_p'],
    [{ top_k: 1.5 }, 'top_k'],
    [{ min_p: 2 }, 'min_p'],
    [{ repetition_penalty: 0 }, 'repetition_penalty'],
    [{ presence_penalty: 3 }, 'presence_penalty'],
    [{ max_new_tokens: -1 }, 'max_new_tokens'],
    [{ logit_bias: { 100: 1 } }, 'logit_bias'],
    [{ bad_words_ids: [[]] }, 'bad_words_ids'],
    [{ bad_words_ids: [[100]] }, 'bad_words_ids'],
    [{ eos_token_id: -1 }, 'eos_token_id'],
    [{ top_logprobs: 21 }, 'top_logprobs'],
    [{ prompt_logprobs: 21 }, 'prompt_logprobs'],
    [{ prompt_logprobs: -1 }, 'prompt_logprobs'],
  ])('%j', (params, field) => {
    expect(refusal(() => resolveSampling(params, undefined, context))).toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining(field) as string,
    })
  })

  it('refuses what is not supported in a request’s generation_config, and lets neutral values pass', () => {
    expect(refusal(() => resolveSampling({}, { num_beams: 4 }, context))).toMatchObject({
      code: 'unsupported_parameter',
      param: 'generation_config.num_beams',
    })
    expect(refusal(() => resolveSampling({}, { guidance_scale: 1.5 }, context))).toMatchObject({
      param: 'generation_config.guidance_scale',
    })
    expect(() => resolveSampling({}, { num_beams: 1, guidance_scale: 1, suppress_tokens: null, foo: 3 }, context)).not.toThrow()
    expect(unsupportedFields({ num_beams: 2, use_cache: true })).toEqual(['num_beams'])
    // names that every object has are not in the table
    expect(unsupportedFields({ toString: 1, constructor: 2, hasOwnProperty: 3, ['__proto__']: 4 })).toEqual([])
    expect(resolveSampling({ top_k: -1 }, { toString: 1 }, context).topK).toBe(0)
  })
})

it('maps seeds to 64 bits and draws one where none is given', () => {
  expect(resolveSampling({ seed: -1 }, undefined, context).seed).toBe(2n ** 64n - 1n)
  expect(resolveSampling({}, undefined, { ...context, defaultSeed: 7 }).seed).toBe(7n)
  expect(resolveSampling({}, undefined, context).seed).not.toBe(resolveSampling({}, undefined, context).seed)
})
