// A checkpoint's chat template may be hostile: whatever it does, the render ends with an error and the process lives on.
import { describe, expect, test } from 'vitest'
import { ChatTemplates } from '../../src/engine/chat-template.js'
import { RequestError } from '../../src/engine/types.js'

const messages = [{ role: 'user', content: 'hello' }]
const render = (source: string) => new ChatTemplates({ default: source }, {}).render(messages)

const tooDeep = /nested too deep/
const tooLong = /runs too long/
const tooMuch = /makes too much text/

const grow = (start: string, step: string, end: string) =>
  `{% set n = namespace(v=${start}) %}{% for i in range(100000) %}{% set n.v = ${step} %}{% endfor %}${end}`

const hostile: [name: string, source: string, message: RegExp][] = [
  ['a macro that calls itself', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}', tooDeep],
  ['nested parentheses', `{{ ${'('.repeat(200_000)}1${')'.repeat(200_000)} }}`, tooDeep],
  ['nested negations', `{{ ${'not '.repeat(200_000)}1 }}`, tooDeep],
  ['nested ifs', '{% if 1 %}'.repeat(45_000) + '{% endif %}'.repeat(45_000), tooDeep],
  ['a chain of additions', `{{ 1${'+1'.repeat(300_000)} }}`, tooDeep],
  ['a chain of attributes', `{{ a${'.b'.repeat(300_000)} }}`, tooDeep],
  ['a value that holds itself', '{% set n = namespace(v=1) %}{% set n.v = n %}{{ n | tojson }}', tooDeep],
  ['a deep list that is printed', grow('1', '[n.v]', '{{ n.v }}'), tooDeep],
  ['an endless range', '{% for i in range(1000000000) %}{% endfor %}', tooLong],
  ['nested loops', '{% for i in range(100000) %}{% for j in range(100000) %}{{ j }}{% endfor %}{% endfor %}', tooLong],
  ['a list that doubles', grow('[1]', 'n.v + n.v', ''), tooLong],
  ['text that doubles', grow("'x'", 'n.v ~ n.v', ''), tooLong],
  ['replacements that multiply', "{% set a = 'a' * 1000000 %}{{ a | replace('a', a) }}", tooMuch],
  ['a template without measure', 'x'.repeat(1024 * 1024 + 1), /larger than 1 MiB/],
]

describe('the limits of a chat template', () => {
  test.each(hostile)('%s', { timeout: 60_000 }, async (_, source, message) => {
    const error = await render(source).then(
      () => undefined,
      (e: unknown) => e,
    )
    expect(error).toBeInstanceOf(RequestError)
    expect((error as RequestError).message).toMatch(message)
    expect(await render('{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}')).toBe('user: hello')
  })

  test('a deep list is freed without harm', async () => {
    expect(await render(grow('1', '[n.v]', 'done'))).toBe('done')
  })

  test('a long chain and a deep macro are ordinary', async () => {
    expect(await render(`{{ 'a'${" ~ 'b'".repeat(100)} }}`)).toBe(`a${'b'.repeat(100)}`)
    const countdown = '{% macro f(n) %}{% if n > 0 %}{{ n }},{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(20) }}'
    expect(await render(countdown)).toMatch(/^20,19,.*,1,$/)
  })
})
