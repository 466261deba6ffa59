import { z } from 'zod'
import type { ToolChoice } from '../engine/types.js'
import { ApiError } from './errors.js'

export const maxTools = 256
/** Characters of all tools together, as JSON: every one of them goes into the prompt. */
const maxToolText = 2 * 1024 * 1024

const toolName = z.string().regex(/^[A-Za-z0-9_.:/-]{1,128}$/, { error: 'must be 1 to 128 letters, digits or any of _ . : / -' })

// nulls mean that the client said nothing; templates would print them
const functionSchema = z.looseObject({
  name: toolName,
  description: z.string().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
})

export const toolsSchema = z.array(z.looseObject({ type: z.string().max(64).nullish() })).max(maxTools)

export const namedFunction = z.looseObject({ name: toolName })
const namedChoice = z.looseObject({ type: z.literal('function'), function: namedFunction })
const allowedTools = z.looseObject({
  type: z.literal('allowed_tools'),
  allowed_tools: z.looseObject({ mode: z.enum(['auto', 'required']), tools: z.array(namedChoice).min(1).max(maxTools) }),
})

export const toolChoiceSchema = z.union([z.enum(['auto', 'none', 'required']), namedChoice, allowedTools], {
  error: 'must be \'auto\', \'none\', \'required\' or name a function: {"type": "function", "function": {"name": …}}',
})

type WireTool = z.infer<typeof toolsSchema>[number]
type WireChoice = z.infer<typeof toolChoiceSchema>

export interface OfferedTool {
  [field: string]: unknown
  type: 'function'
  function: { name: string; [field: string]: unknown }
}

const isPresent = <T>(value: T): value is NonNullable<T> => value !== null && value !== undefined
const withoutNulls = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => isPresent(value)))

function readTool(tool: WireTool, index: number): OfferedTool {
  const param = `tools[${index}]`
  if (isPresent(tool.type) && tool.type !== 'function') {
    throw new ApiError(
      'unsupported_parameter',
      `\`${param}\` is of type '${tool.type}', but only functions can be called.`,
      `${param}.type`,
    )
  }
  const judged = functionSchema.safeParse(tool['function'])
  if (!judged.success) {
    const issue = judged.error.issues[0]
    const path = [`${param}.function`, ...(issue?.path ?? []).map(String)].join('.')
    throw new ApiError('invalid_request', `\`${path}\`: ${issue?.message ?? 'is not valid'}`, path)
  }
  return { ...withoutNulls(tool), type: 'function', function: { ...withoutNulls(judged.data), name: judged.data.name } }
}

/** Judges `tools`; throws an ApiError. Nulls are left out. */
export function readTools(tools: readonly WireTool[]): OfferedTool[] {
  const read = tools.map(readTool)
  const names = new Set<string>()
  for (const [index, tool] of read.entries()) {
    const { name } = tool.function
    if (names.has(name)) throw new ApiError('invalid_request', `Two tools are named '${name}'.`, `tools[${index}].function.name`)
    names.add(name)
  }
  if (JSON.stringify(read).length > maxToolText) {
    throw new ApiError('invalid_request', `\`tools\` must not be longer than ${maxToolText} characters of JSON.`, 'tools')
  }
  return read
}

/** The tools that the model is told of and what it may do with them. */
export interface ToolUse {
  tools?: OfferedTool[]
  toolChoice?: ToolChoice
}

/** Brings `tools` and `tool_choice` together; throws an ApiError where they do not fit. */
export function toolUse(tools: readonly OfferedTool[], choice: WireChoice | null | undefined): ToolUse {
  const known = (name: string): OfferedTool => {
    const tool = tools.find((candidate) => candidate.function.name === name)
    if (!tool) throw new ApiError('invalid_request', `\`tool_choice\` names '${name}', which is not among the \`tools\`.`, 'tool_choice')
    return tool
  }
  // without tools as well: what looks like a call is content
  if (choice === 'none') return { toolChoice: 'none' }
  if (tools.length === 0) {
    if (choice === undefined || choice === null || choice === 'auto') return {}
    throw new ApiError('invalid_request', '`tool_choice` needs `tools`.', 'tool_choice')
  }
  if (typeof choice !== 'object' || choice === null) return { tools: [...tools], toolChoice: choice ?? 'auto' }
  if (choice.type === 'function') {
    known(choice.function.name)
    return { tools: [...tools], toolChoice: { name: choice.function.name } }
  }
  const { mode, tools: allowed } = choice.allowed_tools
  return { tools: [...new Set(allowed.map(({ function: { name } }) => known(name)))], toolChoice: mode }
}
