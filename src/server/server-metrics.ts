import type { EngineStats, GenerationDelta } from '../engine/types.js'
import { canonicalName } from '../protocol/model-names.js'
import { Counter, Histogram, renderValues } from './metrics.js'
import type { DirectoryCounters, DirectoryEntry } from './model-directory.js'
import type { ServedModelState } from './served-model.js'
import { outcomes } from './outcomes.js'
import { SpeechMetrics } from './speech-metrics.js'

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
  readonly speech = new SpeechMetrics()
  /** Requests whose model is not there yet. */
  waitingForModel = 0

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
    const waiting = renderValues('gauge', 'tfserve_requests_waiting_for_model', 'Requests whose model is being loaded.', [
      { value: this.waitingForModel },
    ])
    return parts.map((part) => part.render()).join('') + this.speech.render() + waiting
  }
}

/** Follows one generation's deltas: time to the first token, time between tokens, token counts. */
export class GenerationTimer {
  /** When each choice had its latest token. */
  readonly #last: number[] = []

  constructor(
    readonly metrics: ServerMetrics,
    readonly startedAt: number,
  ) {}

  /** @param fresh output tokens that it brought @param now performance.now() */
  delta({ choice, promptTokens, cachedTokens }: GenerationDelta, fresh: number, now: number): void {
    if (fresh <= 0) return
    if (this.#last.length === 0) {
      this.metrics.firstToken.observe((now - this.startedAt) / 1000)
      this.metrics.promptTokens.add(promptTokens)
      this.metrics.cachedTokens.add(cachedTokens)
    }
    this.metrics.outputTokens.add(fresh)
    const before = this.#last[choice]
    // several tokens at once share the time that they took
    if (before !== undefined) this.metrics.betweenTokens.observe((now - before) / 1000 / fresh, fresh)
    this.#last[choice] = now
  }
}

interface EngineMetric {
  kind: 'gauge' | 'counter'
  name: string
  help: string
  value: (stats: EngineStats) => number
}

const gauge = (name: string, help: string, value: EngineMetric['value']): EngineMetric => ({ kind: 'gauge', name, help, value })
const counter = (name: string, help: string, value: EngineMetric['value']): EngineMetric => ({
  kind: 'counter',
  name: `${name}_total`,
  help,
  value,
})

const usedBlocks = (stats: EngineStats) => stats.blocksTotal - stats.blocksFree - stats.blocksCached

const engineMetrics: readonly EngineMetric[] = [
  gauge('num_requests_running', 'Sequences that the engine computes.', (stats) => stats.running),
  gauge('num_requests_waiting', 'Sequences that wait for their turn.', (stats) => stats.waiting),
  gauge('kv_blocks', 'Pages of the KV cache.', (stats) => stats.blocksTotal),
  gauge('kv_blocks_free', 'Pages that hold nothing.', (stats) => stats.blocksFree),
  gauge('kv_blocks_cached', 'Pages that only the prefix cache holds.', (stats) => stats.blocksCached),
  gauge('kv_blocks_used', 'Pages that sequences hold.', usedBlocks),
  gauge('kv_cache_usage_ratio', 'Share of the pages that sequences hold, 0 to 1.', (stats) => usedBlocks(stats) / (stats.blocksTotal || 1)),
  counter('engine_steps', 'Steps of the engine.', (stats) => stats.steps),
  gauge('engine_last_step_seconds', 'How long the last step took.', (stats) => stats.lastStepMs / 1000),
  counter('engine_prompt_tokens', 'Prompt tokens taken in.', (stats) => stats.promptTokens),
  counter('engine_cached_prompt_tokens', 'Prompt tokens found in the prefix cache.', (stats) => stats.cachedPromptTokens),
  counter('engine_computed_tokens', 'Tokens that went through the model.', (stats) => stats.computedTokens),
  counter('engine_output_tokens', 'Tokens generated.', (stats) => stats.outputTokens),
  counter('prefix_cache_queries', 'Prompts looked up in the prefix cache.', (stats) => stats.prefixQueries),
  counter('prefix_cache_hits', 'Prompts of which the prefix cache held a part.', (stats) => stats.prefixHits),
  counter('prefix_cache_evictions', 'Cached pages given away.', (stats) => stats.evictions),
  counter('kv_block_copies', 'Pages copied because two sequences went apart.', (stats) => stats.blockCopies),
  counter('preemptions', 'Sequences set back to free pages.', (stats) => stats.preemptions),
]

/** The counters and gauges of the engines, one a model. */
export function renderEngineStats(engines: readonly { model: string; stats: EngineStats }[]): string {
  const families = engineMetrics.map(({ kind, name, help, value }) =>
    renderValues(
      kind,
      `tfserve_${name}`,
      help,
      engines.map(({ model, stats }) => ({ labels: { model }, value: value(stats) })),
    ),
  )
  const aborts = engines.flatMap(({ model, stats }) => [
    { labels: { model, phase: 'waiting' }, value: stats.abortsWaiting },
    { labels: { model, phase: 'prefill' }, value: stats.abortsPrefill },
    { labels: { model, phase: 'decode' }, value: stats.abortsDecode },
  ])
  return families.join('') + renderValues('counter', 'tfserve_aborts_total', 'Sequences aborted, by what they were doing.', aborts)
}

const phases: readonly ServedModelState['phase'][] = ['loading', 'ready', 'restarting', 'failed', 'closed']

/** The models in memory or on their way, what became of others, and the processes. */
export function renderModels(entries: readonly DirectoryEntry[], { loads, loadSeconds, unloads }: DirectoryCounters): string {
  const perModel = (kind: 'gauge' | 'counter', name: string, help: string, value: (entry: DirectoryEntry) => number): string =>
    renderValues(
      kind,
      name,
      help,
      entries.map((entry) => ({ labels: { model: canonicalName(entry.name) }, value: value(entry) })),
    )
  const byLabel = (name: string, help: string, label: string, counts: Readonly<Record<string, number>>): string =>
    renderValues(
      'counter',
      name,
      help,
      Object.entries(counts).map(([key, value]) => ({ labels: { [label]: key }, value })),
    )
  const states = entries.flatMap((entry) =>
    phases.map((state) => ({ labels: { model: canonicalName(entry.name), state }, value: Number(entry.state.phase === state) })),
  )
  const resident = entries.flatMap(({ name, state }) =>
    state.residentBytes === undefined ? [] : [{ labels: { process: 'model', model: canonicalName(name) }, value: state.residentBytes }],
  )
  const ready = entries.filter(({ state }) => state.phase === 'ready').length
  return [
    renderValues('gauge', 'tfserve_models_loaded', 'Models in memory.', [{ value: ready }]),
    perModel('gauge', 'tfserve_model_ready', 'Whether the model can take requests.', ({ state }) => Number(state.phase === 'ready')),
    renderValues('gauge', 'tfserve_model_state', 'Where the model is in its life: 1 for its state, else 0.', states),
    perModel('gauge', 'tfserve_model_pinned', 'Whether the model stays in memory.', ({ pinned }) => Number(pinned)),
    perModel('gauge', 'tfserve_model_requests', 'Requests that hold the model.', ({ leases }) => leases),
    perModel('counter', 'tfserve_model_restarts_total', "Times that the model's process was started again.", ({ state }) => state.restarts),
    byLabel('tfserve_model_loads_total', 'Loads by how they ended.', 'outcome', loads),
    renderValues('summary', 'tfserve_model_load_seconds', 'From the first request for a model until it was ready, downloads included.', [
      { suffix: '_sum', value: loadSeconds },
      { suffix: '_count', value: loads.ready },
    ]),
    byLabel('tfserve_model_unloads_total', 'Models taken out of memory, by why.', 'reason', unloads),
    renderValues('gauge', 'tfserve_process_resident_memory_bytes', 'Resident memory.', [
      { labels: { process: 'server' }, value: process.memoryUsage.rss() },
      ...resident,
    ]),
  ].join('')
}
