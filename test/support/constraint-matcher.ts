// A naive reading of constraint trees: which ends a match that begins at a place of a text can have, by trying all of them.
import type { Constraint } from '../../src/engine/constraint.js'

/** Whether a JSON value satisfies the schema of a `json_schema`; the test's own. */
export type Judge = (schema: unknown, value: unknown) => boolean

const places = (from: number, text: string): number[] => Array.from({ length: text.length - from + 1 }, (_, i) => from + i)
const firstEnd = (text: string, words: readonly string[]): number =>
  Math.min(...words.map((word) => text.indexOf(word)).map((at, i) => (at < 0 ? Infinity : at + words[i]!.length)))

function ends(tree: Constraint, text: string, from: number, judge: Judge): Set<number> {
  const through = (parts: readonly Constraint[], starts: Set<number>): Set<number> =>
    parts.reduce((at, part) => new Set([...at].flatMap((start) => [...ends(part, text, start, judge)])), starts)
  switch (tree.type) {
    case 'literal':
      return new Set(text.startsWith(tree.text, from) ? [from + tree.text.length] : [])
    case 'sequence':
      return through(tree.parts, new Set([from]))
    case 'any_of':
      return new Set(tree.options.flatMap((option) => [...ends(option, text, from, judge)]))
    case 'repeat': {
      const found = new Set<number>()
      let at = new Set([from])
      for (let i = 0; at.size > 0 && i <= (tree.max ?? text.length); i++) {
        if (i >= tree.min) for (const end of at) found.add(end)
        at = through(i > 0 && tree.separator ? [tree.separator, tree.item] : [tree.item], at)
      }
      return found
    }
    case 'regex':
      return new Set(places(from, text).filter((end) => new RegExp(`^(?:${tree.pattern})$`, 'su').test(text.slice(from, end))))
    case 'text_until':
    case 'free_text': {
      const until = tree.type === 'text_until' ? tree.literals : []
      const barred = firstEnd(text.slice(from), tree.without ?? [])
      const end = firstEnd(text.slice(from), until)
      if (tree.type === 'free_text') return new Set(places(from, text).filter((place) => place - from < barred))
      return new Set(end < barred && end < Infinity ? [from + end] : [])
    }
    case 'json_schema':
      return new Set(places(from, text).filter((end) => isJson(text.slice(from, end), (value) => judge(tree.schema, value))))
    case 'json_object':
    case 'grammar':
      throw new Error(`${tree.type} is not read here`)
  }
}

function isJson(text: string, fits: (value: unknown) => boolean): boolean {
  if (text.trim() !== text) return false
  try {
    return fits(JSON.parse(text))
  } catch {
    return false
  }
}

/** The whole text matches. */
export const matches = (tree: Constraint, text: string, judge: Judge): boolean => ends(tree, text, 0, judge).has(text.length)
