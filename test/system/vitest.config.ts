import { defineConfig } from 'vitest/config';

/** `npm run test:faults`: what takes longer than `npm test` should, or wants tools and rights that a machine may not have. */
export default defineConfig({
  test: {
    include: ['test/faults/**/*.test.ts', 'test/system/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    env: { FAULTS: 'all' },
    pool: 'forks',
    // Child processes are what is measured here; more of them at once than cores would only wait for each other.
    maxWorkers: 2,
  },
});
