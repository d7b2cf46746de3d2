import { describe, expect, it } from 'vitest';
import { FAMILIES, formsOf, runForms, summary } from '../support/oracle/conformance.ts';
import type { Family, Form } from '../support/oracle/forms.ts';
import type { CodeSize } from '../support/oracle/machine-state.ts';
import { hostHasAvx, nativeOracle } from '../support/oracle/native.ts';
import { replay } from '../support/oracle/replay.ts';
import { engineOracle, TIERS } from '../support/oracle/tiers.ts';

const isFull = process.env['ORRERY_CONFORMANCE'] === 'full';
const AMOUNT = { interp: { encodings: isFull ? 20 : 1, states: 6 }, jit: { encodings: isFull ? 10 : 1, states: 3 } };

// 32-bit code in flat segments, and 16-bit code in segments with a base and a limit, as firmware and boot loaders run it.
const CASES = TIERS.flatMap((tier) => ([32, 16] as const).map((codeSize: CodeSize) => ({ tier, codeSize })));

/** Definitions are the same in all widths, so one form in four is enough to translate. */
function chosen(family: Family, codeSize: CodeSize, tier: (typeof TIERS)[number]): readonly Form[] {
  const forms = formsOf(family, codeSize);
  return isFull || tier === 'interp' ? forms : forms.filter((_, i) => i % 4 === 0);
}

describe.each(CASES)('$codeSize-bit code, $tier', ({ tier, codeSize }) => {
  it.each(FAMILIES)('%s instructions do what the host CPU does, or did where there is none', (family) => {
    const host = family === 'avx' && !hostHasAvx ? undefined : nativeOracle();
    const engine = engineOracle(tier, codeSize);
    const result =
      host === undefined
        ? replay(family, engine, undefined, codeSize)
        : runForms(chosen(family, codeSize, tier), host, engine, AMOUNT[tier]);
    const text = result.failedCases === 0 ? '' : `${summary(result)}\n\n${result.failures.slice(0, 8).join('\n\n')}`;
    expect(text).toBe('');
    expect(result.cases).toBeGreaterThan(0);
  });
});
