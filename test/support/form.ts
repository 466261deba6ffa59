import { request, type Reply } from './http-client.js'

export interface Part {
  name: string
  value: string | Uint8Array
  /** Makes it a file. */
  filename?: string
  type?: string
}

export const boundary = 'a-boundary-of-the-tests'
export const formType = `multipart/form-data; boundary=${boundary}`

/** The bytes of a form. */
export function formBody(parts: readonly Part[]): Buffer {
  const pieces = parts.flatMap(({ name, value, filename, type }) => {
    const file = filename === undefined ? '' : `; filename="${filename}"`
    const header = `--${boundary}\r\ncontent-disposition: form-data; name="${name}"${file}\r\n${type ? `content-type: ${type}\r\n` : ''}\r\n`
    return [Buffer.from(header), Buffer.from(value), Buffer.from('\r\n')]
  })
  return Buffer.concat([...pieces, Buffer.from(`--${boundary}--\r\n`)])
}

export const recording = (bytes: Uint8Array = Buffer.from('RIFF-like bytes\r\n--not-the-boundary')): Part => ({
  name: 'file',
  value: bytes,
  filename: 'speech.wav',
  type: 'audio/wav',
})

/** Fields as text parts, lists as several of them. */
export function fieldParts(fields: Readonly<Record<string, string | readonly string[]>>): Part[] {
  return Object.entries(fields).flatMap(([name, value]) =>
    typeof value === 'string' ? [{ name, value }] : value.map((each) => ({ name, value: each })),
  )
}

/** One recording with fields beside it. */
export function transcribe(
  port: number,
  fields: Readonly<Record<string, string | readonly string[]>> = {},
  { path = '/v1/audio/transcriptions', file = recording() }: { path?: string; file?: Part } = {},
): Promise<Reply> {
  return postForm(port, [file, ...fieldParts(fields)], path)
}

export function postForm(port: number, parts: readonly Part[], path = '/v1/audio/transcriptions'): Promise<Reply> {
  return request(port, 'POST', path, formBody(parts), { 'content-type': formType })
}
