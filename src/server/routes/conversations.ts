import { ApiError } from '../../protocol/errors.js'
import { newId } from '../../protocol/responses/items.js'
import type { Call } from '../call.js'
import type { Conversation } from '../responses/database.js'
import { itemList, pageOf } from './item-lists.js'

/** POST /v1/conversations */
export async function createConversation(call: Call): Promise<void> {
  const { metadata, items } = await call.readJsonBody((body) => call.context.parser.parse('conversation', body))
  const conversation: Conversation = {
    id: newId('conv'),
    object: 'conversation',
    created_at: Math.floor(Date.now() / 1000),
    metadata,
  }
  await call.context.responses.store.call('createConversation', call.owner, conversation, items)
  call.sendJson(200, JSON.stringify(conversation))
}

const idPattern = /^conv_[0-9a-f]{48}$/

function requireId(id: string): string {
  if (idPattern.test(id)) return id
  throw new ApiError('not_stored', `No conversation with id '${id.slice(0, 128)}' found.`)
}

const send = (call: Call, value: object): void => call.sendJson(200, JSON.stringify(value))

/** GET /v1/conversations/{id} */
export async function getConversation(call: Call, id: string): Promise<void> {
  send(call, await call.context.responses.store.call('getConversation', call.owner, requireId(id)))
}

/** POST /v1/conversations/{id}: new metadata */
export async function updateConversation(call: Call, id: string): Promise<void> {
  const metadata = await call.readJsonBody((body) => call.context.parser.parse('conversationUpdate', body))
  send(call, await call.context.responses.store.call('updateConversation', call.owner, requireId(id), metadata))
}

/** DELETE /v1/conversations/{id} */
export async function deleteConversation(call: Call, id: string): Promise<void> {
  await call.context.responses.store.call('deleteConversation', call.owner, requireId(id))
  send(call, { id, object: 'conversation.deleted', deleted: true })
}

/** GET /v1/conversations/{id}/items */
export async function listItems(call: Call, id: string): Promise<void> {
  const { items, hasMore } = await call.context.responses.store.call('conversationItems', call.owner, requireId(id), pageOf(call))
  call.sendJson(200, itemList(items, hasMore))
}

/** POST /v1/conversations/{id}/items */
export async function addItems(call: Call, id: string): Promise<void> {
  const items = await call.readJsonBody((body) => call.context.parser.parse('conversationItems', body))
  await call.context.responses.store.call('addConversationItems', call.owner, requireId(id), items)
  call.sendJson(200, itemList(items, false))
}

/** GET /v1/conversations/{id}/items/{item} */
export async function getItem(call: Call, id: string, item: string): Promise<void> {
  send(call, await call.context.responses.store.call('conversationItem', call.owner, requireId(id), item))
}

/** DELETE /v1/conversations/{id}/items/{item} */
export async function deleteItem(call: Call, id: string, item: string): Promise<void> {
  send(call, await call.context.responses.store.call('deleteConversationItem', call.owner, requireId(id), item))
}
