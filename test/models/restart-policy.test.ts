import { describe, expect, it } from 'vitest'
import { RestartPolicy } from '../../src/models/restart-policy.js'

const limits = { maxRestarts: 3, windowMs: 1000, firstDelayMs: 10, maxDelayMs: 25, coolDownMs: 200 }

describe('restarts', () => {
  it('wait twice as long each time, and end at the limit', () => {
    const policy = new RestartPolicy(limits)
    expect([0, 1, 2, 3].map((now) => policy.next(now))).toEqual([10, 20, 25, undefined])
  })

  it('are forgotten after the window', () => {
    const policy = new RestartPolicy(limits)
    expect([0, 400, 800, 1100, 1150].map((now) => policy.next(now))).toEqual([10, 20, 25, 25, undefined])
    expect(policy.next(5000)).toBe(10)
  })

  it('may be tried again after the cool-down, one at a time', () => {
    const policy = new RestartPolicy(limits)
    for (const now of [0, 1, 2, 3]) policy.next(now)
    expect(policy.retry(100)).toBe(false)
    expect(policy.retry(203)).toBe(true)
    // it died again: down for another cool-down
    expect(policy.next(210)).toBeUndefined()
    expect(policy.retry(300)).toBe(false)
    expect(policy.retry(410)).toBe(true)
  })

  it('after a first load that failed, are one try a cool-down, too', () => {
    const policy = new RestartPolicy(limits)
    policy.giveUp(0)
    expect(policy.retry(100)).toBe(false)
    expect(policy.retry(200)).toBe(true)
    expect(policy.next(210)).toBeUndefined()
    expect(policy.retry(300)).toBe(false)
    expect(policy.retry(410)).toBe(true)
    // that one works for longer than the window: all is forgotten
    expect(policy.next(5000)).toBe(10)
  })
})
