// Grouped bars with error whiskers as an SVG file, without any dependency.

const palette = ['#2f6fb7', '#e0803a', '#6a9f4f', '#9a5fb0', '#8a8a8a']
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c])

// 1, 2 or 5 times a power of ten, so that about `count` steps cover `max`
function niceStep(max, count) {
  const rough = max / count
  const power = 10 ** Math.floor(Math.log10(rough))
  return [1, 2, 5, 10].map((m) => m * power).find((step) => step >= rough)
}

/**
 * One chart: `groups` are labels along the x axis, `series` is [{ name, values: [{ median, min, max } | null] }] with a value a group.
 * Returns a <g> of the given size at the given place.
 */
function chart({ title, unit, groups, series }, x, y, width, height) {
  const left = 58
  const top = 30
  const bottom = 26
  const plotWidth = width - left - 8
  const plotHeight = height - top - bottom
  const max = Math.max(1e-9, ...series.flatMap((s) => s.values.map((v) => v?.max ?? 0)))
  const step = niceStep(max, 5)
  const limit = Math.ceil((max * 1.02) / step) * step
  const at = (value) => top + plotHeight * (1 - value / limit)
  const parts = [`<g transform="translate(${x} ${y})">`, `<text x="${left}" y="14" class="title">${escape(title)} (${escape(unit)})</text>`]
  for (let tick = 0; tick <= limit + step / 2; tick += step) {
    parts.push(`<line x1="${left}" x2="${left + plotWidth}" y1="${at(tick)}" y2="${at(tick)}" class="grid"/>`)
    parts.push(`<text x="${left - 6}" y="${at(tick) + 4}" text-anchor="end">${+tick.toPrecision(6)}</text>`)
  }
  const groupWidth = plotWidth / groups.length
  const barWidth = (groupWidth * 0.8) / series.length
  groups.forEach((group, g) => {
    parts.push(`<text x="${left + groupWidth * (g + 0.5)}" y="${height - 8}" text-anchor="middle">${escape(group)}</text>`)
    series.forEach((s, i) => {
      const value = s.values[g]
      if (!value || value.median === null) return
      const barLeft = left + groupWidth * (g + 0.1) + barWidth * i
      const middle = barLeft + barWidth / 2
      const color = palette[i % palette.length]
      parts.push(
        `<rect x="${barLeft + 1}" y="${at(value.median)}" width="${barWidth - 2}" height="${at(0) - at(value.median)}" fill="${color}"/>`,
      )
      parts.push(
        `<path d="M${middle} ${at(value.max)}V${at(value.min)}M${middle - 4} ${at(value.max)}h8M${middle - 4} ${at(value.min)}h8" class="whisker"/>`,
      )
    })
  })
  return [...parts, '</g>'].join('\n')
}

/** A page of charts that share their series, with a legend and a line on the conditions. Returns the SVG's text. */
export function barCharts({ heading, note, charts }) {
  const columns = Math.min(2, charts.length)
  const width = 460
  const height = 260
  const rows = Math.ceil(charts.length / columns)
  const names = charts[0].series.map((s) => s.name)
  const total = [columns * width + 20, rows * height + 86]
  const legend = names.map(
    (name, i) =>
      `<rect x="${20 + i * 200}" y="44" width="12" height="12" fill="${palette[i % palette.length]}"/>` +
      `<text x="${38 + i * 200}" y="54">${escape(name)}</text>`,
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${total[0]}" height="${total[1]}" viewBox="0 0 ${total[0]} ${total[1]}">`,
    '<style>text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.grid{stroke:#ddd}.whisker{stroke:#222;fill:none}</style>',
    `<rect width="100%" height="100%" fill="#fff"/>`,
    `<text x="20" y="24" style="font-size:16px;font-weight:bold">${escape(heading)}</text>`,
    ...legend,
    ...charts.map((c, i) => chart(c, 10 + (i % columns) * width, 66 + Math.floor(i / columns) * height, width, height)),
    `<text x="20" y="${total[1] - 8}" style="font-size:11px;fill:#666">${escape(note)}</text>`,
    '</svg>',
    '',
  ].join('\n')
}
