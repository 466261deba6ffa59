// What a request makes the whole output be: an answer of a form, a call that must be made, both behind the model's reasoning.
import { type Constraint, parseConstraint } from '../constraint.js'
import { type GenerateRequest, RequestError } from '../types.js'
import type { CallableTool } from './constraints.js'
import type { AnswerFormat } from './format.js'
import { callableTools } from './tools.js'

export interface OutputConstraint {
  /** The strictest first; each further one asks less of the arguments of tools that are not `strict`. */
  trees: Constraint[]
  /** The request's field that is at fault when no tree can be compiled. */
  param: string
  /** When no tree can be compiled the output may be anything. */
  optional?: boolean
}

/** Any object for the arguments of all tools but those that are bound to their schemas. */
const relaxed = (tools: readonly CallableTool[], isBound: (tool: CallableTool) => boolean): CallableTool[] =>
  tools.map((tool) => (tool.parameters === undefined || isBound(tool) ? tool : { ...tool, parameters: { type: 'object' } }))

const isStrict = ({ strict }: CallableTool): boolean => strict === true

/** The model may say what it likes, but a call that it begins is one of a tool, with arguments as they must be where the tool is strict. */
function guardedOutput(
  request: GenerateRequest,
  tools: readonly CallableTool[],
  chat: string,
  format: AnswerFormat,
): OutputConstraint | undefined {
  const { strictTools = false, parallelToolCalls = true } = request
  const isBound = (tool: CallableTool): boolean => tool.strict ?? strictTools
  if (!tools.some(isBound)) return undefined
  const declared = tools.some(isStrict)
  const bounds = declared && strictTools ? [isBound, isStrict] : [isBound]
  const trees = bounds.flatMap((bound) => format.guardCalls({ tools: relaxed(tools, bound), many: parallelToolCalls }, chat) ?? [])
  return trees.length > 0 ? { trees, param: 'tools', optional: !declared } : undefined
}

/**
 * undefined: the output may be anything. Throws a RequestError where a call is forced that the model's notation cannot write.
 * @param chat the rendered prompt of a chat
 */
export function outputConstraint(
  request: GenerateRequest,
  chat: string | undefined,
  format: AnswerFormat | undefined,
): OutputConstraint | undefined {
  const { input, constraint, constraintParam = 'constraint', toolChoice = 'auto', parallelToolCalls = true } = request
  const content = constraint && parseConstraint(constraint)
  if (chat === undefined || input.kind !== 'chat') return content && { trees: [content], param: constraintParam }
  const forced = toolChoice === 'required' || typeof toolChoice === 'object'
  const offered = toolChoice === 'none' ? [] : callableTools(input.tools)
  const tools = offered.filter(({ name }) => typeof toolChoice !== 'object' || name === toolChoice.name)
  if (!content && !forced) return format && !request.raw ? guardedOutput(request, tools, chat, format) : undefined
  if (forced && tools.length === 0) throw new RequestError('invalid_request', 'There is no such tool to be called.', 'tool_choice')
  const many = parallelToolCalls && typeof toolChoice === 'string'
  const tree = (callable: readonly CallableTool[]): Constraint | undefined => {
    if (!format) return forced ? undefined : content
    const calls = callable.length > 0 ? { calls: { tools: callable, many } } : {}
    return format.constrain({ ...(content && !forced ? { content } : {}), ...calls }, chat)
  }
  const strictest = tree(tools)
  if (!strictest) {
    throw new RequestError(
      'unsupported_parameter',
      "A call cannot be forced: this model's template shows no notation of calls.",
      'tool_choice',
    )
  }
  const trees = [strictest]
  const loose = tools.length > 0 ? tree(relaxed(tools, isStrict)) : undefined
  if (loose) trees.push(loose)
  return { trees, param: forced ? 'tools' : constraintParam }
}
