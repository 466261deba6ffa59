// `functions` and `function_call`: what tools were called before, for clients that still speak so. One call an answer, without an id.
import { z } from 'zod'
import { maxTools, namedFunction, type toolChoiceSchema, type toolsSchema } from './chat-tools.js'
import { ApiError } from './errors.js'

export const functionsSchema = z.array(z.looseObject({})).max(maxTools)
export const functionCallSchema = z.union([z.enum(['auto', 'none']), namedFunction], {
  error: "must be 'auto', 'none' or name a function: {\"name\": …}",
})

interface FunctionFields {
  functions?: z.infer<typeof functionsSchema> | null | undefined
  function_call?: z.infer<typeof functionCallSchema> | null | undefined
  tools?: z.infer<typeof toolsSchema> | null | undefined
  tool_choice?: z.infer<typeof toolChoiceSchema> | null | undefined
}

type ToolFields = Pick<FunctionFields, 'tools' | 'tool_choice'>

/** The same in the words of tools; undefined where the request has no functions. Throws an ApiError. */
export function functionsAsTools({ functions, function_call: call, tools, tool_choice: choice }: FunctionFields): ToolFields | undefined {
  if (!functions || functions.length === 0) {
    if (typeof call !== 'object' || call === null) return undefined
    throw new ApiError('invalid_request', '`function_call` needs `functions`. With `tools`, use `tool_choice`.', 'function_call')
  }
  const other = tools && tools.length > 0 ? 'tools' : choice !== undefined && choice !== null ? 'tool_choice' : undefined
  if (other !== undefined) {
    throw new ApiError(
      'invalid_request',
      `\`functions\` and \`${other}\` exclude each other. Use \`tools\` and \`tool_choice\`.`,
      'functions',
    )
  }
  const named = typeof call === 'object' && call !== null ? { type: 'function' as const, function: { name: call.name } } : call
  return { tools: functions.map((item) => ({ type: 'function', function: item })), tool_choice: named }
}

/** How the fields of tools are called here. */
export const functionNames: readonly (readonly [RegExp, string])[] = [
  [/^tools(\[\d+\])\.function\b/, 'functions$1'],
  [/^tools\b/, 'functions'],
  [/^tool_choice\b/, 'function_call'],
]
