import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    // a process a file: the native addon and its threads are never shared between files
    pool: 'forks',
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    reporters: process.env['TFSERVE_TEST_JSON'] ? ['default', ['json', { outputFile: process.env['TFSERVE_TEST_JSON'] }]] : ['default'],
  },
})
