// The constraint tree's shape and bounds, and where a chat's constraint begins.
import { describe, expect, it } from 'vitest'
import { constrainAnswer } from '../../src/engine/answer-constraint.js'
import { type Constraint, parseConstraint } from '../../src/engine/constraint.js'
import { RequestError } from '../../src/engine/types.js'

const answer: Constraint = { type: 'json_object' }

describe('a constraint tree', () => {
  it('may be everything that is documented', () => {
    const tree: Constraint = {
      type: 'sequence',
      parts: [
        { type: 'json_schema', schema: true, whitespace: 'compact' },
        { type: 'any_of', options: [answer, { type: 'regex', pattern: 'a' }, { type: 'grammar', text: 'root ::= "a"' }] },
        { type: 'repeat', item: { type: 'literal', text: 'x' }, min: 0, max: null, separator: { type: 'literal', text: ',' } },
        { type: 'text_until', literals: ['end'] },
        { type: 'free_text' },
      ],
    }
    expect(parseConstraint(JSON.parse(JSON.stringify(tree)))).toEqual(tree)
  })

  it.each<[string, unknown]>([
    ['no object', 5],
    ['null', null],
    ['an unknown type', { type: 'xml' }],
    ['an unknown field', { type: 'free_text', more: 1 }],
    ['no options', { type: 'any_of', options: [] }],
    ['an empty word', { type: 'text_until', literals: [''] }],
    ['exchanged limits', { type: 'repeat', item: answer, min: 3, max: 2 }],
    ['a fault far inside', { type: 'sequence', parts: [{ type: 'repeat', item: { type: 'literal', text: 5 }, min: 0, max: 1 }] }],
    ['too many parts', { type: 'sequence', parts: Array(1000).fill({ type: 'any_of', options: Array(5).fill({ type: 'free_text' }) }) }],
  ])('is refused with %s', (_, tree) => {
    expect(() => parseConstraint(tree)).toThrow(RequestError)
  })

  it('is refused when it is nested without end', () => {
    let tree: unknown = answer
    for (let i = 0; i < 50_000; i++) tree = { type: 'sequence', parts: [tree] }
    expect(() => parseConstraint(tree)).toThrow(/levels deep/)
  })
})

describe('the answer to a chat', () => {
  const qwen = ['{% if x %}<think>{% endif %}</think>']
  const until = { type: 'text_until', literals: ['</think>'] }

  it('is everything where the template shows no reasoning', () => {
    expect(constrainAnswer(answer, 'prompt', ['{{ messages }}'])).toBe(answer)
  })

  it('may come behind reasoning, which the model begins itself', () => {
    const output = constrainAnswer(answer, '<|im_start|>assistant\n', qwen)
    expect(output).toMatchObject({ type: 'any_of', options: [{ parts: [{ text: '<think>' }, { parts: [until, {}, answer] }] }, answer] })
  })

  it('comes behind reasoning that the template has begun', () => {
    expect(constrainAnswer(answer, '<|im_start|>assistant\n<think>\n', qwen)).toMatchObject({
      type: 'sequence',
      parts: [until, {}, answer],
    })
  })

  it('is everything when the template has ended the reasoning', () => {
    expect(constrainAnswer(answer, '<think>\n\n</think>\n\n', qwen)).toBe(answer)
  })

  it("is the message of gpt-oss's final channel", () => {
    const output = constrainAnswer(answer, '<|start|>assistant', ['<|channel|>x<|message|>'])
    expect(output).toMatchObject({ parts: [{ type: 'repeat', max: 1 }, { text: '<|channel|>final<|message|>' }, answer] })
  })
})
