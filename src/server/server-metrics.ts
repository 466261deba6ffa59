import type { EngineStats, GenerationDelta } from '../engine/types.js'
import type { ServedModelState } from './served-model.js'
import { Counter, Histogram, renderValue } from './metrics.js'

/** How a request ended. */
export type Outcome = 'stop' | 'length' | 'client_gone' | 'refused' | 'failed' | 'shut_down' | 'slow_reader'
const outcomes: readonly Outcome[] = ['stop', 'length', 'client_gone', 'refused', 'failed', 'shut_down', 'slow_reader']

const firstTokenBounds = [0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160]
const betweenTokensBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10]

/** What the server itself measures; the engine's own counters are added when the metrics are read. */
export class ServerMetrics {
  readonly requests = new Counter('tfserve_requests_total', 'Chat requests by how they ended.', 'outcome', outcomes)
  readonly responses = new Counter('tfserve_http_responses_total', 'HTTP answers by status class.', 'class', ['2xx', '4xx', '5xx'])
  readonly promptTokens = new Counter('tfserve_prompt_tokens_total', 'Prompt tokens of requests that brought output.')
  readonly cachedTokens = new Counter('tfserve_cached_prompt_tokens_total', 'Prompt tokens served from the prefix cache.')
  readonly outputTokens = new Counter('tfserve_generation_tokens_total', 'Tokens generated.')
  readonly firstToken = new Histogram('tfserve_time_to_first_token_seconds', 'From the request to its first token.', firstTokenBounds)
  readonly betweenTokens = new Histogram('tfserve_inter_token_latency_seconds', 'Between tokens of one choice.', betweenTokensBounds)

  render(): string {
    const parts = [
      this.requests,
      this.responses,
      this.promptTokens,
      this.cachedTokens,
      this.outputTokens,
      this.firstToken,
      this.betweenTokens,
    ]
    return parts.map((part) => part.render()).join('')
  }
}

/** Follows one generation's deltas: time to the first token, time between tokens, token counts. */
export class GenerationTimer {
  readonly #last: number[] = []
  readonly #counted: number[] = []
  #first = false

  constructor(
    readonly metrics: ServerMetrics,
    readonly startedAt: number,
  ) {}

  delta(delta: GenerationDelta): void {
    const now = performance.now()
    if (!this.#first && delta.outputTokens > 0) {
      this.#first = true
      this.metrics.firstToken.observe((now - this.startedAt) / 1000)
      this.metrics.promptTokens.add(delta.promptTokens)
      this.metrics.cachedTokens.add(delta.cachedTokens)
    }
    const fresh = delta.outputTokens - (this.#counted[delta.choice] ?? 0)
    if (fresh <= 0) return
    this.#counted[delta.choice] = delta.outputTokens
    this.metrics.outputTokens.add(fresh)
    const before = this.#last[delta.choice]
    // several tokens at once share the time that they took
    if (before !== undefined) for (let i = 0; i < fresh; i++) this.metrics.betweenTokens.observe((now - before) / 1000 / fresh)
    this.#last[delta.choice] = now
  }
}

/** The engine's counters and gauges. */
export function renderEngineStats(stats: EngineStats): string {
  const gauge = (name: string, help: string, value: number) => renderValue('gauge', `tfserve_${name}`, help, value)
  const counter = (name: string, help: string, value: number) => renderValue('counter', `tfserve_${name}_total`, help, value)
  const usable = stats.blocksTotal || 1
  const used = stats.blocksTotal - stats.blocksFree - stats.blocksCached
  const aborts = new Counter('tfserve_aborts_total', 'Sequences aborted, by what they were doing.', 'phase')
  aborts.add(stats.abortsWaiting, 'waiting')
  aborts.add(stats.abortsPrefill, 'prefill')
  aborts.add(stats.abortsDecode, 'decode')
  return [
    gauge('num_requests_running', 'Sequences that the engine computes.', stats.running),
    gauge('num_requests_waiting', 'Sequences that wait for their turn.', stats.waiting),
    gauge('kv_blocks', 'Pages of the KV cache.', stats.blocksTotal),
    gauge('kv_blocks_free', 'Pages that hold nothing.', stats.blocksFree),
    gauge('kv_blocks_cached', 'Pages that only the prefix cache holds.', stats.blocksCached),
    gauge('kv_blocks_used', 'Pages that sequences hold.', used),
    gauge('kv_cache_usage_ratio', 'Share of the pages that sequences hold, 0 to 1.', used / usable),
    counter('engine_steps', 'Steps of the engine.', stats.steps),
    gauge('engine_last_step_seconds', 'How long the last step took.', stats.lastStepMs / 1000),
    counter('engine_prompt_tokens', 'Prompt tokens taken in.', stats.promptTokens),
    counter('engine_cached_prompt_tokens', 'Prompt tokens found in the prefix cache.', stats.cachedPromptTokens),
    counter('engine_computed_tokens', 'Tokens that went through the model.', stats.computedTokens),
    counter('engine_output_tokens', 'Tokens generated.', stats.outputTokens),
    counter('prefix_cache_queries', 'Prompts looked up in the prefix cache.', stats.prefixQueries),
    counter('prefix_cache_hits', 'Prompts of which the prefix cache held a part.', stats.prefixHits),
    counter('prefix_cache_evictions', 'Cached pages given away.', stats.evictions),
    counter('kv_block_copies', 'Pages copied because two sequences went apart.', stats.blockCopies),
    counter('preemptions', 'Sequences set back to free pages.', stats.preemptions),
    aborts.render(),
  ].join('')
}

/** The model's process and our own. */
export function renderProcesses(state: ServedModelState): string {
  const resident = 'tfserve_process_resident_memory_bytes'
  let text = renderValue('gauge', 'tfserve_model_ready', 'Whether the model can take requests.', state.phase === 'ready' ? 1 : 0)
  text += renderValue('counter', 'tfserve_model_restarts_total', "Times that the model's process was started again.", state.restarts)
  text += renderValue('gauge', resident, 'Resident memory.', process.memoryUsage.rss(), { process: 'server' })
  if (state.residentBytes !== undefined) text += `${resident}{process="model"} ${state.residentBytes}\n`
  return text
}
