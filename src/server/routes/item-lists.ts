// Lists of items as OpenAI pages them.
import { ApiError } from '../../protocol/errors.js'
import type { Item } from '../../protocol/responses/items.js'
import type { Call } from '../call.js'
import type { ItemPage, PageRequest } from '../responses/database.js'

/** The page that the query asks for: `limit` (1 to 100, default 20), `order` (default desc), `after`. Throws an ApiError. */
export function pageOf(call: Call): PageRequest {
  const query = new URLSearchParams(call.exchange.query)
  const limit = query.get('limit') ?? '20'
  if (!/^\d{1,3}$/.test(limit) || Number(limit) < 1 || Number(limit) > 100) {
    throw new ApiError('invalid_request', '`limit` must be a number from 1 to 100.', 'limit')
  }
  const order = query.get('order') ?? 'desc'
  if (order !== 'asc' && order !== 'desc') throw new ApiError('invalid_request', "`order` must be 'asc' or 'desc'.", 'order')
  const after = query.get('after')
  return { limit: Number(limit), order, ...(after === null ? {} : { after: after.slice(0, 128) }) }
}

/** The page of items that are in memory. Throws an ApiError where the item that it is to follow is not among them. */
export function pageWithin(items: readonly Item[], { limit, order, after }: PageRequest): ItemPage {
  const ordered = order === 'asc' ? items : items.toReversed()
  const before = after === undefined ? -1 : ordered.findIndex(({ id }) => id === after)
  if (after !== undefined && before < 0) throw new ApiError('not_stored', `No item with id '${after}' found.`, 'after')
  const page = ordered.slice(before + 1, before + 1 + limit)
  return { items: page, hasMore: before + 1 + limit < items.length }
}

export function itemList(items: readonly Item[], hasMore: boolean): string {
  return JSON.stringify({
    object: 'list',
    data: items,
    first_id: items[0]?.id ?? null,
    last_id: items.at(-1)?.id ?? null,
    has_more: hasMore,
  })
}
