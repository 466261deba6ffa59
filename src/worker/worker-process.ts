// What makes this process a model worker: its channel, its signals, its end.
import { Socket } from 'node:net'
import { type LoadModel, MessageLoop, type MessageLoopOptions } from './message-loop.js'

/** The channel to the front: a duplex pipe made by the parent. */
export const channelFd = 3

// a model that does not close, or a channel that does not take a last word, must not keep the process
const lastWordMs = 1000
const closeMs = 5000

// as it is followed by others
const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`)

/** Runs the worker until the front ends it or is gone; then the process exits. */
export function runWorkerProcess(load: LoadModel, options: MessageLoopOptions = {}): void {
  process.title = 'tfserve worker'
  // Ctrl-C reaches the whole process group, but when this process ends is for the front to decide
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => undefined)
  process.on('SIGHUP', () => undefined)

  let stream: Socket
  try {
    stream = new Socket({ fd: channelFd, readable: true, writable: true })
  } catch {
    process.stderr.write('tfserve: the worker is started by the server and does not run on its own.\n')
    process.exit(2)
  }
  stream.once('close', () => setTimeout(() => process.exit(1), closeMs).unref())

  const loop = new MessageLoop(stream, load, {
    ...options,
    onOptions: (engine) => (process.title = `tfserve worker: ${engine.id ?? engine.path}`),
  })

  let crashing = false
  const crash = (error: unknown): void => {
    if (crashing) return
    crashing = true
    const message = error instanceof Error ? error.message : String(error)
    setTimeout(() => process.exit(1), lastWordMs)
    if (error instanceof Error && error.stack) loop.log('debug', error.stack)
    const sent = loop.fail(`The model's process ended by an error: ${sentence(message)}`, () => process.exit(1))
    if (!sent) process.stderr.write(`tfserve worker: ${message}\n`)
  }
  process.on('uncaughtException', crash)
  process.on('unhandledRejection', crash)

  void loop.ended.then((end) => process.exit(end.reason === 'shutdown' || end.reason === 'channel_closed' ? 0 : 1))
}
