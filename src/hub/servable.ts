// Whether a model of the cache can be served, and if not why, without loading it.
import { open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { speechArchitectures } from '../engine/speech/model-form.js'
import { HubError } from './errors.js'
import { ggufParts } from './model-spec.js'
import { selectFiles } from './select-files.js'

/** The checkpoints that the native loader has a family for (native/loader/families). */
export const servableArchitectures: readonly string[] = [
  'DeepseekV2ForCausalLM',
  'DeepseekV3ForCausalLM',
  'Gemma2ForCausalLM',
  'Gemma3ForCausalLM',
  'Gemma3ForConditionalGeneration',
  'Gemma4ForCausalLM',
  'Gemma4ForConditionalGeneration',
  'GptOssForCausalLM',
  'GraniteForCausalLM',
  'LlamaForCausalLM',
  'Mistral3ForConditionalGeneration',
  'MistralForCausalLM',
  'MixtralForCausalLM',
  'Olmo2ForCausalLM',
  'Phi3ForCausalLM',
  'Qwen2ForCausalLM',
  'Qwen2MoeForCausalLM',
  'Qwen3ForCausalLM',
  'Qwen3MoeForCausalLM',
  'SmolLM3ForCausalLM',
]

const allArchitectures = [...servableArchitectures, ...speechArchitectures]

/** Quantisations of checkpoints that the native loader reads. */
const readableQuantisations = ['mxfp4']

/** A file of a snapshot. */
export interface SnapshotFile {
  path: string
  /** Bytes; undefined where a link leads to nothing. */
  size: number | undefined
  /** Unix seconds. */
  modified: number
  /** The file it stands for, links followed. */
  target: string | undefined
  /** A link that leads out of the cache: it is never opened. */
  outside: boolean
}

const maxConfigBytes = 16 * 2 ** 20

const configShape = z.looseObject({
  architectures: z.array(z.string()).nullish(),
  model_type: z.string().nullish(),
  quantization_config: z.looseObject({ quant_method: z.string().optional() }).nullish(),
})

type Config = z.infer<typeof configShape>

// how transformers names the classes of other speech recognition
const hearsOtherwise = /(?:ForCTC|ForSpeechSeq2Seq|ForRNNT|ForTDT|ForAudioFrameClassification|ForXVector)$|^(?:Speech|Moonshine|Kyutai)/

const weightsForm = /\.(safetensors|safetensors\.index\.json|bin|h5|msgpack|onnx)$/

const unusable = ({ size, outside }: SnapshotFile): boolean => size === undefined || outside

/** Why a checkpoint directory cannot be served; undefined: it can. @param known architectures that can be loaded */
export async function checkpointObstacle(
  id: string,
  snapshot: string,
  files: readonly SnapshotFile[],
  known: readonly string[] = allArchitectures,
): Promise<string | undefined> {
  const outside = files.find((file) => file.outside)
  if (outside) return `${outside.path} leads out of the cache`
  const paths = files.filter((file) => !unusable(file)).map((file) => file.path)
  const config = await readConfig(join(snapshot, 'config.json'))
  if (typeof config === 'string') return config
  const obstacle = shapeObstacle(config, known)
  if (obstacle !== undefined) return obstacle
  // what the repository holds beyond them is not known here: a download may have been interrupted
  if (!paths.some((path) => weightsForm.test(path))) return 'there are no weights in the cache: tfserve download gets what is missing'
  try {
    await selectFiles({ id, revision: 'main' }, paths, (path) => readFile(join(snapshot, path), 'utf8'))
  } catch (error) {
    if (error instanceof HubError) return error.message.replace(/^'[^']*' /, '').replace(/\.$/, '')
    return 'its files cannot be read'
  }
  const oneOf = (...names: string[]): boolean => names.some((name) => paths.includes(name))
  const hasTokenizer = isSpeech(config) ? oneOf('tokenizer.json', 'vocab.json') : oneOf('tokenizer.json', 'tokenizer.model')
  return hasTokenizer ? undefined : 'its tokenizer is missing'
}

function shapeObstacle({ quantization_config, architectures }: Config, known: readonly string[]): string | undefined {
  const quantised = quantization_config?.quant_method
  if (quantised !== undefined && !readableQuantisations.includes(quantised)) {
    return `quantised by ${quantised.slice(0, 64)}, which cannot be loaded`
  }
  const architecture = architectures?.[0]
  if (architecture === undefined) return 'config.json names no architecture'
  if (known.includes(architecture)) return undefined
  const named = `the architecture ${architecture.slice(0, 64)} is not supported`
  return hearsOtherwise.test(architecture) ? `${named}: of speech models only Whisper is` : `${named}; a GGUF file of it may be`
}

const isSpeech = ({ architectures }: Config): boolean => speechArchitectures.includes(architectures?.[0] ?? '')

/** Why a checkpoint with this config.json cannot be served, whatever its other files are; undefined: nothing in it says so. */
export function configObstacle(text: string): string | undefined {
  const config = parseConfig(text)
  if (typeof config === 'string') return config
  const obstacle = shapeObstacle(config, allArchitectures)
  return obstacle?.startsWith('the architecture') ? `${obstacle} (supported are ${allArchitectures.join(', ')})` : obstacle
}

function parseConfig(text: string): Config | string {
  try {
    return configShape.parse(JSON.parse(text))
  } catch {
    return 'config.json is malformed'
  }
}

async function readConfig(path: string): Promise<Config | string> {
  const found = await stat(path).catch(() => undefined)
  if (!found) return 'config.json is missing'
  if (found.size > maxConfigBytes) return 'config.json is too large'
  const text = await readFile(path, 'utf8').catch(() => undefined)
  return text === undefined ? 'config.json cannot be read' : parseConfig(text)
}

/** Why a GGUF file of a snapshot cannot be served; undefined: it can. */
export async function ggufObstacle(snapshot: string, path: string, files: readonly SnapshotFile[]): Promise<string | undefined> {
  const byPath = new Map(files.map((file) => [file.path, file]))
  for (const part of ggufParts(path)) {
    const file = byPath.get(part)
    if (!file || file.size === undefined) return `${part} is missing`
    if (file.outside) return `${part} leads out of the cache`
  }
  const magic = Buffer.alloc(4)
  try {
    const handle = await open(join(snapshot, path), 'r')
    await handle.read(magic, 0, 4, 0).finally(() => handle.close())
  } catch {
    return 'it cannot be read'
  }
  return magic.toString('latin1') === 'GGUF' ? undefined : 'it is no GGUF file'
}
