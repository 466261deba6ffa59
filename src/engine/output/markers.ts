// Finds markers in a text that arrives in pieces.

export type MarkerHit =
  /** A marker stands at `at`. */
  | { at: number; marker: string }
  /** None does; from `at` on the text may be the beginning of one. `at` is the text's length when it cannot. */
  | { at: number; marker: undefined }

/**
 * The first marker in `text`; of several that begin at the same place the longest, which is waited for.
 * @param ended no more text follows, so that nothing is waited for
 */
export function findMarker(text: string, markers: readonly string[], ended: boolean, from = 0): MarkerHit {
  for (let at = from; at < text.length; at++) {
    let best: string | undefined
    for (const marker of markers) {
      if (marker[0] !== text[at]) continue
      if (text.startsWith(marker, at)) {
        if (best === undefined || marker.length > best.length) best = marker
      } else if (!ended && marker.length > text.length - at && marker.startsWith(text.slice(at))) {
        return { at, marker: undefined }
      }
    }
    if (best !== undefined) return { at, marker: best }
  }
  return { at: text.length, marker: undefined }
}
