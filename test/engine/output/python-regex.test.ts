// The automaton finds what a backtracking engine finds: JavaScript's regular expressions are the oracle.
import { describe, expect, test } from 'vitest'
import { compileProgram } from '../../../src/engine/output/python-regex/program.js'
import { findAll, Search } from '../../../src/engine/output/python-regex/search.js'

const budget = () => ({ steps: 1e7 })

function whole(pattern: string, text: string): (string | undefined)[] | undefined {
  const match = new Search(compileProgram(pattern), budget()).run(text, true)
  return match?.spans.map((span) => span && text.slice(span.start, span.end))
}

function inPieces(pattern: string, text: string): (string | undefined)[] | undefined {
  const search = new Search(compileProgram(pattern), budget())
  for (let end = 1; end <= text.length; end++) search.run(text.slice(0, end), false)
  return search.run(text, true)?.spans.map((span) => span && text.slice(span.start, span.end))
}

function inJavaScript(pattern: string): RegExp {
  const word = '[\\p{L}\\p{N}_]'
  const border = `(?:(?<=${word})(?!${word})|(?<!${word})(?=${word}))`
  return new RegExp(pattern.replaceAll('\\w', word).replaceAll('\\b', border).replace('\\Z', '$'), 'su')
}

/** Numbers that look random, always the same ones. */
function* numbers(seed: number): Generator<number> {
  for (let state = seed; ;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    yield state / 2 ** 32
  }
}

/** A pattern of everything that both engines read alike: no captures in what repeats, no repeats of what may be empty. */
function randomPattern(random: Generator<number>): string {
  const below = (count: number): number => Math.floor((random.next().value as number) * count)
  const of = (...choices: string[]): string => choices[below(choices.length)]!
  const atom = (depth: number): string => {
    if (depth === 0 || below(3) > 0) return of('a', 'b', 'c', '[ab]', '[^a]', '.', '\\w', '\\s', 'é')
    return `(?:${sequence(depth - 1)}${below(2) ? `|${sequence(depth - 1)}` : ''})`
  }
  const sequence = (depth: number): string =>
    Array.from(
      { length: 1 + below(3) },
      (_, index) => atom(depth) + (index > 0 ? of('', '', '*', '+', '?', '*?', '+?', '??', '{1,2}', '{2}') : ''),
    ).join('')
  const part = (): string =>
    of(
      sequence(2),
      `(${sequence(2)})`,
      `(${sequence(1)})?`,
      `(?=${sequence(1)})`,
      `(?!${sequence(1)})`,
      '(?<=a)',
      '(?<!b)',
      '\\b',
      '^',
      '(.*?)',
      '(.*)',
    )
  return Array.from({ length: 1 + below(4) }, part).join('') + of('', '', '\\Z')
}

test('random patterns find the same in random texts, whole or in pieces', () => {
  const random = numbers(7)
  let found = 0
  for (let round = 0; round < 3000; round++) {
    const pattern = randomPattern(random)
    const text = Array.from({ length: 12 }, () => 'abc \né🎉'.at(Math.floor((random.next().value as number) * 6))).join('')
    const match = inJavaScript(pattern).exec(text)
    const expected = match ? [...match] : undefined
    if (expected) found++
    expect(whole(pattern, text), `${pattern} in ${JSON.stringify(text)}`).toEqual(expected)
    expect(inPieces(pattern, text), `${pattern} in pieces of ${JSON.stringify(text)}`).toEqual(expected)
  }
  expect(found).toBeGreaterThan(1000)
})

describe('what Python does otherwise than JavaScript', () => {
  test.each<[string, string, (string | undefined)[] | undefined]>([
    ['(.*?)$', 'a\n', ['a', 'a']],
    ['(.*?)$', 'a\n\n', ['a\n', 'a\n']],
    ['(.*?)\\Z', 'a\n', ['a\n', 'a\n']],
    ['(?s)(.+)', 'a\nb', ['a\nb', 'a\nb']],
    ['(?:(a)|b)*', 'ab', ['ab', 'a']],
    ['(?P<x>é+)\\b', 'éé', ['éé', 'éé']],
    ['(🎉+)(?<=🎉🎉)', '🎉🎉', ['🎉🎉', '🎉🎉']],
  ])('%s in %j', (pattern, text, expected) => {
    expect(whole(pattern, text)).toEqual(expected)
    expect(inPieces(pattern, text)).toEqual(expected)
  })

  test.each<[string, string, string[]]>([
    ['x*', 'axb', ['', 'x', '', '']],
    ['(.*)', 'ab', ['ab', '']],
    ['a|(?=b)', 'aab', ['a', 'a', '']],
  ])('all of %s in %j', (pattern, text, expected) => {
    const all = [...findAll(compileProgram(pattern), text, budget())]
    expect(all.map(({ start, end }) => text.slice(start, end))).toEqual(expected)
  })

  test.each(['(?<=a*)b', '(?=(a))a', '(?P<x>a)(?P<x>b)', '[b-a]'])('%s is refused', (pattern) => {
    expect(() => compileProgram(pattern)).toThrow()
  })
})
