// Arguments that are read while the model writes them.

/**
 * Reads the text of one call from where its arguments begin, piece by piece; how it is cut into pieces changes nothing but when a part is given out.
 * What it gives out is JSON as far as it goes, and the whole of an object only where the model wrote all of it: arguments that a mistake or the end
 * of the text has cut off cannot be parsed, so that nobody runs them by accident.
 */
export interface CallReader {
  /**
   * The arguments' JSON text that is decided now.
   * @param last the call's text ends here
   */
  push(text: string, last: boolean): string
  /** The arguments are complete. */
  readonly whole: boolean
  /** There was a mistake: the call cannot become whole any more. */
  readonly broken: boolean
  /** What follows is no part of the call. */
  readonly over: boolean
  /** The text that was pushed and not read; of use when the call is over. */
  readonly rest: string
}

/** A call whose name is known and whose arguments begin. */
export interface CallStart {
  name: string
  reader: CallReader
  /** Where in the text the reader begins. */
  at: number
}

/** A call's text up to its arguments is no longer; otherwise it is read as a whole, at its end. */
export const maxCallHead = 1024

/** A text within a JSON string. */
export const escapedText = (text: string): string => JSON.stringify(text).slice(1, -1)

/** How much of the text ends with a whole character: half of one is escaped where the whole stands as it is. */
export function wholeCharacters(text: string): number {
  const last = text.charCodeAt(text.length - 1)
  return last >= 0xd800 && last < 0xdc00 ? text.length - 1 : text.length
}
