// Order statistics for small samples of measurements.

/** The q-quantile (0 to 1) of numbers, by the nearest rank; null for none. */
export function quantile(numbers, q) {
  if (numbers.length === 0) return null
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]
}

/** The median; the mean of the middle two for an even count; null for none. */
export function median(numbers) {
  if (numbers.length === 0) return null
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** What a table shows of the rounds of one measurement: median and spread. Values that are null are left out. */
export function summarize(values) {
  const numbers = values.filter((value) => typeof value === 'number' && Number.isFinite(value))
  if (numbers.length === 0) return { median: null, min: null, max: null, n: 0 }
  return { median: median(numbers), min: Math.min(...numbers), max: Math.max(...numbers), n: numbers.length }
}

/** The summaries of every field in `fields` over a list of results. */
export function summarizeFields(results, fields) {
  return Object.fromEntries(fields.map((field) => [field, summarize(results.map((result) => result[field]))]))
}
