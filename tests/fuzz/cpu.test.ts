import { describe, expect, it } from 'vitest';
import { CpuFuzzer } from '../support/oracle/fuzz-cpu.ts';
import { engineOracle, PROGRAM_TIERS } from '../support/oracle/tiers.ts';

/** Translating noise takes longer than interpreting it. `node tests/fuzz/cpu.ts` runs ten million. */
const INSTRUCTIONS = { interp: 170_000, jit: 30_000, warm: 30_000, tiny: 20_000 };

describe.each(PROGRAM_TIERS)('random code, %s', (tier) => {
  it('never crashes, hangs or leaves its mode', () => {
    const fuzzer = new CpuFuzzer(engineOracle(tier));
    for (let seed = 1; fuzzer.instructions < INSTRUCTIONS[tier]; seed++) fuzzer.run(seed);
    expect(fuzzer.exceptions).toBeGreaterThan(fuzzer.programs);
  }, 600_000);
});
