import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { InProcessModel } from '../../src/server/served-model.js'
import { startServer, type RunningServer, type ServerOptions } from '../../src/server/server.js'
import { SingleModelDirectory } from '../../src/server/single-model-directory.js'
import { uwsKey } from '../../src/server/transport/uws-binary.js'
import { FakeSpeechModel, type FakeSpeechOptions } from './fake-speech-model.js'
import { FakeTextModel, type FakeTextModelOptions } from './fake-text-model.js'

const hasUws = existsSync(fileURLToPath(new URL(`../../vendor/uws/${uwsKey}/uws.node`, import.meta.url)))

/** The transports that this machine can run; every HTTP test runs on each. */
export const transports: readonly ('uws' | 'node')[] = hasUws ? ['uws', 'node'] : ['node']

export interface TestServer extends AsyncDisposable {
  server: RunningServer
  model: FakeTextModel
  port: number
}

/** A server over a fake model on a free port. */
export async function testServer(
  transport: 'uws' | 'node',
  modelOptions: FakeTextModelOptions = {},
  serverOptions: Partial<ServerOptions> = {},
): Promise<TestServer> {
  const model = new FakeTextModel(modelOptions)
  const server = await startServer({
    port: 0,
    models: new SingleModelDirectory(new InProcessModel(model, ['short-name'])),
    transport,
    ...serverOptions,
  })
  return { server, model, port: server.port, [Symbol.asyncDispose]: () => server.close() }
}

/** The same over a fake speech model. */
export async function speechServer(
  transport: 'uws' | 'node',
  modelOptions: FakeSpeechOptions = {},
  serverOptions: Partial<ServerOptions> = {},
): Promise<Omit<TestServer, 'model'> & AsyncDisposable & { model: FakeSpeechModel }> {
  const model = new FakeSpeechModel(modelOptions)
  const models = new SingleModelDirectory(new InProcessModel(model, ['whisper-1']))
  const server = await startServer({ port: 0, models, transport, ...serverOptions })
  return { server, model, port: server.port, [Symbol.asyncDispose]: () => server.close() }
}

export const hello = [{ role: 'user', content: 'Hello' }]
