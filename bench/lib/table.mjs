// Plain tables for a terminal.

/** A number with as many digits as it deserves; '-' for none. */
export function format(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '-'
  const size = Math.abs(value)
  if (size >= 1000) return value.toFixed(0)
  if (size >= 100) return value.toFixed(1).replace(/\.0$/, '')
  return size >= 1 ? value.toFixed(2) : value.toPrecision(3)
}

/** 'median (min-max)' of a summary; only the median of a single round. */
export function formatSummary({ median, min, max, n }) {
  return n > 1 ? `${format(median)} (${format(min)}-${format(max)})` : format(median)
}

/** Rows of cells with a head, the first column left-aligned, the others right-aligned. */
export function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map(String))
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column].length)))
  const line = (row) => row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join('  ')
  return [line(cells[0]), widths.map((width) => '-'.repeat(width)).join('  '), ...cells.slice(1).map(line)].join('\n')
}
