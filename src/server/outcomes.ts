/** How a request ended. */
export const outcomes = ['stop', 'length', 'client_gone', 'refused', 'failed', 'shut_down', 'slow_reader'] as const

export type Outcome = (typeof outcomes)[number]
