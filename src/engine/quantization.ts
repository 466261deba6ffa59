// The names of `--quantization`; what each makes of the tensors is decided in native/loader/quantization.cpp.

/** In the order of docs/quantization.md. */
export const quantizationNames = [
  'q8_0',
  'q6_k',
  'q5_k_m',
  'q5_k_s',
  'q5_1',
  'q5_0',
  'q4_k_m',
  'q4_k_s',
  'q4_1',
  'q4_0',
  'iq4_nl',
  'iq4_xs',
  'q3_k_l',
  'q3_k_m',
  'q3_k_s',
  'q2_k',
  'mxfp4',
] as const

export type QuantizationName = (typeof quantizationNames)[number]

/**
 * Bits that a weight takes on average, the output matrix and the better types of some layers included: of a small model whose rows fit
 * few blocks of 256 values (SmolLM2-135M), so rather too many than too few.
 */
export const bitsPerWeight: Readonly<Record<QuantizationName, number>> = {
  q8_0: 8.5,
  q6_k: 8.1,
  q5_k_m: 6.6,
  q5_k_s: 6.5,
  q5_1: 6.6,
  q5_0: 6.2,
  q4_k_m: 6.2,
  q4_k_s: 6.0,
  q4_1: 5.8,
  q4_0: 5.4,
  iq4_nl: 5.4,
  iq4_xs: 5.4,
  q3_k_l: 5.7,
  q3_k_m: 5.5,
  q3_k_s: 5.2,
  q2_k: 5.2,
  mxfp4: 6.0,
}

export interface Quantization {
  name: QuantizationName | 'none'
  /** What a user should know of the choice. */
  note?: string
}

// llama.cpp's short names of the middle sizes
const shortNames: Record<string, QuantizationName> = { q5_k: 'q5_k_m', q4_k: 'q4_k_m', q3_k: 'q3_k_m' }

// formats of bitsandbytes, which transformers serve offers: made for CUDA kernels that ggml does not have
const nearest: Record<string, QuantizationName> = { 'bnb-4bit': 'q4_k_m', 'bnb-8bit': 'q8_0' }

/** Every name that is understood, for messages and the help. */
export const quantizationChoices: readonly string[] = [...quantizationNames, ...Object.keys(nearest), 'none']

/** The quantisation that a user's text names, in any case; undefined when there is none of that name. */
export function parseQuantization(text: string): Quantization | undefined {
  const name = text.trim().toLowerCase()
  if (name === 'none') return { name: 'none' }
  const bnb = Object.hasOwn(nearest, name) ? nearest[name] : undefined
  if (bnb)
    return { name: bnb, note: `${name} is a format of bitsandbytes; the weights are quantised to the nearest that runs here, ${bnb}.` }
  const full = Object.hasOwn(shortNames, name) ? shortNames[name] : quantizationNames.find((known) => known === name)
  return full && { name: full }
}
