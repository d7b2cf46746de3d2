/** FMA as on an engine whose relaxed multiply-add rounds twice, or that has none. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestbench } from '../../src/accel/testbench.ts';
import { assumeFused } from '../../src/wasm/relaxed.ts';
import { EngineOracle, TESTBENCH_RANGES } from '../support/oracle/engine.ts';
import { gridOperations, runGrid } from '../support/oracle/float-grid.ts';
import { hasNativeOracle, hostHasAvx, nativeOracle } from '../support/oracle/native.ts';
import { TIER_OPTIONS, TIERS } from '../support/oracle/tiers.ts';

beforeAll(() => assumeFused(false));
afterAll(() => assumeFused(undefined));

describe.runIf(hasNativeOracle && hostHasAvx).each(TIERS)('FMA without a fused multiply-add, %s', (tier) => {
  it('rounds once, signals and returns as on the host CPU', () => {
    const host = nativeOracle();
    if (host === undefined) return;
    const engine = new EngineOracle(tier, () => createTestbench({ ...TIER_OPTIONS[tier], ranges: TESTBENCH_RANGES }));
    const results = gridOperations()
      .filter(({ name }) => /^FMA (9b|ac|b6) /.test(name))
      .map((operation) => runGrid(operation, host, engine));
    expect(results.flatMap(({ failures }) => failures).join('\n')).toBe('');
    expect(results.reduce((cases, result) => cases + result.cases, 0)).toBeGreaterThan(500);
  });
});
