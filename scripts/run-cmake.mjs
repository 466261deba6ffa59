// Runs one build command and turns the compiler's hundreds of lines into a few that a person can read.
import { spawn } from 'node:child_process'

const reportEveryMs = 5000

/** Resolves when `command` succeeds; rejects with the end of its output when it does not. */
export function runWithProgress(title, command, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    const started = Date.now()
    let output = ''
    let lastReport = started
    const report = (text) => {
      const seconds = Math.round((Date.now() - started) / 1000)
      console.log(`tfserve: ${title} ${text} (${seconds} s)`)
      lastReport = Date.now()
    }
    const onData = (data) => {
      const text = data.toString()
      output = (output + text).slice(-200_000)
      if (Date.now() - lastReport < reportEveryMs) return
      const step = [...text.matchAll(/\[\s*(\d+)\/(\d+)\]|\[\s*(\d+)%\]/g)].pop()
      if (step) report(step[3] ? `${step[3]} %` : `step ${step[1]} of ${step[2]}, ${Math.floor((100 * step[1]) / step[2])} %`)
    }
    child.stdout.on('data', onData)
    child.stderr.on('data', onData)
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) {
        report('done')
        resolve(output)
        return
      }
      const lines = output.split('\n')
      const firstError = lines.findIndex((line) => /\b(error|Error|FAILED)\b/.test(line))
      const shown = firstError < 0 ? lines.slice(-40) : lines.slice(firstError, firstError + 40)
      console.error(shown.join('\n'))
      reject(new Error(`${title} failed; the first error is above`))
    })
  })
}
