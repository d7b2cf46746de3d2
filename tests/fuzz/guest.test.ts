import { expect, it } from 'vitest';
import { FuzzTiers } from '../support/programs/fuzz-tiers.ts';

/** Translating noise takes long. `node tests/fuzz/guest.ts 900` runs for a quarter of an hour. */
const PROGRAMS = 20;
/** Of faults and traps; the others are rarer. */
const VECTORS = [0, 1, 3, 6, 13, 14, 32];

it('random programs whose exceptions the guest handles do the same on every tier', () => {
  const fuzzer = new FuzzTiers();
  for (let seed = 1; seed <= PROGRAMS; seed++) fuzzer.run(seed);
  for (const vector of VECTORS) expect(fuzzer.vectors.get(String(vector)), `#${vector}`).toBeGreaterThan(0);
}, 120_000);
