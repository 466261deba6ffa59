// The thread that parses large request bodies.
import { parentPort } from 'node:worker_threads'
import { toApiError } from '../protocol/errors.js'
import { bodyParsers, type ParseAnswer, type ParseTask } from './body-parser.js'

function answer({ id, kind, bytes, options }: ParseTask): ParseAnswer {
  try {
    return { id, request: bodyParsers[kind](bytes, options) }
  } catch (error) {
    const { code, message, param } = toApiError(error)
    return { id, error: { code, message, param } }
  }
}

parentPort?.on('message', (task: ParseTask) => parentPort?.postMessage(answer(task)))
