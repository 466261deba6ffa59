import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { isUnsupportedField } from '../../src/engine/unsupported-fields.js'
import { chatFieldNames } from '../../src/protocol/chat-schema.js'
import { completionFieldNames } from '../../src/protocol/completions-schema.js'
import { responseFieldNames } from '../../src/protocol/responses/schema.js'
import { transcriptionFieldNames } from '../../src/protocol/transcription-schema.js'

const sections = readFileSync(new URL('../../docs/fields.md', import.meta.url), 'utf8').split('\n## ')
const inFirstColumn = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .flatMap((line) => [...line.split('|')[1]!.matchAll(/`(\w+)`/g)].map((match) => match[1]!))
const rowsOf = (...titles: string[]): string[] =>
  sections.filter((section) => titles.some((title) => section.startsWith(`${title}\n`))).flatMap(inFirstColumn)

const all = 'All three text endpoints'
const both = 'Chat completions and completions'

// the fields of OpenAI's own types and of transformers serve, by endpoint
const known = {
  chat: `audio chat_template_kwargs frequency_penalty function_call functions generation_config logit_bias logprobs max_completion_tokens
    max_tokens messages metadata modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
    prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store stream
    stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options`,
  completions: `best_of echo frequency_penalty generation_config logit_bias logprobs max_tokens model n presence_penalty prompt seed stop
    stream stream_options suffix temperature top_p user`,
  responses: `access_programs background context_management conversation generation_config image include input instructions
    max_output_tokens max_tool_calls metadata model moderation parallel_tool_calls previous_response_id prompt prompt_cache_key
    prompt_cache_options prompt_cache_retention reasoning safety_identifier seed service_tier store stream stream_options temperature text
    tool_choice tools top_logprobs top_p truncation user`,
  transcriptions: `chunking_strategy file include keywords known_speaker_names known_speaker_references language languages model prompt
    response_format stream temperature timestamp_granularities`,
}

test.each([
  ['chat', chatFieldNames, rowsOf(all, both, 'Chat completions')],
  ['completions', completionFieldNames, rowsOf(all, both, 'Completions')],
  ['responses', responseFieldNames, rowsOf(all, 'Responses')],
  ['transcriptions', transcriptionFieldNames, rowsOf('Transcriptions and translations')],
] as const)('every field of %s has its row, and is taken or refused by name', (name, fields, rows) => {
  const documented = new Set(rows)
  expect([...fields].filter((field) => !documented.has(field))).toEqual([])
  const taken = new Set(fields)
  expect(known[name].split(/\s+/).filter((field) => !taken.has(field))).toEqual([])
})

test('what the docs call refused is refused', () => {
  const row = sections[1]!.split('\n').find((line) => line.startsWith('| `num_beams`'))!
  expect(inFirstColumn(row).filter((field) => !isUnsupportedField(field))).toEqual([])
})
