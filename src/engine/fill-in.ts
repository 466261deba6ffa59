// Fill-in-the-middle: prompts in the notation that a checkpoint was trained with, found by the tokens that its tokenizer has.
import type { Tokenizer } from './tokenizer.js'
import { RequestError } from './types.js'

interface Notation {
  prefix: string
  suffix: string
  /** What the answer follows; absent: it follows the prefix. */
  middle?: string
  /** Whether the suffix stands before the prefix. */
  suffixFirst?: true
  /** Whether the parts are cut into tokens without the space that the tokenizer puts before a text. */
  bare?: true
  /** What ends an answer, beside the checkpoint's own end. */
  ends?: readonly string[]
}

/** By the definitions of the model cards and the libraries' tokenizer classes. */
const notations: readonly Notation[] = [
  // Qwen2.5-Coder, CodeGemma
  {
    prefix: '<|fim_prefix|>',
    suffix: '<|fim_suffix|>',
    middle: '<|fim_middle|>',
    ends: ['<|fim_pad|>', '<|file_sep|>', '<|file_separator|>', '<|repo_name|>', '<|endoftext|>'],
  },
  // StarCoder, SmolLM, Granite code
  { prefix: '<fim_prefix>', suffix: '<fim_suffix>', middle: '<fim_middle>', ends: ['<fim_pad>', '<file_sep>', '<|endoftext|>'] },
  // SantaCoder
  { prefix: '<fim-prefix>', suffix: '<fim-suffix>', middle: '<fim-middle>', ends: ['<|endoftext|>'] },
  // DeepSeek Coder; the whole is marked where the middle is to be
  { prefix: '<｜fim▁begin｜>', suffix: '<｜fim▁hole｜>', middle: '<｜fim▁end｜>' },
  // Code Llama
  { prefix: '▁<PRE>', suffix: '▁<SUF>', middle: '▁<MID>', bare: true, ends: ['▁<EOT>'] },
  // Codestral, Devstral
  { prefix: '[PREFIX]', suffix: '[SUFFIX]', suffixFirst: true },
  // Seed-Coder
  { prefix: '<[fim-prefix]>', suffix: '<[fim-suffix]>', middle: '<[fim-middle]>', suffixFirst: true },
]

async function tokenOf(tokenizer: Tokenizer, text: string): Promise<number | undefined> {
  const ids = await tokenizer.encode(text, false)
  return ids.length === 1 ? ids[0] : undefined
}

// ids of a text as it stands in the middle of another one: what the tokenizer puts at the start of a text is cut off with a line break
async function bareIds(tokenizer: Tokenizer, text: string): Promise<Int32Array> {
  const head = await tokenizer.encode('\n', false)
  const ids = await tokenizer.encode(`\n${text}`, false)
  return head.every((id, i) => ids[i] === id) ? ids.subarray(head.length) : tokenizer.encode(text, false)
}

/** How one checkpoint is asked for what stands between two texts. */
export class FillIn {
  private constructor(
    private readonly tokenizer: Tokenizer,
    private readonly notation: Notation,
    private readonly marks: { prefix: number; suffix: number; middle: number | undefined },
    /** Tokens that end an answer, beside the checkpoint's own. */
    readonly ends: readonly number[],
  ) {}

  /** Rejects with a RequestError for a tokenizer that has the tokens of no notation. */
  static async of(tokenizer: Tokenizer): Promise<FillIn> {
    for (const notation of notations) {
      const prefix = await tokenOf(tokenizer, notation.prefix)
      const suffix = prefix === undefined ? undefined : await tokenOf(tokenizer, notation.suffix)
      const middle = notation.middle === undefined ? undefined : await tokenOf(tokenizer, notation.middle)
      if (prefix === undefined || suffix === undefined || (notation.middle !== undefined && middle === undefined)) continue
      // a tokenizer with a token for whatever it does not know gives that one for each of them
      if (prefix === suffix || prefix === middle || suffix === middle) continue
      const ends = await Promise.all((notation.ends ?? []).map((end) => tokenOf(tokenizer, end)))
      const marks = new Set([prefix, suffix, middle])
      return new FillIn(
        tokenizer,
        notation,
        { prefix, suffix, middle },
        ends.filter((id) => id !== undefined && !marks.has(id)) as number[],
      )
    }
    throw new RequestError('unsupported_parameter', 'This model has no tokens for filling in: leave `suffix` out.', 'suffix')
  }

  /** The prompt whose answer stands between `prefix` and `suffix`, with what the tokenizer puts before every text. */
  async ids(prefix: string, suffix: string): Promise<Int32Array> {
    const { notation, marks, tokenizer } = this
    const encode = (text: string): Promise<Int32Array> =>
      text === '' ? Promise.resolve(new Int32Array()) : notation.bare ? bareIds(tokenizer, text) : tokenizer.encode(text, false)
    const head = await tokenizer.encode('', true)
    const before = [marks.prefix, ...(await encode(prefix))]
    const behind = [marks.suffix, ...(await encode(suffix))]
    const parts = notation.suffixFirst ? [behind, before] : [before, behind]
    return Int32Array.from([...head, ...parts.flat(), ...(marks.middle === undefined ? [] : [marks.middle])])
  }
}
