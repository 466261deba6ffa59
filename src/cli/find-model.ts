// What a model named on the command line is: files that are here, or downloaded now.
import { HubError } from '../hub/errors.js'
import { hubSettings } from '../hub/settings.js'
import type { Environment } from '../models/hub-cache.js'
import { ModelNotCachedError, ModelNotFoundError, type ResolvedModel, resolveModel } from '../models/resolve.js'
import type { Log } from './log.js'

/** The model's files, downloaded first where the Hub may have them; or the exit code, when the reason has been printed. */
export async function findModel(typed: string | undefined, env: Environment, log: Log): Promise<ResolvedModel | number> {
  try {
    try {
      return await resolveModel(typed, { env })
    } catch (error) {
      if (!(error instanceof ModelNotCachedError) || hubSettings(env).offline) throw error
      const { fetchModels } = await import('./download.js')
      const wanted = [{ typed: typed ?? error.spec.id, spec: error.spec }]
      const exitCode = await fetchModels(wanted, { preferCache: true, env, forServing: true }, () => undefined)
      return exitCode === 0 ? await resolveModel(typed, { env }) : exitCode
    }
  } catch (error) {
    if (!(error instanceof ModelNotFoundError || error instanceof HubError)) throw error
    log.write('error', error.message)
    return 1
  }
}
