// The ffmpeg of this machine, for what nothing else here decodes.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { bareEnvironment } from './bare-environment.js'
import type { AudioSink } from './recording.js'
import { WavStream } from './wav-stream.js'

/** The program's path; undefined: not on PATH. */
export function findFfmpeg(path = process.env['PATH'] ?? ''): string | undefined {
  const name = process.platform === 'win32' ? 'ffmpeg.exe' : 'ffmpeg'
  return path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/**
 * Decodes the first sound track of the file with the program. The demuxer is the one that the file's bytes call for, so that no playlist
 * or script is taken for a recording, and nothing but this file can be opened. `onChild` learns of the process.
 */
export async function decodeWithFfmpeg(
  program: string,
  path: string,
  demuxer: string,
  sink: AudioSink,
  onChild: (child: ChildProcess) => void,
): Promise<void> {
  const input = ['-protocol_whitelist', 'file,pipe', '-f', demuxer, '-i', `file:${resolve(path)}`]
  const output = ['-map', '0:a:0', '-vn', '-sn', '-dn', '-map_metadata', '-1', '-c:a', 'pcm_f32le', '-f', 'wav', 'pipe:1']
  const child = spawn(program, ['-nostdin', '-hide_banner', '-loglevel', 'quiet', '-threads', '1', ...input, ...output], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: bareEnvironment(),
  })
  onChild(child)
  const exited = once(child, 'exit').catch(() => undefined)
  try {
    const wav = new WavStream(sink)
    for await (const bytes of child.stdout) wav.push(bytes as Buffer)
    wav.finish()
  } finally {
    child.kill('SIGKILL')
    await exited
  }
}
