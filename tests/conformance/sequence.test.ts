import { describe, expect, it } from 'vitest';
import { hasNativeOracle, nativeOracle } from '../support/oracle/native.ts';
import { SequenceRunner } from '../support/oracle/sequences.ts';
import { engineOracle, PROGRAM_TIERS } from '../support/oracle/tiers.ts';

const PROGRAMS = process.env['ORRERY_CONFORMANCE'] === 'full' ? 20_000 : 200;
const PRINTED = 3;

const CASES = PROGRAM_TIERS.flatMap((tier) => ([64, 32, 16] as const).map((codeSize) => ({ tier, codeSize })));

describe.runIf(hasNativeOracle).each(CASES)('random $codeSize-bit programs, $tier', ({ tier, codeSize }) => {
  it('end as on the host CPU', () => {
    const host = nativeOracle();
    if (host === undefined) return;
    const runner = new SequenceRunner(host, engineOracle(tier, codeSize), codeSize);
    const failures: string[] = [];
    let failed = 0;
    for (let seed = 1; seed <= PROGRAMS; seed++) {
      const failure = runner.run(seed);
      if (failure === undefined) continue;
      failed++;
      if (failures.length < PRINTED) failures.push(failure);
    }
    expect(failures.join('\n\n')).toBe('');
    expect(failed).toBe(0);
  }, 600_000);
});
