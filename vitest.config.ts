import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Those that take minutes or want tools and rights are for `npm run test:faults`.
    exclude: ['test/system/{system-calls,slow-sockets,shortage}.test.ts'],
    testTimeout: 30_000,
    // More than what `eventually` and its like wait in hooks.
    hookTimeout: 60_000,
    pool: 'forks',
    // Most files wait most of the time: two at once even where there are two cores (vitest by itself leaves one free).
    maxWorkers: Math.max(2, availableParallelism() - 1),
  },
});
