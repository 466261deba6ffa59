// Perplexity over a text: what a weight type, a cache type or a kernel costs in quality.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { withEngine } from './lib/engine.mjs'
import { root } from './lib/machine.mjs'
import { count, counts } from './lib/options.mjs'
import { negativeLogprobs, summarizeNlls } from './lib/perplexity.mjs'
import { printHead, reportHead, writeReport } from './lib/report.mjs'
import { table } from './lib/table.mjs'

async function resolvePath(model) {
  const { resolveModel } = await import(pathToFileURL(join(root, 'dist', 'models', 'resolve.js')))
  return (await resolveModel(model)).path
}

/** Token ids from a file: a JSON array, or numbers apart from each other by anything that is none. */
function readIds(file) {
  const ids = (readFileSync(file, 'utf8').match(/\d+/g) ?? []).map(Number)
  if (ids.length === 0) throw new Error(`${file} holds no token ids.`)
  return ids
}

function positive(values, name) {
  if (values[name] === undefined) return undefined
  const number = Number(values[name])
  if (!(number > 0)) throw new Error(`Expected a positive number for --${name} but received '${values[name]}'.`)
  return number
}

async function measure(engine, values, text) {
  const all = values.ids === undefined ? Array.from(await engine.tokenize(text)) : readIds(values.ids)
  const tokens = all.slice(0, count(values, 'tokens', all.length))
  if (tokens.length < 2) throw new Error('The text has fewer than two tokens: nothing can be scored.')
  const context = Math.min(count(values, 'context', engine.info.maxModelLen), engine.info.maxModelLen)
  const stride = Math.min(count(values, 'stride', context), context)
  if (context < 2) throw new Error('A context of one token scores nothing.')
  const began = performance.now()
  const onWindow = (done) => {
    if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${tokens.length} tokens`)
  }
  const nlls = await negativeLogprobs(engine, tokens, { context, stride, onWindow })
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  const seconds = (performance.now() - began) / 1000
  const cuts = values.at === undefined ? [] : counts(values, 'at').filter((n) => n > 1 && n < tokens.length)
  const { dtype, kvCacheDtype, attentionKernel, architecture } = engine.info
  return {
    model: { architecture, dtype, kvCacheDtype, attentionKernel },
    context,
    stride,
    seconds,
    results: [...cuts.sort((a, b) => a - b), tokens.length].map((n) => summarizeNlls(nlls, n)),
  }
}

export async function run(values) {
  if (values.text !== undefined && values.ids !== undefined) throw new Error('Give --text or --ids, not both.')
  const reference = positive(values, 'reference')
  const path = await resolvePath(values.model)
  const textFile = values.ids === undefined ? (values.text ?? join(root, 'LICENSE')) : undefined
  const text = textFile === undefined ? undefined : readFileSync(textFile, 'utf8')
  const head = reportHead('perplexity', { model: path, dtype: values.dtype ?? 'auto', text: textFile, ids: values.ids })
  printHead(head)
  const options = {
    path,
    dtype: values.dtype ?? 'auto',
    ...(values['kv-dtype'] && { kvCacheDtype: values['kv-dtype'] }),
    ...(values.threads && { threads: count(values, 'threads') }),
    // a window is one sequence; nothing is looked up
    maxNumSeqs: 1,
    prefixCaching: false,
  }
  const measured = await withEngine(options, (engine) => measure(engine, values, text))
  const { model, context, stride, seconds, results } = measured
  const last = results.at(-1)
  console.log(
    `${model.architecture}, weights ${model.dtype}, KV cache ${model.kvCacheDtype}, attention ${model.attentionKernel || 'upstream'}`,
  )
  console.log(`windows of ${context} tokens, ${stride} apart; ${(last.tokens / seconds).toFixed(0)} tokens/s\n`)
  console.log(
    table(
      ['tokens', 'scored', 'nll', 'nll a token', 'perplexity'],
      results.map((r) => [r.tokens, r.scored, r.nll.toFixed(3), (r.nll / r.scored).toFixed(5), r.perplexity.toFixed(4)]),
    ),
  )
  const differencePercent = reference === undefined ? undefined : 100 * (last.perplexity / reference - 1)
  if (reference !== undefined) {
    console.log(`\nreference ${reference}: ${differencePercent >= 0 ? '+' : ''}${differencePercent.toFixed(4)} %`)
  }
  writeReport({ ...head, ...measured, reference, differencePercent }, [], values.json)
}
