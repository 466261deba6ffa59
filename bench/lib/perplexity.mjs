// Perplexity of a text under a model, from the log probabilities of prompts: exp of the mean negative log probability of its tokens.

/**
 * Windows over n tokens, as of a model whose context is shorter than the text: each starts `stride` tokens after the one before, and counts
 * the tokens that no window before has counted. A window's first token has nothing before it and counts only where an earlier window saw it.
 * @returns {{ begin: number, end: number, from: number }[]} tokens [begin, end) are computed, [from, end) counted
 */
export function windowsOf(n, context, stride) {
  const windows = []
  let counted = 0
  for (let begin = 0; counted < n; begin += stride) {
    const end = Math.min(begin + context, n)
    windows.push({ begin, end, from: Math.max(counted, begin + 1) })
    counted = end
  }
  return windows
}

async function promptLogprobs(engine, tokens) {
  const entries = []
  for await (const { promptLogprobs: chunk } of engine.generate({ tokens, max_new_tokens: 0, prompt_logprobs: 0 })) {
    for (const entry of chunk ?? []) entries.push(entry?.logprob)
  }
  if (entries.length !== tokens.length) throw new Error(`The engine scored ${entries.length} of ${tokens.length} tokens.`)
  return entries
}

/** Negative log probability (nats) of each token; undefined for those that do not count. @param onWindow called with the tokens done */
export async function negativeLogprobs(engine, tokens, { context, stride, onWindow = () => undefined }) {
  const nlls = new Array(tokens.length).fill(undefined)
  for (const { begin, end, from } of windowsOf(tokens.length, context, stride)) {
    const logprobs = await promptLogprobs(engine, tokens.slice(begin, end))
    for (let i = from; i < end; i++) nlls[i] = -logprobs[i - begin]
    onWindow(end)
  }
  return nlls
}

/** What the first n tokens come to: nll is a sum in nats. */
export function summarizeNlls(nlls, n = nlls.length) {
  const counted = nlls.slice(0, n).filter((nll) => nll !== undefined)
  const nll = counted.reduce((sum, value) => sum + value, 0)
  return {
    tokens: Math.min(n, nlls.length),
    scored: counted.length,
    nll,
    perplexity: counted.length > 0 ? Math.exp(nll / counted.length) : null,
  }
}
