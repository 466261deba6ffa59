// Where results go: a JSON file, a drawing beside it, and lines on the terminal.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { loadAverage, machineFacts, root, versions } from './machine.mjs'
import { barCharts } from './svg.mjs'

/** What every report begins with; taken before the first measurement. */
export function reportHead(benchmark, conditions, peer) {
  return {
    benchmark,
    date: new Date().toISOString(),
    machine: machineFacts(),
    loadAverageBefore: loadAverage(),
    versions: versions(peer),
    conditions,
  }
}

/** Writes `report` to `path` (default bench/results/<benchmark>.json) and its charts to the same name with .svg. */
export function writeReport(report, charts, path) {
  const json = path ?? join(root, 'bench', 'results', `${report.benchmark}.json`)
  mkdirSync(dirname(json), { recursive: true })
  writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`)
  const { processor, cores } = report.machine
  const svg = `${json.replace(/\.json$/, '')}.svg`
  const note = `${processor}, ${cores} cores; median, whiskers from least to most of ${report.conditions.rounds} rounds; ${report.date.slice(0, 10)}`
  if (charts.length > 0) writeFileSync(svg, barCharts({ heading: `tfserve bench ${report.benchmark}`, note, charts }))
  console.log(`\nWritten to ${json}${charts.length > 0 ? ` and ${svg}` : ''}`)
}

/** Says on the terminal what the figures below depend on, and warns about a busy machine. */
export function printHead({ machine, versions: v, loadAverageBefore }) {
  console.log(`${machine.processor}, ${machine.cores} cores (${machine.flags.join(' ')})`)
  console.log(`tfserve ${v.tfserve}${v.commit ? ` (${v.commit})` : ''}, node ${v.node}${v.peer ? `, peer: ${v.peer.split('\n')[0]}` : ''}`)
  if (loadAverageBefore > 0.5)
    console.log(`The load average is ${loadAverageBefore.toFixed(2)}: something else is computing, figures will wander.`)
}
