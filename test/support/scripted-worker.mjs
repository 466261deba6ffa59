// A worker process over the scripted model. What `path` says happens at load: "ok", "slow MS", "fail", "exit",
// "once FILE" (loads the first time, fails when FILE exists).
import { existsSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { RequestError } from '../../dist/engine/types.js'
import { runWorkerProcess } from '../../dist/worker/worker-process.js'
import { scriptedModel } from './scripted-model.mjs'
import { scriptedSpeech } from './scripted-speech.mjs'

runWorkerProcess(
  async (options, onProgress) => {
    onProgress({ stage: 'processor' })
    const [verb, argument] = options.path.split(' ')
    if (verb === 'fail') throw new Error('There is no such model.')
    if (verb === 'exit') process.exit(7)
    if (verb === 'slow') await sleep(Number(argument))
    if (verb === 'once') {
      if (existsSync(argument)) throw new Error(`'${argument}' is there.`)
      writeFileSync(argument, '')
    }
    onProgress({ stage: 'weights', current: 1, total: 1 })
    return verb === 'speech' ? scriptedSpeech(RequestError) : scriptedModel(RequestError)
  },
  { heartbeatMs: 50 },
)
