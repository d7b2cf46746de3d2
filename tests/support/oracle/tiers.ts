/** The engine's tiers as oracles. */
import { createTestbench } from '../../../src/accel/testbench.ts';
import { EngineOracle, TESTBENCH_RANGES } from './engine.ts';
import { CODE_PAGE, type CodeSize, DATA_BASE } from './machine-state.ts';

export const TIERS = ['interp', 'jit'] as const;
export type Tier = (typeof TIERS)[number];

const oracles = new Map<string, EngineOracle>();

/** A tier running code of a width; the segments of 16-bit code begin where those of the native oracle do. */
export function engineOracle(tier: Tier, codeSize: CodeSize = 64): EngineOracle {
  const name = codeSize === 64 ? tier : `${tier}${codeSize}`;
  let oracle = oracles.get(name);
  if (oracle === undefined) {
    const segments = codeSize === 16 ? { codeBase: CODE_PAGE, dataBase: DATA_BASE } : {};
    oracle = new EngineOracle(name, () => createTestbench({ tier, ranges: TESTBENCH_RANGES, codeSize, ...segments }));
    oracles.set(name, oracle);
  }
  return oracle;
}
