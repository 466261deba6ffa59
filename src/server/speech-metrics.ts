import { Counter, Histogram } from './metrics.js'
import { outcomes, type Outcome } from './outcomes.js'

const factorBounds = [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 5]

/** What transcriptions bring and cost. */
export class SpeechMetrics {
  readonly #requests = new Counter(
    'tfserve_transcriptions_total',
    'Transcriptions and translations by how they ended.',
    'outcome',
    outcomes,
  )
  readonly #audio = new Counter('tfserve_transcription_audio_seconds_total', 'Seconds of recordings that were transcribed.')
  readonly #work = new Counter(
    'tfserve_transcription_work_seconds_total',
    'Seconds that recordings were with their models, waiting included.',
  )
  readonly #factor = new Histogram(
    'tfserve_transcription_real_time_factor',
    'Seconds that a whole recording was with its model, for a second of it.',
    factorBounds,
  )

  /**
   * @param audio seconds of the recording that were transcribed
   * @param work seconds since the model was asked; 0: it never was
   */
  ended(outcome: Outcome, audio = 0, work = 0): void {
    this.#requests.add(1, outcome)
    this.#audio.add(audio)
    this.#work.add(work)
    if (outcome === 'stop' && audio > 0) this.#factor.observe(work / audio)
  }

  render(): string {
    return [this.#requests, this.#audio, this.#work, this.#factor].map((part) => part.render()).join('')
  }
}
