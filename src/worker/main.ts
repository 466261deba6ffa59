// The entry of a model's own process. Started by src/models/supervisor.ts, which speaks to it over file descriptor 3.
import { runWorkerProcess } from './worker-process.js'

runWorkerProcess(async (options, onProgress) => {
  // loads the native addon: what goes wrong there is then told over the channel like any other failure
  const { isSpeechModelPath } = await import('../engine/speech/model-form.js')
  if (await isSpeechModelPath(options.path)) {
    const { LoadedSpeechModel } = await import('../engine/speech/loaded-speech-model.js')
    return LoadedSpeechModel.load(options, onProgress)
  }
  const { LoadedModel } = await import('../engine/loaded-model.js')
  return LoadedModel.load(options, onProgress)
})
