// What a request's tools say, as far as the engine reads them.
import { isJsonObject } from './call-json.js'
import type { ToolSchemas } from './format.js'

/** Name -> JSON schema of the parameters; what is no function is passed over. */
export function toolSchemas(tools: readonly unknown[] = []): ToolSchemas {
  const schemas = new Map<string, Readonly<Record<string, unknown>>>()
  for (const tool of tools) {
    if (!isJsonObject(tool)) continue
    const { name, parameters } = isJsonObject(tool['function']) ? tool['function'] : tool
    if (typeof name === 'string') schemas.set(name, isJsonObject(parameters) ? parameters : {})
  }
  return schemas
}
