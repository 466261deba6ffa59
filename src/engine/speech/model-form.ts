// Whether the files of a model are those of a speech model: a Whisper checkpoint, or the one file of its ggml form.
import { open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'

/** The checkpoints that the native loader of speech models reads (native/speech). */
export const speechArchitectures: readonly string[] = ['WhisperForConditionalGeneration']

const maxConfigBytes = 16 * 2 ** 20
// 'ggml' as a little-endian number
const ggmlMagic = 0x67676d6c

const configShape = z.looseObject({ architectures: z.array(z.string()).nullish(), model_type: z.string().nullish() })

/** Whether a file begins as whisper.cpp's models do. What cannot be read does not. */
export async function isGgmlFile(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  if (!found?.isFile()) return false
  const magic = Buffer.alloc(4)
  try {
    const file = await open(path, 'r')
    await file.read(magic, 0, 4, 0).finally(() => file.close())
  } catch {
    return false
  }
  return magic.readUInt32LE(0) === ggmlMagic
}

/** Whether a directory or a file holds a speech model. What cannot be read is for the loader of text models to complain of. */
export async function isSpeechModelPath(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  if (!found?.isDirectory()) return isGgmlFile(path)
  const config = join(path, 'config.json')
  const size = (await stat(config).catch(() => undefined))?.size ?? 0
  if (size > maxConfigBytes) return false
  try {
    const { architectures, model_type: type } = configShape.parse(JSON.parse(await readFile(config, 'utf8')))
    const architecture = architectures?.[0]
    return architecture === undefined ? type === 'whisper' : speechArchitectures.includes(architecture)
  } catch {
    return false
  }
}
