// What a request makes the whole output be: an answer of a form, a call that must be made, both behind the model's reasoning.
import { type Constraint, parseConstraint } from '../constraint.js'
import { type GenerateRequest, RequestError } from '../types.js'
import { isJsonObject } from './call-json.js'
import type { CallableTool } from './constraints.js'
import type { AnswerFormat } from './format.js'
import { callableTools } from './tools.js'

export interface OutputConstraint {
  /** The strictest first; each further one asks less of the arguments of tools that are not `strict`. */
  trees: Constraint[]
  /** The request's field that is at fault when no tree can be compiled. */
  param: string
}

const isStrict = (tool: unknown): boolean => isJsonObject(tool) && isJsonObject(tool['function']) && tool['function']['strict'] === true

/** Any object for the arguments of tools that are not strict. */
function relaxed(tools: readonly CallableTool[], wire: readonly unknown[]): CallableTool[] {
  const strict = new Set(callableTools(wire.filter(isStrict)).map(({ name }) => name))
  return tools.map((tool) => (tool.parameters === undefined || strict.has(tool.name) ? tool : { ...tool, parameters: { type: 'object' } }))
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
  if (!content && !forced) return undefined
  const wire = toolChoice === 'none' ? [] : (input.tools ?? [])
  const tools = callableTools(wire).filter(({ name }) => typeof toolChoice !== 'object' || name === toolChoice.name)
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
  const loose = tools.length > 0 ? tree(relaxed(tools, wire)) : undefined
  if (loose) trees.push(loose)
  return { trees, param: forced ? 'tools' : constraintParam }
}
