import { parseLoadModelBody } from '../../protocol/chat-schema.js'
import { canonicalName, namesModel } from '../../protocol/model-names.js'
import type { Call } from '../call.js'
import type { ServedModelState } from '../served-model.js'

// the stages that clients of transformers serve know
const knownStages = new Set(['processor', 'config', 'download', 'weights'])

const event = (body: object) => `data: ${JSON.stringify(body)}\n\n`

/** The event that a state of the model means, if any. @param waited whether the client saw the model loading */
function stateEvent(name: string, state: ServedModelState, waited: boolean): { text: string; last: boolean } | undefined {
  switch (state.phase) {
    case 'ready':
      return { text: event({ status: 'ready', model: name, cached: !waited }), last: true }
    case 'failed':
    case 'closed':
      return { text: event({ status: 'error', model: name, message: state.reason ?? 'The model could not be loaded.' }), last: true }
    case 'loading':
    case 'restarting': {
      const { progress } = state
      if (!progress || !knownStages.has(progress.stage)) return undefined
      const counted = progress.current === undefined ? {} : { progress: { current: progress.current, total: progress.total ?? null } }
      return { text: event({ status: 'loading', model: name, stage: progress.stage, ...counted }), last: false }
    }
  }
}

/** POST /load_model: events until the served model is ready. `transformers chat` calls it before the first turn. */
export async function loadModel(call: Call): Promise<void> {
  const asked = await call.readJsonBody(parseLoadModelBody)
  const { model } = call.context
  const { exchange } = call
  const info = model.info()
  call.beginEvents()
  if (!namesModel(asked, { ...info, aliases: model.aliases })) {
    const name = asked.includes('@') ? asked : `${asked}@main`
    const message = `This server serves '${info.id}' only; '${asked.slice(0, 200)}' cannot be loaded.`
    exchange.end(event({ status: 'error', model: name, message }))
    return
  }
  const name = canonicalName(info)
  let stopListening: () => void = () => undefined
  let waited = false
  const show = (state: ServedModelState) => {
    const shown = stateEvent(name, state, waited)
    waited = true
    if (!shown || exchange.closed) return
    if (!shown.last) return void exchange.write(shown.text)
    stopListening()
    exchange.end(shown.text)
  }
  show(model.state())
  if (exchange.closed) return
  stopListening = model.onChange(show)
  exchange.onAborted(() => stopListening())
}
