/** The engine's tiers as oracles. */
import { createTestbench } from '../../../src/accel/testbench.ts';
import { EngineOracle, TESTBENCH_RANGES } from './engine.ts';

export const TIERS = ['interp', 'jit'] as const;
export type Tier = (typeof TIERS)[number];

const oracles = new Map<Tier, EngineOracle>();

export function engineOracle(tier: Tier): EngineOracle {
  let oracle = oracles.get(tier);
  if (oracle === undefined) {
    oracle = new EngineOracle(tier, () => createTestbench({ tier, ranges: TESTBENCH_RANGES }));
    oracles.set(tier, oracle);
  }
  return oracle;
}
