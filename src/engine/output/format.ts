// What the rest of the engine knows of a way to write answers.
import type { Constraint } from '../constraint.js'
import type { AnswerParser } from './answer.js'
import type { AllowedAnswer, AllowedCalls } from './constraints.js'

/** A tool's name and the JSON schema of its parameters. */
export type ToolSchemas = ReadonlyMap<string, Readonly<Record<string, unknown>>>

export interface ParserOptions {
  tools: ToolSchemas
  /** false: what looks like a call is content. */
  readCalls: boolean
  /** Calls after which the answer ends. */
  maxCalls: number
}

/** A notation of reasoning and tool calls. */
export interface AnswerFormat {
  readonly name: string
  /** Texts that the parser must see, also where they are special tokens. */
  readonly markers: readonly string[]
  /** The parser must see every special token. */
  readonly allSpecialTokens?: boolean
  /** @param prompt the rendered prompt: it may end within a block, as where a template opens `<think>` */
  parser(prompt: string, options: ParserOptions): AnswerParser
  /** What the whole output must be for the answer to be an allowed one; undefined: the notation has no calls. */
  constrain(allowed: AllowedAnswer, prompt: string): Constraint | undefined
  /** Any output, but what begins as a call must be one of these; undefined: the notation has no calls. */
  guardCalls(calls: AllowedCalls, prompt: string): Constraint | undefined
}
