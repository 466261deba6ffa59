import type { Item } from '../../protocol/responses/items.js'

// where a turn begins: what is left out must not tear a call from its result
const beginsTurn = (item: Item): boolean => item.type === 'message' && item.role === 'user'
const isGuidance = (item: Item): boolean => item.type === 'message' && (item.role === 'system' || item.role === 'developer')

/**
 * The items without their oldest turns: one turn less at attempt 0, then two, four and so on, at last with the newest turn only.
 * Guidance by system and developer messages stays. undefined: there is nothing more to leave out.
 */
export function olderLeftOut(items: readonly Item[], attempt: number): Item[] | undefined {
  const turns = items.flatMap((item, index) => (beginsTurn(item) ? [index] : []))
  const most = turns.length - 1
  if (most < 1 || (attempt > 0 && 2 ** (attempt - 1) >= most)) return undefined
  const start = turns[Math.min(2 ** attempt, most)]!
  return items.filter((item, index) => index >= start || isGuidance(item))
}
