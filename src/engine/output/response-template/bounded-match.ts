// Matching by patterns that came with a checkpoint, in bounded time: they run on the thread that serves the model.
import { createContext, Script } from 'node:vm'

/** From one place, a text of n characters can be read in up to `ways` times n to the power of `loops` ways. */
export interface MatchCost {
  ways: number
  loops: number
}

/** The pattern took too long on this text. */
export class MatchTimeout extends Error {
  override readonly name = 'MatchTimeout'
}

/** Steps of backtracking that take some ten milliseconds at most. */
const maxSteps = 1e6
const timeoutMs = 100

const context: { regex: RegExp | undefined; text: string } = createContext({ regex: undefined, text: '' }) as never
const exec = new Script('regex.exec(text)')
const matchAll = new Script('[...text.matchAll(regex)]')

// what cannot take long runs as it is, lists of literals among it; a watched run costs a thread
const isCheap = ({ ways, loops }: MatchCost, text: string): boolean =>
  (loops === 0 && ways <= 64) || ways * text.length ** (loops + 1) <= maxSteps

function watched<T>(script: Script, regex: RegExp, text: string): T {
  context.regex = regex
  context.text = text
  try {
    return script.runInContext(context, { timeout: timeoutMs }) as T
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw new MatchTimeout('a pattern took too long')
    throw error
  } finally {
    context.regex = undefined
    context.text = ''
  }
}

/** The first match from the beginning of the text. Throws a MatchTimeout. @param regex global */
export function firstMatch(regex: RegExp, cost: MatchCost, text: string): RegExpExecArray | null {
  regex.lastIndex = 0
  return isCheap(cost, text) ? regex.exec(text) : watched(exec, regex, text)
}

/** Every match. Throws a MatchTimeout. @param regex global */
export function allMatches(regex: RegExp, cost: MatchCost, text: string): RegExpExecArray[] {
  return isCheap(cost, text) ? [...text.matchAll(regex)] : watched(matchAll, regex, text)
}
