import { describe, expect, test } from 'vitest'
import type { AnswerFormat, ParserOptions } from '../../../src/engine/output/format.js'
import { gemma4Format } from '../../../src/engine/output/gemma4-format.js'
import { harmonyFormat } from '../../../src/engine/output/harmony-format.js'
import { taggedFormat, thinkFormat } from '../../../src/engine/output/tagged-format.js'
import { gatherCalls } from '../../support/calls.js'
import { toolSchemas } from '../../../src/engine/output/tools.js'
import { seeded } from '../../support/random.js'

const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, days: { type: 'integer' }, exact: { type: ['boolean', 'null'] }, tags: { type: 'array' } },
    },
  },
}
const defaults: ParserOptions = { tools: toolSchemas([weather]), readCalls: true, maxCalls: Infinity }

interface Read {
  content: string
  reasoning: string
  /** Arguments that are no JSON as the text that they are. */
  calls: [name: string, args: unknown][]
  /** The arguments of each call to the byte. */
  texts: string[]
  endsWithCall: boolean
}

function read(format: AnswerFormat, pieces: readonly string[], prompt = '', options: Partial<ParserOptions> = {}, cut = false): Read {
  const parser = format.parser(prompt, { ...defaults, ...options })
  const parts = [...pieces.map((piece) => parser.push(piece)), parser.finish(cut)]
  const calls = gatherCalls(parts.flatMap((part) => part.calls))
  return {
    content: parts.map((part) => part.content).join(''),
    reasoning: parts.map((part) => part.reasoning).join(''),
    calls: calls.map(({ name, value, arguments: text }): [string, unknown] => [name, value === undefined ? text : value]),
    texts: calls.map((call) => call.arguments),
    endsWithCall: parser.endsWithCall,
  }
}

interface Case {
  name: string
  format: AnswerFormat
  text: string
  prompt?: string
  options?: Partial<ParserOptions>
  cut?: boolean
  content?: string
  reasoning?: string
  calls?: Read['calls']
}

const call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
const paris: [string, unknown] = ['get_weather', { city: 'Paris' }]
const q = '<|"|>'

const tagged: Omit<Case, 'format'>[] = [
  {
    name: 'plain text stays as it is',
    text: '\n Hello < b, <tool x> and <think about it. \n',
    content: '\n Hello < b, <tool x> and <think about it. \n',
  },
  { name: 'a call', text: call, calls: [paris] },
  {
    name: 'text and two calls',
    text: `Let me check.\n${call}\n<tool_call>{"name":"get_time","arguments":{"tz":"CET"}}</tool_call>`,
    content: 'Let me check.',
    calls: [paris, ['get_time', { tz: 'CET' }]],
  },
  { name: 'text after a call', text: `${call}\nDone.`, content: 'Done.', calls: [paris] },
  { name: 'text around a call', text: `First.\n${call}\nThen.\n`, content: 'First.\n\nThen.\n', calls: [paris] },
  {
    name: 'reasoning',
    text: '<think>\nThe user greets.\n</think>\n\nHello there!',
    reasoning: 'The user greets.',
    content: 'Hello there!',
  },
  { name: 'reasoning, then a call', text: `<think>\nI need it.\n</think>\n\n${call}`, reasoning: 'I need it.', calls: [paris] },
  { name: 'no reasoning in the block', text: '<think>\n\n</think>\n\nHi', content: 'Hi' },
  { name: 'two blocks of reasoning', text: `<think>a</think>${call}<think>b</think>c`, reasoning: 'a\nb', content: 'c', calls: [paris] },
  { name: 'reasoning that is cut off', text: '<think>\nThe user \n', cut: true, reasoning: 'The user' },
  { name: 'the tag within text is text', text: 'Write <think> and </think>.', content: 'Write <think> and </think>.' },
  {
    name: 'a template has opened the block',
    prompt: '<|im_start|>assistant\n<think>\n',
    text: 'Hm.\n</think>\n\nYes.',
    reasoning: 'Hm.',
    content: 'Yes.',
  },
  { name: 'a template has closed the block', prompt: 'assistant\n<think>\n\n</think>\n\n', text: '\n\nYes.', content: 'Yes.' },
  { name: 'a user wrote the tag', prompt: '<|im_start|>user\n<think><|im_end|>\n<|im_start|>assistant\n', text: 'Yes.', content: 'Yes.' },
  { name: 'arguments as text', text: '<tool_call>{"name":"f","arguments":"{\\"a\\": 1}"}</tool_call>', calls: [['f', { a: 1 }]] },
  { name: 'parameters', text: '<tool_call>{"name":"f","parameters":{"a":1}}</tool_call>', calls: [['f', { a: 1 }]] },
  {
    name: 'a function around both',
    text: '<tool_call>{"type":"function","function":{"name":"f","arguments":{}}}</tool_call>',
    calls: [['f', {}]],
  },
  { name: 'no arguments', text: '<tool_call>{"name":"f"}</tool_call>', calls: [['f', {}]] },
  { name: 'null for arguments', text: '<tool_call>{"name":"f","arguments":null}</tool_call>', calls: [['f', {}]] },
  {
    name: 'several calls in one block',
    text: '<tool_call>[{"name":"f"},{"name":"g"}]</tool_call>',
    calls: [
      ['f', {}],
      ['g', {}],
    ],
  },
  { name: 'a call without its end', text: call.replace('\n</tool_call>', ''), calls: [paris] },
  { name: 'a call that is cut off within its end', text: call.slice(0, -4), cut: true, calls: [paris] },
  { name: 'a call cut before its arguments is content', text: `Hi\n${call.slice(0, 47)}`, cut: true, content: `Hi\n${call.slice(0, 47)}` },
  { name: 'arguments that are cut', text: `Hi\n${call.slice(0, 60)}`, cut: true, content: 'Hi', calls: [['get_weather', '{"city": "P']] },
  { name: 'a number that is cut', text: '<tool_call>{"name":"f","arguments":{"a":12', cut: true, calls: [['f', '{"a":12']] },
  {
    name: 'a whole call that is cut behind its arguments',
    text: '<tool_call>{"name":"f","arguments":{"a":1}',
    cut: true,
    calls: [['f', { a: 1 }]],
  },
  {
    name: 'broken JSON is what the model wrote',
    text: '<tool_call>\n{"name": "f", "arguments": {oops}}</tool_call> Sorry.',
    content: 'Sorry.',
    calls: [['f', '{oops}}']],
  },
  {
    name: 'broken in a string: the first closing tag closes',
    text: `<tool_call>{"name":"f","arguments":{"a":"one\ntwo</tool_call>${call}`,
    calls: [['f', '{"a":"one\ntwo'], paris],
  },
  { name: 'a brace too few', text: '<tool_call>{"name":"f","arguments":{"a":1}</tool_call>.', content: '.', calls: [['f', { a: 1 }]] },
  {
    name: 'a brace too many',
    text: '<tool_call>{"name":"f","arguments":{"a":1}}} </tool_call>.',
    content: '} .',
    calls: [['f', { a: 1 }]],
  },
  {
    name: 'text behind a call that nothing closes',
    text: `${call.replace('\n</tool_call>', '')}\nIt is \n${call}`,
    content: 'It is',
    calls: [paris, paris],
  },
  {
    name: 'two calls without a tag between them',
    text: `First.\n${call.replace('\n</tool_call>', '')}\n${call}\nThen.`,
    content: 'First.\n\nThen.',
    calls: [paris, paris],
  },
  {
    name: 'more than name and arguments',
    text: '<tool_call>{"type": "function", "id": "x", "name": "f", "arguments": {"a": {"b": [1, {}]}}, "z": {"y": "</tool_call>"}}</tool_call>!',
    content: '!',
    calls: [['f', { a: { b: [1, {}] } }]],
  },
  { name: 'arguments before the name', text: '<tool_call>{"arguments":{"a":1},"name":"f"}</tool_call>', calls: [['f', { a: 1 }]] },
  {
    name: 'a name that says it with escapes',
    text: '<tool_call>{"name":"a\\u0062</tool_call>\\"","arguments":{"é\\n\ud83d\ude00":"\ud83d\ude00\\ud83d"}}</tool_call>',
    calls: [['ab</tool_call>"', { 'é\n\ud83d\ude00': '\ud83d\ude00\ud83d' }]],
  },
  {
    name: 'arguments that are no object are content',
    text: '<tool_call>{"name":"f","arguments":[1]}</tool_call>!',
    content: '<tool_call>{"name":"f","arguments":[1]}</tool_call>!',
  },
  { name: 'no name is content', text: '<tool_call>{"arguments":{}}</tool_call>', content: '<tool_call>{"arguments":{}}</tool_call>' },
  { name: 'no call at all is content', text: '<tool_call></tool_call>', content: '<tool_call></tool_call>' },
  {
    name: 'a broken call, then a whole one',
    text: `<tool_call>{"a</tool_call>${call}`,
    content: '<tool_call>{"a</tool_call>',
    calls: [paris],
  },
  {
    name: 'the closing tag in a string',
    text: '<tool_call>{"name":"f","arguments":{"a":"</tool_call>\\"</tool_call>"}}</tool_call>.',
    content: '.',
    calls: [['f', { a: '</tool_call>"</tool_call>' }]],
  },
  { name: 'calls are not wanted', options: { readCalls: false }, text: `<think>a</think>\n${call}`, reasoning: 'a', content: call },
  { name: 'one call is enough', options: { maxCalls: 1 }, text: `A ${call}\nand ${call} more`, content: 'A', calls: [paris] },
  {
    name: 'tags instead of JSON',
    text: '<tool_call>\n<function=get_weather>\n<parameter=city>\nNew\n York\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=exact>\ntrue\n</parameter>\n<parameter=tags>\n["a"]\n</parameter>\n</function>\n</tool_call>',
    calls: [['get_weather', { city: 'New\n York', days: 3, exact: true, tags: ['a'] }]],
  },
  { name: 'tags without parameters', text: '<tool_call><function=f></function></tool_call>', calls: [['f', {}]] },
  {
    name: 'what fits no type stays text',
    text: '<tool_call><function=get_weather><parameter=days>soon</parameter></function></tool_call>',
    calls: [['get_weather', { days: 'soon' }]],
  },
  {
    name: 'a parameter without its end',
    text: '<tool_call><function=f><parameter=a>1</function></tool_call>',
    calls: [['f', '{"a":"1</function>']],
  },
  {
    name: 'a typed parameter without its end',
    text: '<tool_call><function=get_weather><parameter=days>1}</function></tool_call>',
    calls: [['get_weather', '{"days":"1}</function>']],
  },
  {
    name: 'text between tags',
    text: '<tool_call><function=f>\n<parameter=a>1</parameter> and "b" }</function></tool_call>!',
    content: 'and "b" }</function>!',
    calls: [['f', '{"a":"1"']],
  },
  { name: 'a tag that is cut', text: '<tool_call><function=f><param</tool_call>!', content: '<param!', calls: [['f', '{']] },
  { name: 'tags that are cut', text: '<tool_call><function=f><parameter=a>\nx\n</para', cut: true, calls: [['f', '{"a":"x\\n</para']] },
  { name: 'a call of tags that is cut before any parameter', text: '<tool_call><function=f>', cut: true, calls: [['f', '{']] },
  { name: 'tags without a name are content', text: '<tool_call><function= ></tool_call>', content: '<tool_call><function= ></tool_call>' },
  {
    name: 'line breaks of a value',
    text: '<tool_call><function=f><parameter=a>\r\n\n"\ud83d\ude00\r\n\n\r\n</parameter><parameter=b>\n</parameter></function></tool_call>',
    calls: [['f', { a: '\n"\ud83d\ude00\r\n\n', b: '' }]],
  },
]

const gemma: Omit<Case, 'format'>[] = [
  { name: 'plain', text: 'The capital is Lima.', content: 'The capital is Lima.' },
  { name: 'reasoning', text: '<|channel>thought\nIt is cold.\n<channel|>Yes.', reasoning: 'It is cold.', content: 'Yes.' },
  { name: 'a template has closed the block', prompt: '<|turn>model\n<|channel>thought\n<channel|>', text: 'Yes.', content: 'Yes.' },
  {
    name: 'a template has opened the block',
    prompt: '<|turn>model\n<|channel>thought\n',
    text: 'It is\n<channel|>Yes.',
    reasoning: 'It is',
    content: 'Yes.',
  },
  {
    name: 'a call',
    text: `<|tool_call>call:get_weather{city:${q}Oslo${q},unit:${q}C${q}}<tool_call|>`,
    calls: [['get_weather', { city: 'Oslo', unit: 'C' }]],
  },
  {
    name: 'every kind of value',
    text: `<|tool_call>call:f{a:-1.5e3,b:true,c:null,d:[1,${q}x, "y{" }${q},[]],e:{${q}k k${q}:{}},f_g-h:"z\\n", i : false}<tool_call|>`,
    calls: [['f', { a: -1500, b: true, c: null, d: [1, 'x, "y{" }', []], e: { 'k k': {} }, 'f_g-h': 'z\n', i: false }]],
  },
  {
    name: 'two calls',
    text: '<|tool_call>call:f{}<tool_call|><|tool_call>call:g<tool_call|><|tool_response>',
    calls: [
      ['f', {}],
      ['g', {}],
    ],
  },
  { name: 'a broken call shows what was written', text: '<|tool_call>call:f{a:}<tool_call|>x', content: 'x', calls: [['f', '{"a":}']] },
  { name: 'a bare word is no value', text: '<|tool_call>call:f{a:Oslo}<tool_call|>', calls: [['f', '{"a":Oslo}']] },
  { name: 'arguments that are cut', text: `<|tool_call>call:f{a:${q}x"`, cut: true, calls: [['f', '{"a":"x\\"']] },
  { name: 'a call cut in its name is content', text: '<|tool_call>call:f', cut: true, content: '<|tool_call>call:f' },
  { name: 'a call without a name is content', text: '<|tool_call>call:{}<tool_call|>', content: '<|tool_call>call:{}<tool_call|>' },
  { name: 'a call without its end', text: `<|tool_call>call:f{a:${q}x${q}}`, calls: [['f', { a: 'x' }]] },
  { name: 'marks that mean nothing', text: 'a<channel|>b<turn|>', content: 'ab' },
  {
    name: 'nesting has an end',
    text: `<|tool_call>call:f{a:${'['.repeat(600)}${q}${']'.repeat(600)}}<tool_call|>`,
    calls: [['f', `{"a":${'['.repeat(600)}${q}${']'.repeat(600)}}`]],
  },
]

const begun = '<|end|><|start|>assistant'
const harmony: Omit<Case, 'format'>[] = [
  { name: 'final', prompt: begun, text: '<|channel|>final<|message|>Hello, how?', content: 'Hello, how?' },
  {
    name: 'analysis, then final',
    prompt: begun,
    text: '<|channel|>analysis<|message|>It is cold.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>',
    reasoning: 'It is cold.',
    content: 'Yes.',
  },
  {
    name: 'a call, the recipient before the channel',
    prompt: begun,
    text: ' to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Oslo"}',
    calls: [['get_weather', { city: 'Oslo' }]],
  },
  {
    name: 'analysis, preamble and a call, the recipient behind the channel',
    prompt: begun,
    text: '<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>One moment.<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>',
    reasoning: 'Hm.',
    content: 'One moment.',
    calls: [['f', {}]],
  },
  { name: 'a call without arguments', prompt: begun, text: ' to=functions.f<|channel|>commentary<|message|>', calls: [['f', {}]] },
  {
    name: 'a call cut before its arguments is content',
    prompt: begun,
    cut: true,
    text: ' to=functions.f<|channel|>commentary json<|message|> ',
    content: 'to=functions.f<|channel|>commentary json<|message|> ',
  },
  {
    name: 'arguments that are cut',
    prompt: begun,
    cut: true,
    text: ' to=functions.f<|channel|>commentary json<|message|>{"a": ',
    calls: [['f', '{"a": ']],
  },
  {
    name: 'broken arguments, and text behind whole ones',
    prompt: begun,
    text: ' to=functions.f<|channel|>commentary json<|message|> {"a": oops}<|call|><|start|>assistant to=functions.g<|message|>\n{"a": 1} \nso <|end|>',
    content: 'so',
    calls: [
      ['f', '{"a": oops}'],
      ['g', { a: 1 }],
    ],
  },
  { name: 'a cut header that calls is content', prompt: begun, cut: true, text: ' to=functions.f<|chan', content: ' to=functions.f<|chan' },
  { name: 'a header that is long', prompt: begun, text: `${'x'.repeat(240)}<|message|>y`, content: 'y' },
  {
    name: 'a header that is too long is content',
    prompt: begun,
    text: `${'x'.repeat(260)}<|message|>y`,
    content: `${'x'.repeat(260)}<|message|>y`,
  },
  { name: 'a cut header that says nothing', prompt: begun, cut: true, text: '<|channel|>anal', content: '' },
  { name: 'a model that does not keep to it', prompt: begun, text: `${'Just text. '.repeat(40)}`, content: 'Just text. '.repeat(40) },
  { name: 'a short one', prompt: begun, text: 'Just text.', content: 'Just text.' },
  {
    name: 'calls are not wanted',
    prompt: begun,
    options: { readCalls: false },
    text: ' to=functions.f<|channel|>commentary<|message|>{}',
    content: '{}',
  },
]

const cases: Case[] = [
  ...tagged.map((c) => ({ ...c, format: taggedFormat })),
  ...gemma.map((c) => ({ ...c, format: gemma4Format })),
  ...harmony.map((c) => ({ ...c, format: harmonyFormat })),
  { name: 'without calls', format: thinkFormat, text: `<think>a</think>b ${call}`, reasoning: 'a', content: `b ${call}` },
]

describe.each(cases)('$format.name: $name', ({ format, text, prompt, options, cut, content = '', reasoning = '', calls = [] }) => {
  const expected = { content, reasoning, calls }

  const whole = read(format, [text], prompt, options, cut)

  test('is read', () => {
    expect(whole).toMatchObject(expected)
  })

  test('the same to the byte however it is cut', () => {
    expect(read(format, [...text], prompt, options, cut)).toEqual(whole)
    expect(read(format, text.split(''), prompt, options, cut)).toEqual(whole)
    for (let at = 0; at <= text.length; at++) {
      expect(read(format, [text.slice(0, at), text.slice(at)], prompt, options, cut)).toEqual(whole)
    }
    const random = seeded(7)
    for (let round = 0; round < 20; round++) {
      const pieces: string[] = []
      for (let at = 0; at < text.length;) {
        const size = 1 + random(12)
        pieces.push(text.slice(at, at + size))
        at += size
      }
      expect(read(format, pieces, prompt, options, cut)).toEqual(whole)
    }
  })
})

describe('what is held back', () => {
  test.each<[string, AnswerFormat, string[], string[]]>([
    [
      'of JSON numbers and words, and the mark of an escape',
      taggedFormat,
      ['<tool_call>{"na', 'me":"f", "arguments"', ': {', '"a', '":', ' 1', '2', ',"b', '":"x', '\\', 'n', '</t', '"}', '}', '</tool_call>'],
      ['', '', '{', '"a', '":', ' ', '', '12,"b', '":"x', '', '\\n', '', '</t"}', '', ''],
    ],
    [
      'of tags values that need their type, and what may end a text',
      taggedFormat,
      [
        '<tool_call><function=get_weather>',
        '<parameter=city>',
        '\nOs',
        'lo\n',
        '</param',
        'eter><parameter=days>',
        '1',
        '2</parameter>',
        '</function>',
      ],
      ['{', '"city":', '"Os', 'lo', '', '","days":', '', '12', '}'],
    ],
    [
      'of Gemma keys and words',
      gemma4Format,
      ['<|tool_call>call:f', '{ci', 'ty', ':<|', '"|>Os', 'lo<', '|"|>', ',n:tr', 'ue', '}', '<tool_call|>'],
      ['', '{', '', '"city":', '"Os', 'lo', '"', ',"n":', '', 'true}', ''],
    ],
    [
      'of harmony as of JSON',
      harmonyFormat,
      [' to=functions.f<|message|>', ' ', '{"a', '":tr', 'ue', '}', '<|call|>'],
      ['', '', '{"a', '":', '', 'true}', ''],
    ],
  ])('of arguments: %s', (_name, format, pieces, expected) => {
    const parser = format.parser('<|start|>assistant', defaults)
    expect(
      pieces.map((piece) =>
        parser
          .push(piece)
          .calls.map((call) => call.arguments)
          .join(''),
      ),
    ).toEqual(expected)
  })

  test('only what may begin a marker, and white space that may touch one', () => {
    const parser = taggedFormat.parser('', defaults)
    expect(['Hel', 'lo <', 'b> <thi', 'ngs>', '\n', '!'].map((piece) => parser.push(piece).content)).toEqual([
      'Hel', 'lo', ' <b>', ' <things>', '', '\n!',
    ]) // prettier-ignore
  })

  test('reasoning streams', () => {
    const parser = gemma4Format.parser('', defaults)
    const pieces = ['<|channel>', 'thought\n', 'It', ' is', ' <', 'cold', '\n', '<channel|>', 'Yes']
    expect(pieces.map((piece) => parser.push(piece).reasoning)).toEqual(['', '', 'It', ' is', '', ' <cold', '', '', ''])
  })
})

test('an answer that ends with a call says so', () => {
  expect(read(taggedFormat, [`${call}\n`]).endsWithCall).toBe(true)
  expect(read(taggedFormat, [`${call}\nx`]).endsWithCall).toBe(false)
  expect(read(taggedFormat, ['x']).endsWithCall).toBe(false)
})

test('arguments are what the model wrote, to the byte', () => {
  const args = '{"id": 12345678901234567890,\t"x" :1.50, "e": "\\u00e9\\/", "a": [ ]\n}'
  expect(read(taggedFormat, [`<tool_call>{"name":"f","arguments": ${args} }</tool_call>`]).texts).toEqual([args])
})

test('random texts of markers: the cuts change nothing and every character of no markup comes back', () => {
  const parts = [
    '<think>',
    '</think>',
    '<tool_call>',
    '</tool_call>',
    '{"name":"f"',
    ',"arguments":{"a":"',
    ',"arguments":{',
    '"b":',
    '12',
    '[',
    ']',
    ',',
    '<function=f>',
    '<parameter=a>',
    '</parameter>',
    '</function>',
    '"}}',
    '\\',
    '"',
    ' ',
    '\n',
    'x',
    '<',
    '}',
  ]
  const random = seeded(99)
  for (let round = 0; round < 5000; round++) {
    const pieces = Array.from({ length: random(20) }, () => parts[random(parts.length)]!)
    const text = pieces.join('')
    const whole = read(taggedFormat, [text])
    expect(read(taggedFormat, pieces), text).toEqual(whole)
    expect(read(taggedFormat, [...text]), text).toEqual(whole)
    const all = whole.content + whole.reasoning + whole.texts.join('')
    const count = (s: string): number => [...s].filter((char) => char === 'x').length
    if (!text.includes('arguments')) expect(count(all), text).toBe(count(text))
  }
})

test('a value written as bare text is of the type that a reference, a list of values or a constant says', () => {
  const parameters = {
    type: 'object',
    properties: {
      place: { $ref: '#/$defs/Place' },
      next: { anyOf: [{ $ref: '#/$defs/Place' }, { type: 'null' }], default: null },
      unit: { description: 'of it', allOf: [{ $ref: '#/$defs/Unit' }] },
      level: { enum: [1, 2] },
      on: { const: true },
      circle: { $ref: '#/properties/circle' },
      lost: { $ref: '#/$defs/None' },
    },
    $defs: { Place: { type: 'object', properties: { x: { type: 'integer' } } }, Unit: { enum: ['1', '2'] } },
  }
  const values = { place: '{"x": 1}', next: 'null', unit: '1', level: '2', on: 'true', circle: '3', lost: '4' }
  const written = Object.entries(values).map(([key, value]) => `<parameter=${key}>\n${value}\n</parameter>\n`)
  const tools = toolSchemas([{ type: 'function', function: { name: 'f', parameters } }])
  const { calls } = read(taggedFormat, [`<tool_call>\n<function=f>\n${written.join('')}</function>\n</tool_call>`], '', { tools })
  expect(calls).toEqual([['f', { place: { x: 1 }, next: null, unit: '1', level: 2, on: true, circle: '3', lost: '4' }]])
})

test('a whole number written as bare text keeps all its digits', () => {
  const text = '<tool_call><function=get_weather><parameter=days>12345678901234567890</parameter></function></tool_call>'
  expect(read(taggedFormat, [text]).texts).toEqual(['{"days":12345678901234567890}'])
})

test.each<[AnswerFormat, string, string[]]>([
  [
    gemma4Format,
    '',
    [
      '<|tool_call>call:f{',
      '<tool_call|>',
      '<|tool_call>',
      'call:g',
      '<|"|>',
      '"',
      'a:',
      '{',
      '}',
      '[',
      ']',
      ',',
      ' ',
      '12',
      'True',
      '\\',
      '<',
      '<|',
      'x',
      '<|channel>thought\n',
      '<channel|>',
      '\n',
      '\u{1f600}',
    ],
  ],
  [
    harmonyFormat,
    begun,
    [
      ' to=functions.f<|message|>',
      '<|channel|>final',
      '<|channel|>analysis',
      '<|message|>',
      '<|call|>',
      '<|end|>',
      '<|start|>assistant',
      '{',
      '}',
      '"a":',
      '"',
      ',',
      '12',
      ' ',
      '\n',
      '\\',
      '<|',
      'x',
      '\u{1f600}',
    ],
  ],
])('random texts of a notation (%#): the cuts change nothing', (format, prompt, parts) => {
  const random = seeded(17)
  let calls = 0
  for (let round = 0; round < 4000; round++) {
    const pieces = Array.from({ length: random(16) }, () => parts[random(parts.length)]!)
    const text = pieces.join('')
    const cut = random(2) > 0
    const whole = read(format, [text], prompt, {}, cut)
    expect(read(format, pieces, prompt, {}, cut), text).toEqual(whole)
    expect(read(format, text.split(''), prompt, {}, cut), text).toEqual(whole)
    calls += whole.calls.length
  }
  expect(calls).toBeGreaterThan(300)
})
