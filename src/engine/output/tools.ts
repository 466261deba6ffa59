// What a request's tools say, as far as the engine reads them.
import type { JsonSchema } from '../constraint.js'
import { isJsonObject } from './call-json.js'
import type { CallableTool } from './constraints.js'
import type { ToolSchemas } from './format.js'
import { withReferences } from './schema-references.js'

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

/** Name -> JSON schema of the parameters; what is said of a parameter by reference stands with it. */
export function toolSchemas(tools: readonly unknown[] = []): ToolSchemas {
  return new Map(
    callableTools(tools).map(({ name, parameters }) => {
      if (!isJsonObject(parameters) || !isJsonObject(parameters['properties'])) return [name, isJsonObject(parameters) ? parameters : {}]
      const properties = Object.entries(parameters['properties']).map(([key, schema]) => [key, withReferences(schema, parameters)])
      return [name, { ...parameters, properties: Object.fromEntries(properties) as Record<string, unknown> }]
    }),
  )
}
