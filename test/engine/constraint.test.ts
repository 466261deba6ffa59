// The constraint tree's shape and bounds, and where a chat's constraint begins.
import { describe, expect, it } from 'vitest'
import { type Constraint, parseConstraint } from '../../src/engine/constraint.js'
import { harmonyFormat } from '../../src/engine/output/harmony-format.js'
import { outputConstraint } from '../../src/engine/output/output-constraint.js'
import { nestedTagsFormat, taggedFormat, thinkFormat } from '../../src/engine/output/tagged-format.js'
import { type GenerateRequest, RequestError } from '../../src/engine/types.js'

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
        {
          type: 'sequence',
          parts: [
            { type: 'text_until', literals: ['end'], without: ['no'] },
            { type: 'free_text', without: ['no'] },
          ],
        },
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
  const until = { type: 'text_until', literals: ['</think>'] }
  const answered = (prompt: string) => thinkFormat.constrain({ content: answer }, prompt)

  it('may come behind reasoning, which the model begins itself', () => {
    const output = answered('<|im_start|>assistant\n')
    expect(output).toMatchObject({ type: 'any_of', options: [{ parts: [{ text: '<think>' }, { parts: [until, {}, answer] }] }, answer] })
  })

  it('comes behind reasoning that the template has begun', () => {
    expect(answered('<|im_start|>assistant\n<think>\n')).toMatchObject({ type: 'sequence', parts: [until, {}, answer] })
  })

  it('is everything when the template has ended the reasoning', () => {
    expect(answered('<think>\n\n</think>\n\n')).toBe(answer)
  })

  it("is the message of gpt-oss's final channel", () => {
    expect(harmonyFormat.constrain({ content: answer }, '<|start|>assistant')).toMatchObject({
      parts: [{ type: 'repeat', max: 1 }, { parts: [{ text: '<|channel|>final<|message|>' }, answer] }],
    })
  })
})

describe('what a request makes of the output', () => {
  const parameters = { type: 'object', properties: { a: { type: 'integer' } } }
  const tools = [
    { type: 'function', function: { name: 'f', parameters } },
    { type: 'function', function: { name: 'g', parameters, strict: true } },
    { type: 'function', function: { name: 'h' } },
  ]
  const closed = '<think>\n\n</think>\n\n'
  const of = (more: Partial<GenerateRequest>, format: typeof taggedFormat | undefined = taggedFormat) =>
    outputConstraint({ input: { kind: 'chat', messages: [], tools }, params: {}, ...more }, closed, format)
  const text = (value: unknown) => JSON.stringify(value)

  it('is anything, unless something is asked for', () => {
    const lax = { input: { kind: 'chat' as const, messages: [], tools: [tools[0], tools[2]] } }
    expect(of(lax)).toBeUndefined()
    expect(of({ ...lax, toolChoice: 'auto' })).toBeUndefined()
    expect(of({ toolChoice: 'none' })).toBeUndefined()
    expect(of({}, thinkFormat)).toBeUndefined()
    expect(of({ raw: true })).toBeUndefined()
  })

  it('is anything but calls of strict tools that do not fit, where the model may call or not', () => {
    const free = { type: 'free_text', without: ['<tool_call>'] }
    const output = of({})!
    expect(output).toMatchObject({ param: 'tools', optional: false, trees: [{ options: [{}, { parts: [{ type: 'repeat' }, free] }] }] })
    expect(text(output.trees).split('"integer"')).toHaveLength(3) // of g, and once more behind reasoning
    for (const name of ['f', 'g', 'h']) expect(text(output.trees)).toContain(`{\\"name\\": \\"${name}\\"`)
    expect(text(of({ parallelToolCalls: false })!.trees)).not.toContain('"repeat"')
  })

  it('binds tools that do not say whether they are strict, where a request has them so and as far as that is possible', () => {
    const integers = (value: unknown) => text(value).split('"integer"').length - 1
    const [all, declared] = of({ strictTools: true })!.trees
    expect([integers(all), integers(declared)]).toEqual([4, 2])
    const lax = { input: { kind: 'chat' as const, messages: [], tools: [tools[0]] } }
    expect(of({ ...lax, strictTools: true })).toMatchObject({ trees: [{}], optional: true })
    const never = { type: 'function', function: { name: 'f', parameters, strict: false } }
    expect(of({ input: { kind: 'chat', messages: [], tools: [never] }, strictTools: true })).toBeUndefined()
  })

  it('is one or more calls of any tool, or one of the named tool', () => {
    const required = of({ toolChoice: 'required' })
    expect(required).toMatchObject({ param: 'tools', trees: [{ type: 'repeat', min: 1, max: null }, { type: 'repeat' }] })
    for (const name of ['f', 'g', 'h']) expect(text(required?.trees[0])).toContain(`{\\"name\\": \\"${name}\\"`)
    expect(of({ toolChoice: 'required', parallelToolCalls: false })?.trees[0]).toMatchObject({ type: 'sequence' })
    const named = text(of({ toolChoice: { name: 'g' } })?.trees[0])
    expect(named).toContain('\\"g\\"')
    expect(named).not.toContain('\\"f\\"')
    expect(text(of({ toolChoice: { name: 'h' } }))).not.toContain('json_schema')
  })

  it('asks less of tools that are not strict, when their schemas cannot be compiled', () => {
    const [strictest, loose] = of({ toolChoice: 'required' })!.trees
    expect(text(strictest).split('"integer"')).toHaveLength(3)
    expect(text(loose).split('"integer"')).toHaveLength(2)
  })

  it('may be a call where the answer has a form, and then is one of both', () => {
    const both = of({ constraint: answer, constraintParam: 'response_format' })
    expect(both).toMatchObject({ param: 'response_format', trees: [{ type: 'any_of', options: [answer, { type: 'repeat' }] }, {}] })
    expect(of({ constraint: answer, toolChoice: 'none' })?.trees).toEqual([answer])
    expect(of({ constraint: answer }, thinkFormat)?.trees[0]).toEqual(answer)
    expect(outputConstraint({ input: { kind: 'text', text: '' }, params: {}, constraint: answer }, undefined, taggedFormat)?.trees).toEqual(
      [answer],
    )
  })

  it('cannot be a call where the model has no notation of them', () => {
    for (const format of [undefined, thinkFormat]) {
      const attempt = () =>
        outputConstraint({ input: { kind: 'chat', messages: [], tools }, params: {}, toolChoice: 'required' }, closed, format)
      expect(attempt).toThrow(expect.objectContaining({ code: 'unsupported_parameter', param: 'tool_choice' }))
    }
    expect(() => of({ toolChoice: { name: 'x' } })).toThrow(RequestError)
  })

  it('has the parameters as tags where the template shows them so', () => {
    const schema = {
      type: 'object',
      properties: { city: { type: 'string' }, unit: { enum: ['C', 'F'] }, days: { type: 'integer' } },
      required: ['city'],
    }
    const call = nestedTagsFormat.constrain({ calls: { tools: [{ name: 'f', parameters: schema, strict: true }], many: false } }, closed)
    expect(text(call)).toContain('<function=f>\\n')
    expect(text(call)).toContain('{"type":"literal","text":"<parameter=city>\\n"},{"type":"text_until","literals":["\\n</parameter>\\n"]}')
    expect(text(call)).toContain('"options":[{"type":"literal","text":"C"},{"type":"literal","text":"F"}]')
    expect(text(call).split('"min":0,"max":1')).toHaveLength(3)
    const any = nestedTagsFormat.constrain(
      { calls: { tools: [{ name: 'f', parameters: { type: 'object' }, strict: undefined }], many: false } },
      closed,
    )
    expect(text(any)).toContain('{"type":"repeat","item":{"type":"sequence","parts":[{"type":"literal","text":"<parameter="}')
  })
})
