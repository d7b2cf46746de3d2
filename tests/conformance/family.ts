/** What every family's test is: its forms on the host CPU against each tier, and the recorded vectors on each tier. */
import { describe, expect, it } from 'vitest';
import { amountFor, formsOf, type Result, runForms, summary } from '../support/oracle/conformance.ts';
import type { Family } from '../support/oracle/forms.ts';
import { hasNativeOracle, hostHasAvx, nativeOracle } from '../support/oracle/native.ts';
import { replay } from '../support/oracle/replay.ts';
import { engineOracle, TIERS } from '../support/oracle/tiers.ts';

/** Failing forms printed in full; of the others only the names. */
const PRINTED = 8;

function check(result: Result): void {
  const names = [...result.failedNames].map(([name, count]) => `${name} ${count}`).join(', ');
  const text =
    result.failedCases === 0 ? '' : `${summary(result)}\n${names}\n\n${result.failures.slice(0, PRINTED).join('\n\n')}`;
  expect(text).toBe('');
  expect(result.cases).toBeGreaterThan(0);
}

/** Declares the tests of a family. */
export function conformance(family: Family): void {
  describe.each(TIERS)(`${family} instructions, %s`, (tier) => {
    it.runIf(hasNativeOracle && (hostHasAvx || family !== 'avx'))(
      'do what the host CPU does',
      () => {
        const host = nativeOracle();
        if (host !== undefined) check(runForms(formsOf(family), host, engineOracle(tier), amountFor(tier)));
      },
      600_000,
    );

    it('do what was recorded', () => {
      check(replay(family, engineOracle(tier), hasNativeOracle ? 1 : undefined));
    }, 120_000);
  });
}
