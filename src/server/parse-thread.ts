// The thread that parses large request bodies.
import { parentPort } from 'node:worker_threads'
import { parseChatBody } from '../protocol/chat-schema.js'
import { toApiError } from '../protocol/errors.js'
import type { ParseAnswer, ParseTask } from './body-parser.js'

function answer({ id, bytes }: ParseTask): ParseAnswer {
  try {
    return { id, request: parseChatBody(bytes) }
  } catch (error) {
    const { code, message, param } = toApiError(error)
    return { id, error: { code, message, param } }
  }
}

parentPort?.on('message', (task: ParseTask) => parentPort?.postMessage(answer(task)))
