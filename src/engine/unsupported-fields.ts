// The fields of transformers' GenerationConfig that change what is generated and that we do not do: the one table of them,
// for requests (refused) and for checkpoints (warned about when they load).

const isNull = (value: unknown) => value === null || value === undefined
const isOneOf =
  (...neutral: unknown[]) =>
  (value: unknown) =>
    isNull(value) || neutral.includes(value)
const isEmpty = (value: unknown) => isNull(value) || (typeof value === 'object' && Object.keys(value as object).length === 0)

/**
 * Name -> whether a value changes nothing. Fields that only steer how transformers computes (caches, compilation, return
 * values, assistants), or that have an effect with beams alone, are not here: they are ignored.
 */
const neutralValues: Readonly<Record<string, (value: unknown) => boolean>> = {
  num_beams: isOneOf(1),
  num_beam_groups: isOneOf(1),
  diversity_penalty: isOneOf(0),
  guidance_scale: isOneOf(1),
  penalty_alpha: isOneOf(0),
  encoder_repetition_penalty: isOneOf(1),
  encoder_no_repeat_ngram_size: isOneOf(0),
  epsilon_cutoff: isOneOf(0),
  eta_cutoff: isOneOf(0),
  top_h: isNull,
  force_words_ids: isEmpty,
  constraints: isEmpty,
  forced_bos_token_id: isNull,
  forced_eos_token_id: isNull,
  suppress_tokens: isEmpty,
  begin_suppress_tokens: isEmpty,
  sequence_bias: isEmpty,
  exponential_decay_length_penalty: isNull,
  watermarking_config: isNull,
  token_healing: isOneOf(false),
  // one more softmax before sampling: ours normalises as it draws
  renormalize_logits: isOneOf(false, true),
  dola_layers: isNull,
  prompt_lookup_num_tokens: isNull,
  num_return_sequences: isOneOf(1),
  max_time: isNull,
}

/** Whether a field is one that we do not do, whatever its value. */
export const isUnsupportedField = (name: string): boolean => Object.hasOwn(neutralValues, name)

/** The names in a generation_config that would change the output and are not done. */
export function unsupportedFields(config: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(config).filter((name) => isUnsupportedField(name) && !neutralValues[name]!(config[name]))
}
