/** The engine's tiers as oracles. */
import { createTestbench } from '../../../src/accel/testbench.ts';
import { EngineOracle, TESTBENCH_RANGES } from './engine.ts';
import { CODE_PAGE, type CodeSize, DATA_BASE } from './machine-state.ts';

/** The interpreter; the JIT with everything translated at its first use. */
export const TIERS = ['interp', 'jit'] as const;

/**
 * Configurations for programs that run in blocks. `warm`: a block is interpreted a few times first, so that tiers hand over to each
 * other; `tiny`: room for a handful of blocks and translations, so that code is forgotten and linked anew all the time.
 */
export const PROGRAM_TIERS = [...TIERS, 'warm', 'tiny'] as const;
export type Tier = (typeof PROGRAM_TIERS)[number];

/** Engine options of each. */
export const TIER_OPTIONS: Readonly<
  Record<
    Tier,
    {
      readonly tier: 'interp' | 'jit';
      readonly hotAfter: number;
      readonly arenaBytes?: number;
      readonly maxTranslations?: number;
    }
  >
> = {
  interp: { tier: 'interp', hotAfter: 1 },
  jit: { tier: 'jit', hotAfter: 1 },
  warm: { tier: 'jit', hotAfter: 4 },
  tiny: { tier: 'jit', hotAfter: 2, arenaBytes: 16 << 10, maxTranslations: 3 },
};

const oracles = new Map<string, EngineOracle>();

/** A tier running code of a width; the segments of 16-bit code begin where those of the native oracle do. */
export function engineOracle(tier: Tier, codeSize: CodeSize = 64): EngineOracle {
  const name = codeSize === 64 ? tier : `${tier}${codeSize}`;
  let oracle = oracles.get(name);
  if (oracle === undefined) {
    const segments = codeSize === 16 ? { codeBase: CODE_PAGE, dataBase: DATA_BASE } : {};
    oracle = new EngineOracle(name, () =>
      createTestbench({ ...TIER_OPTIONS[tier], ranges: TESTBENCH_RANGES, codeSize, ...segments }),
    );
    oracles.set(name, oracle);
  }
  return oracle;
}
