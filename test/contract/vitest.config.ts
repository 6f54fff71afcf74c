/**
 * `npm run test:drivers`: the contract suite once for each way to drive a multi (driving.ts) but the rig's own, in which `npm test` runs it;
 * drivers/ runs in every way there. More seeds: SHARDFETCH_DRIVING_SEED=… npm run test:drivers -- --project chaos
 */

import { defineConfig } from 'vitest/config';
import { DRIVING_STYLES } from './driving-styles.ts';

export default defineConfig({
  test: {
    projects: DRIVING_STYLES.filter((style) => style !== 'hand').map((style) => ({
      test: {
        name: style,
        include: ['test/contract/**/*.test.ts'],
        // These choose their drivers themselves, or it makes no difference to what they look at.
        exclude: ['test/contract/drivers/**', 'test/contract/{match-key,crowd,coverage}.test.ts'],
        env: { SHARDFETCH_DRIVING: style },
        testTimeout: 30_000,
        hookTimeout: 60_000,
        pool: 'forks' as const,
      },
    })),
  },
});
