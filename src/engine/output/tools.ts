// What a request's tools say, as far as the engine reads them.
import type { JsonSchema } from '../constraint.js'
import { isJsonObject } from './call-json.js'
import type { CallableTool } from './constraints.js'
import type { ToolSchemas } from './format.js'

/** What is no function is passed over. */
export function callableTools(tools: readonly unknown[] = []): CallableTool[] {
  return tools.flatMap((tool) => {
    if (!isJsonObject(tool)) return []
    const { name, parameters, strict } = isJsonObject(tool['function']) ? tool['function'] : tool
    if (typeof name !== 'string') return []
    const takesNone = !isJsonObject(parameters) || Object.keys(parameters).length === 0
    return [
      {
        name,
        parameters: takesNone ? undefined : (parameters satisfies JsonSchema),
        strict: typeof strict === 'boolean' ? strict : undefined,
      },
    ]
  })
}

/** Name -> JSON schema of the parameters. */
export function toolSchemas(tools: readonly unknown[] = []): ToolSchemas {
  return new Map(callableTools(tools).map(({ name, parameters }) => [name, isJsonObject(parameters) ? parameters : {}]))
}
