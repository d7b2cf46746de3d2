import { describe, expect, it } from 'vitest';
import { gridOperations, runGrid } from '../support/oracle/float-grid.ts';
import { hasNativeOracle, nativeOracle } from '../support/oracle/native.ts';
import { engineOracle } from '../support/oracle/tiers.ts';

// The tiers share their arithmetic, so one of them is enough here; the families' tests run both.
describe.runIf(hasNativeOracle)('floating point, pairs of special values', () => {
  it.each(gridOperations())('$name rounds, signals and returns as on the host CPU', (operation) => {
    const host = nativeOracle();
    if (host === undefined) return;
    const result = runGrid(operation, host, engineOracle('interp'));
    expect(result.failures.join('\n')).toBe('');
    expect(result.cases).toBeGreaterThan(100);
  });
});
