import { describe, expect, it } from 'vitest';
import { hasNativeOracle, nativeOracle } from '../support/oracle/native.ts';
import { SequenceRunner } from '../support/oracle/sequences.ts';
import { engineOracle, TIERS } from '../support/oracle/tiers.ts';

const PROGRAMS = process.env['ORRERY_CONFORMANCE'] === 'full' ? 20_000 : 400;
const PRINTED = 3;

describe.runIf(hasNativeOracle).each(TIERS)('random programs, %s', (tier) => {
  it('end as on the host CPU', () => {
    const host = nativeOracle();
    if (host === undefined) return;
    const runner = new SequenceRunner(host, engineOracle(tier));
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
