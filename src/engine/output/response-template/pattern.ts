// Python regular expressions of a response_template as JavaScript's, and as ones that match what could still become a match.
import { PatternError, type PatternNode, readPattern } from '../python-regex/syntax.js'
import type { MatchCost } from './bounded-match.js'

/**
 * Source of the whole pattern, and of one that also matches every beginning of it that ends at the end of the text; and in how many ways
 * backtracking can read a text of n characters with it from one place: `ways` times n to the power of `loops`.
 */
interface Source {
  full: string
  partial: string
  ways: number
  loops: number
}

/** Past this not even a watched match ends in time. */
const maxWays = 4096
const single = { ways: 1, loops: 0 }
const places = { '^': '^', $: '$', '\\A': '^', '\\Z': '$', '\\b': '\\b', '\\B': '\\B' }

function translate(node: PatternNode): Source {
  switch (node.kind) {
    case 'one':
      return { full: node.source, partial: `(?:${node.source}|$)`, ...single }
    case 'place':
      return { full: places[node.place], partial: '', ...single }
    case 'sequence':
      return sequence(node.items.map(translate))
    case 'options':
      return options(node.items.map(translate))
    case 'repeat':
      return repeat(translate(node.item), node)
    case 'group': {
      const inner = translate(node.item)
      const open = node.index === undefined ? '(?:' : node.name === undefined ? '(' : `(?<${node.name}>`
      return { ...inner, full: `${open}${inner.full})`, partial: `(?:${inner.partial})` }
    }
    case 'look': {
      const inner = translate(node.item)
      return { ...inner, full: `(?${node.ahead ? '' : '<'}${node.negative ? '!' : '='}${inner.full})`, partial: '' }
    }
  }
}

const sequence = (items: readonly Source[]): Source => ({
  full: items.map(({ full }) => full).join(''),
  partial: items.map(({ partial }) => partial).join(''),
  ways: items.reduce((product, { ways }) => product * ways, 1),
  loops: items.reduce((sum, { loops }) => sum + loops, 0),
})

const options = (items: readonly Source[]): Source => ({
  full: items.map(({ full }) => full).join('|'),
  partial: items.map(({ partial }) => partial).join('|'),
  ways: items.reduce((sum, { ways }) => sum + ways, 0),
  loops: Math.max(...items.map(({ loops }) => loops)),
})

function repeat(item: Source, { min, max, lazy, times }: PatternNode & { kind: 'repeat' }): Source {
  const one = `(?:${item.full})`
  const lazily = lazy ? '?' : ''
  // what can be read in several ways, repeated, can be read in exponentially many
  const simple = item.ways === 1 && item.loops === 0
  const cost =
    times === '?'
      ? { ways: item.ways + 1, loops: item.loops }
      : simple
        ? { ways: 1, loops: min === max ? 0 : 1 }
        : { ways: Infinity, loops: 0 }
  return {
    ...cost,
    full: `${item.full === '' ? one : item.full}${times}${lazily}`,
    partial: `(?:${one}${times}${lazily}|${one}*(?:${item.partial})$)`,
  }
}

export interface Pattern {
  /** Global: search from lastIndex. */
  full: RegExp
  /** Finds the first place from lastIndex on where the rest of the text is the beginning of a match; the end of the text is always one. */
  partial: RegExp
  cost: MatchCost
}

/** Python's DOTALL semantics. Throws a PatternError. */
export function compilePattern(pattern: string): Pattern {
  const { full, partial, ways, loops } = translate(readPattern(pattern).root)
  if (ways > maxWays) throw new PatternError('it can read one text in too many ways: a repeat holds repeats or alternatives')
  try {
    // a beginning of a match may end within each loop or behind it
    const cost = { ways: ways * 2 ** loops, loops }
    return { full: new RegExp(full, 'gsu'), partial: new RegExp(`(?:${partial})$`, 'gsu'), cost }
  } catch {
    throw new PatternError('it is not understood')
  }
}
