/** Byte shuffles as on an engine without relaxed SIMD. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTestbench } from '../../src/accel/testbench.ts';
import { assumeRelaxedSwizzle } from '../../src/wasm/relaxed.ts';
import { formsOf, runForms, summary } from '../support/oracle/conformance.ts';
import { EngineOracle, TESTBENCH_RANGES } from '../support/oracle/engine.ts';
import { hasNativeOracle, hostHasAvx, nativeOracle } from '../support/oracle/native.ts';
import { TIER_OPTIONS, TIERS } from '../support/oracle/tiers.ts';

beforeAll(() => assumeRelaxedSwizzle(false));
afterAll(() => assumeRelaxedSwizzle(undefined));

it.runIf(hasNativeOracle && hostHasAvx).each(TIERS)('bytes are picked as on the host CPU, %s', (tier) => {
  const host = nativeOracle();
  if (host === undefined) return;
  const engine = new EngineOracle(tier, () => createTestbench({ ...TIER_OPTIONS[tier], ranges: TESTBENCH_RANGES }));
  const forms = [...formsOf('sse'), ...formsOf('avx')].filter((form) =>
    /^V?P(SHUFB|ERM[DP]|ERMILPS)/.test(form.row.name),
  );
  const result = runForms(forms, host, engine, { encodings: 4, states: 10 });

  expect(result.failedCases === 0 ? '' : `${summary(result)}\n${result.failures[0]}`).toBe('');
  expect(result.forms).toBeGreaterThan(10);
});
