// What `import … from 'tfserve'` gives.
export { CheckpointError } from './engine/checkpoint.js'
export type { Constraint, JsonSchema, JsonWhitespace } from './engine/constraint.js'
export { Engine, type GenerateOptions, type GeneratedChunk } from './engine/engine.js'
export type {
  SpeechModelInfo,
  TranscriptionDelta,
  TranscriptionThresholds,
  TranscriptSegment,
  TranscriptWord,
  VoiceActivityOptions,
} from './engine/speech-types.js'
export { Transcriber, type TranscribeOptions, type Transcription } from './engine/transcriber.js'
export {
  type ChatMessage,
  type EngineOptions,
  type EngineStats,
  type ErrorCode,
  type FinishReason,
  type GenerationDelta,
  type GenerationParams,
  type LoadProgress,
  type ModelInfo,
  RequestError,
  type TokenLogprob,
  type ToolCallDelta,
  type ToolChoice,
  type TopLogprob,
} from './engine/types.js'
