// The fixtures of test/fixtures, typed, and the rule by which an answer is compared with one (test/fixtures/README.md).
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { ChatMessage, Engine, GenerateOptions } from '../../src/index.js'

const root = new URL('../../', import.meta.url)

export interface Golden {
  id: number
  kind: string
  name?: string
  messages?: ChatMessage[]
  tools?: unknown[]
  kwargs?: Record<string, unknown>
  add_special_tokens?: boolean
  prompt: string
  prompt_ids: number[]
  max_tokens: number
  /** Greedy in float32, the stop token included. */
  output_ids: number[]
  /** Without the stop token, special tokens kept. */
  text: string
  text_skip_special?: string
  finish_reason: 'stop' | 'length'
  /** Best minus second-best logit of each step, in nats. */
  margins: number[]
  top_ids?: number[]
  top_logprobs?: number[]
  logits_bf16_max_diff_top20?: number
  /** Sum of the log probabilities of the prompt's tokens, the second and later ones, float32. */
  prompt_logprob_sum?: number
}

export interface ChatCase {
  messages: ChatMessage[]
  tools?: unknown[]
  kwargs: Record<string, unknown>
  add_generation_prompt: boolean
  rendered?: string
  ids?: number[]
  error?: string
}

export interface TokenizerCase {
  text: string
  ids: number[]
  ids_no_special: number[]
}

export interface GoldenFile {
  model: string
  goldens: Golden[]
  clock?: string
  chat?: Record<string, ChatCase>
  tokenizer?: { cases: TokenizerCase[] }
}

export const tinyModels = ['llama', 'llama2', 'qwen2', 'qwen3'] as const
/** One of each further kind: windows, latent attention with experts, sinks. */
export const familyModels = ['gemma3', 'deepseek-v2-lite', 'gpt-oss'] as const
export const goldenModels = ['tfserve-demo', ...tinyModels] as const

export function modelPath(name: string): string {
  return fileURLToPath(new URL(name === 'tfserve-demo' ? 'models/tfserve-demo' : `test/fixtures/models/${name}`, root))
}

export function readGoldens(name: string): GoldenFile {
  return JSON.parse(readFileSync(new URL(`test/fixtures/goldens/${name}.json`, root), 'utf8')) as GoldenFile
}

/** The margin under which a step may differ: weights and compute in float32, or weights in bfloat16. */
export function clearMargin(golden: Golden, dtype: 'float32' | 'bfloat16'): number {
  if (dtype === 'float32') return 0.05
  return golden.logits_bf16_max_diff_top20 === undefined ? 0.3 : 3 * golden.logits_bf16_max_diff_top20
}

/** Steps from the first on that have to be equal. */
export function comparableSteps(golden: Golden, margin: number): number {
  const close = golden.margins.findIndex((value) => value < margin)
  return close < 0 ? golden.output_ids.length : close
}

/** The prompt of a golden: the messages where the clock has no part in them, else the text that transformers rendered. */
export function promptOf(golden: Golden, chat: boolean): GenerateOptions {
  if (chat && golden.messages) {
    return {
      messages: golden.messages,
      ...(golden.tools && { tools: golden.tools }),
      ...(golden.kwargs && { chatTemplateKwargs: golden.kwargs }),
    }
  }
  return { prompt: golden.prompt, addSpecialTokens: golden.add_special_tokens ?? false }
}

export interface Answer {
  ids: number[]
  text: string
  finishReason: string | undefined
  promptTokens: number
  cachedTokens: number
}

export async function answer(engine: Engine, options: GenerateOptions): Promise<Answer> {
  const got: Answer = { ids: [], text: '', finishReason: undefined, promptTokens: 0, cachedTokens: 0 }
  for await (const delta of engine.generate(options)) {
    got.ids.push(...delta.tokens)
    got.text += delta.text
    got.finishReason = delta.finishReason ?? got.finishReason
    got.promptTokens = delta.promptTokens
    got.cachedTokens = delta.cachedTokens
  }
  return got
}

/** Plain argmax, whatever the checkpoint's generation_config.json says: that is how the goldens were made. */
export const greedy = { do_sample: false, repetition_penalty: 1 } as const

/** Greedy, with control tokens in the text as transformers' goldens have them. */
export function greedyAnswer(engine: Engine, golden: Golden, chat = false): Promise<Answer> {
  return answer(engine, { ...promptOf(golden, chat), ...greedy, max_new_tokens: golden.max_tokens, skip_special_tokens: false, raw: true })
}

/** What is wrong with an answer, or undefined. */
export function difference(golden: Golden, got: Answer, margin: number): string | undefined {
  const where = `${golden.kind} ${golden.name ?? golden.id}`
  if (got.promptTokens !== golden.prompt_ids.length)
    return `${where}: ${got.promptTokens} prompt tokens instead of ${golden.prompt_ids.length}`
  const steps = comparableSteps(golden, margin)
  const wrong = golden.output_ids.slice(0, steps).findIndex((id, step) => got.ids[step] !== id)
  if (wrong >= 0)
    return `${where}: step ${wrong} gave ${got.ids[wrong]} instead of ${golden.output_ids[wrong]}, margin ${golden.margins[wrong]}`
  if (steps < golden.output_ids.length) return undefined
  if (got.ids.length !== golden.output_ids.length) return `${where}: ${got.ids.length} tokens instead of ${golden.output_ids.length}`
  if (got.text !== golden.text) return `${where}: ${JSON.stringify(got.text)} instead of ${JSON.stringify(golden.text)}`
  if (got.finishReason !== golden.finish_reason) return `${where}: finish reason ${got.finishReason} instead of ${golden.finish_reason}`
  return undefined
}

/** Compares answers with goldens; the list of what differs. */
export function differences(goldens: readonly Golden[], answers: readonly Answer[], dtype: 'float32' | 'bfloat16'): string[] {
  return goldens.flatMap((golden, i) => difference(golden, answers[i]!, clearMargin(golden, dtype)) ?? [])
}

/** Runs `work` over items, at most `limit` at a time, in order. */
export async function inParallel<T, R>(items: readonly T[], limit: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const runner = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++
      results[index] = await work(items[index]!)
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, runner))
  return results
}
