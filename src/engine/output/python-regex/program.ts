// Patterns as programs for an automaton that follows all readings of a text side by side (search.ts): its time is linear in the text.
import { PatternError, type PatternNode, type PlaceKind, readPattern } from './syntax.js'

export type Instruction =
  /** Takes one code point; `literal`: only this one, `any`: every one. */
  | { op: 'one'; takes: (char: string) => boolean; literal: boolean; any: boolean }
  /** Goes on at each of these, the first preferred. */
  | { op: 'split'; to: readonly number[] }
  | { op: 'open' | 'close'; group: number }
  | { op: 'place'; place: PlaceKind }
  /** `width`: how many code points a look back begins before its place. */
  | { op: 'look'; body: Program; ahead: boolean; negative: boolean; width: number }
  | { op: 'match' }

export interface Program {
  code: readonly Instruction[]
  groups: number
  /** Name -> number of the group. */
  names: ReadonlyMap<string, number>
  /** From these instructions on there is a match whatever text follows. */
  sure: ReadonlySet<number>
  /** From these instructions on there is a match if the text ends. */
  final: ReadonlySet<number>
}

/** Of a pattern with all that it looks at. */
const maxInstructions = 1000
const maxLookDepth = 4

const any = '[\\s\\S]'

function taker(source: string, char: string | undefined): (char: string) => boolean {
  if (char !== undefined) return (other) => other === char
  if (source === any) return () => true
  try {
    const regex = new RegExp(`^${source}$`, 'su')
    return (other) => regex.test(other)
  } catch {
    throw new PatternError('it is not understood')
  }
}

/** How many code points a node takes; undefined: that depends. */
function width(node: PatternNode): number | undefined {
  switch (node.kind) {
    case 'one':
      return 1
    case 'place':
    case 'look':
      return 0
    case 'sequence':
      return node.items.reduce<number | undefined>((sum, item) => plus(sum, width(item)), 0)
    case 'options': {
      const [first, ...others] = node.items.map(width)
      return others.every((other) => other === first) ? first : undefined
    }
    case 'repeat': {
      const one = width(node.item)
      return one === undefined || node.min !== node.max ? undefined : one * node.min
    }
    case 'group':
      return width(node.item)
  }
}

const plus = (a: number | undefined, b: number | undefined): number | undefined => (a === undefined || b === undefined ? undefined : a + b)

class Compiler {
  readonly code: Instruction[] = []
  readonly names = new Map<string, number>()

  constructor(
    private readonly room: { left: number },
    private readonly lookDepth: number,
  ) {}

  emit(instruction: Instruction): void {
    if (--this.room.left < 0) throw new PatternError('it is too large')
    this.code.push(instruction)
  }

  #split(): { to: number[] } {
    const split = { op: 'split' as const, to: [] as number[] }
    this.emit(split)
    return split
  }

  node(node: PatternNode): void {
    switch (node.kind) {
      case 'one':
        this.emit({ op: 'one', takes: taker(node.source, node.char), literal: node.char !== undefined, any: node.source === any })
        return
      case 'place':
        this.emit({ op: 'place', place: node.place })
        return
      case 'sequence':
        for (const item of node.items) this.node(item)
        return
      case 'options':
        this.#options(node.items)
        return
      case 'repeat':
        this.#repeat(node)
        return
      case 'group':
        this.#group(node)
        return
      case 'look':
        this.#look(node)
    }
  }

  #options(items: readonly PatternNode[]): void {
    const split = this.#split()
    const ends = items.map((item) => {
      split.to.push(this.code.length)
      this.node(item)
      return this.#split()
    })
    for (const end of ends) end.to.push(this.code.length)
  }

  #repeat({ item, min, max, lazy }: PatternNode & { kind: 'repeat' }): void {
    for (let count = 0; count < min; count++) this.node(item)
    const order = (more: number, out: number): number[] => (lazy ? [out, more] : [more, out])
    if (max === Infinity) {
      const split = this.#split()
      const body = this.code.length
      this.node(item)
      const back = this.#split()
      back.to.push(body - 1)
      split.to.push(...order(body, this.code.length))
      return
    }
    const splits: { to: number[]; body: number }[] = []
    for (let count = min; count < max; count++) {
      splits.push({ to: this.#split().to, body: this.code.length })
      this.node(item)
    }
    for (const { to, body } of splits) to.push(...order(body, this.code.length))
  }

  #group({ item, index, name }: PatternNode & { kind: 'group' }): void {
    if (index === undefined) {
      this.node(item)
      return
    }
    if (this.lookDepth > 0) throw new PatternError('a group that captures within a look-around is not supported')
    if (name !== undefined && this.names.has(name)) throw new PatternError(`two groups are named ${name}`)
    this.emit({ op: 'open', group: index })
    this.node(item)
    this.emit({ op: 'close', group: index })
    if (name !== undefined) this.names.set(name, index)
  }

  #look({ item, ahead, negative }: PatternNode & { kind: 'look' }): void {
    if (this.lookDepth >= maxLookDepth) throw new PatternError('nested too deep')
    const back = ahead ? 0 : width(item)
    if (back === undefined) throw new PatternError('a look back has no fixed width')
    const body = compile(item, 0, this.room, this.lookDepth + 1)
    this.emit({ op: 'look', body, ahead, negative, width: back })
  }
}

function compile(node: PatternNode, groups: number, room: { left: number }, lookDepth: number): Program {
  const compiler = new Compiler(room, lookDepth)
  compiler.node(node)
  compiler.emit({ op: 'match' })
  const { code, names } = compiler
  const final = new Set([...code.keys()].filter((at) => reach(code, at, true).has(code.length - 1)))
  return { code, groups, names, sure: sureInstructions(code), final }
}

/** Where `from` leads without any text; `atEnd`: past places at the end of the text, too. */
function reach(code: readonly Instruction[], from: number, atEnd: boolean): Set<number> {
  const seen = new Set<number>([from])
  for (const at of seen) {
    const instruction = code[at]!
    if (instruction.op === 'split') for (const to of instruction.to) seen.add(to)
    else if (instruction.op === 'open' || instruction.op === 'close') seen.add(at + 1)
    else if (atEnd && holdsAtEnd(instruction)) seen.add(at + 1)
  }
  return seen
}

function holdsAtEnd(instruction: Instruction): boolean {
  if (instruction.op === 'place') return instruction.place === '$' || instruction.place === '\\Z'
  if (instruction.op !== 'look' || !instruction.ahead) return false
  return instruction.body.final.has(0) !== instruction.negative
}

function sureInstructions(code: readonly Instruction[]): ReadonlySet<number> {
  const last = code.length - 1
  const loops = code.flatMap((instruction, at) =>
    instruction.op === 'one' && instruction.any && reach(code, at + 1, false).has(at) && reach(code, at + 1, true).has(last) ? [at] : [],
  )
  if (loops.length === 0) return new Set()
  return new Set(
    code.flatMap((_, at) => {
      const from = reach(code, at, false)
      return loops.some((loop) => from.has(loop)) && reach(code, at, true).has(last) ? [at] : []
    }),
  )
}

/** Compiles one of Python's patterns, under the flag DOTALL. Throws a PatternError. */
export function compileProgram(pattern: string): Program {
  const { root, groups } = readPattern(pattern)
  return compile(root, groups, { left: maxInstructions }, 0)
}
