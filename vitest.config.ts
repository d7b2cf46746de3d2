/**
 * Three projects: `units` beside their files, `conformance` (instructions, formats and protocols against oracles and
 * recorded vectors) and `guests` (whole machines: systems boot, disks are written, browsers open the page).
 */
import { defineConfig } from 'vitest/config';

const shared = { isolate: false, pool: 'threads' as const, environment: 'node' as const };

export default defineConfig({
  test: {
    maxWorkers: 2,
    globalSetup: './scripts/vitest-setup.ts',
    projects: [
      {
        test: {
          ...shared,
          name: 'units',
          include: ['src/**/*.test.ts', 'scripts/**/*.test.ts', 'bench/**/*.test.ts'],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          ...shared,
          name: 'conformance',
          include: ['tests/**/*.test.ts'],
          exclude: ['tests/guests/**', 'tests/browser/**'],
          testTimeout: 120_000,
        },
      },
      {
        test: {
          ...shared,
          isolate: true,
          pool: 'forks' as const,
          name: 'guests',
          include: ['tests/guests/**/*.test.ts', 'tests/browser/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
