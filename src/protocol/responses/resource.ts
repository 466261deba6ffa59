// The response object, as it is sent and stored.
import type { Item } from './items.js'

export type ResponseStatus = 'queued' | 'in_progress' | 'completed' | 'incomplete' | 'failed' | 'cancelled'

/** What a response repeats of its request. */
export interface ResponseEcho {
  background: boolean
  conversation: { id: string } | null
  frequency_penalty: number
  instructions: string | null
  max_output_tokens: number | null
  max_tool_calls: number | null
  metadata: Record<string, string>
  parallel_tool_calls: boolean
  presence_penalty: number
  previous_response_id: string | null
  prompt_cache_key: string | null
  prompt_cache_retention: string | null
  reasoning: { effort: string | null; summary: string | null } | null
  safety_identifier: string | null
  service_tier: string
  store: boolean
  /** As the request said; 1 where it said nothing and the checkpoint's own default holds. */
  temperature: number
  text: Record<string, unknown>
  tool_choice: unknown
  tools: unknown[]
  top_logprobs: number
  /** See temperature. */
  top_p: number
  truncation: 'auto' | 'disabled'
  user: string | null
}

export interface ResponseUsage {
  input_tokens: number
  input_tokens_details: { cached_tokens: number; cache_write_tokens: number }
  output_tokens: number
  output_tokens_details: { reasoning_tokens: number }
  total_tokens: number
}

/** A response in one moment of its life. */
export interface ResponseResource extends ResponseEcho {
  id: string
  object: 'response'
  /** Unix seconds. */
  created_at: number
  completed_at: number | null
  /** `id@revision` */
  model: string
  status: ResponseStatus
  error: { code: string; message: string } | null
  incomplete_details: { reason: 'max_output_tokens' } | null
  output: Item[]
  usage: ResponseUsage | null
}
