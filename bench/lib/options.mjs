// The values of the bench's options, checked.

/** A positive whole number, or the fallback where the option is absent. */
export function count(values, name, fallback) {
  if (values[name] === undefined) return fallback
  const number = Number(values[name])
  if (!Number.isInteger(number) || number < 1) throw new Error(`Expected a positive integer for --${name} but received '${values[name]}'.`)
  return number
}

/** A comma-separated list of positive whole numbers. */
export function counts(values, name, fallback) {
  return (values[name] ?? fallback).split(',').map((part) => count({ [name]: part }, name))
}

/** A value that has to be given. */
export function required(values, name) {
  if (!values[name]) throw new Error(`--${name} is needed.`)
  return values[name]
}
