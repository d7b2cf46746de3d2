/**
 * Floating point as nearly all programs run it: MXCSR in its default state, perhaps with FTZ and DAZ, and PE already raised,
 * which is when the tiers compute with plain WebAssembly arithmetic. Random states have this too rarely to try that path well.
 */
import { describe, expect, it } from 'vitest';
import { newArea, randomEncoding, randomState } from '../support/oracle/cases.ts';
import { compare, failureText } from '../support/oracle/compare.ts';
import { formsOf } from '../support/oracle/conformance.ts';
import { operandOffset } from '../support/oracle/encoding.ts';
import type { Form } from '../support/oracle/forms.ts';
import { createOutcome, createState, FX_MXCSR, type Oracle } from '../support/oracle/machine-state.ts';
import { hasNativeOracle, hostHasAvx, nativeOracle } from '../support/oracle/native.ts';
import { Random, seedOf } from '../support/oracle/random.ts';
import { engineOracle, TIERS } from '../support/oracle/tiers.ts';

/** Round to nearest, everything masked, PE raised; the same with FTZ and DAZ. */
const MXCSR_DEFAULT = 0x1fa0;
const MXCSR_FLUSHING = 0x9fe0;
const ENCODINGS = 3;
const STATES = 20;

const ARITHMETIC =
  /^V?(ADD|SUB|MUL|DIV|SQRT|MIN|MAX|CMP|HADD|HSUB|ADDSUB|ROUND|DP)[PS][SD]$|^V?U?COMIS[SD]$|^V?CVT|^VFN?M/;

function firstFailure(form: Form, host: Oracle, engine: Oracle): string | undefined {
  const random = new Random(seedOf(form.key) + MXCSR_DEFAULT);
  const state = createState();
  const [expected, got] = [createOutcome(), createOutcome()];
  for (let e = 0; e < ENCODINGS; e++) {
    const encoding = randomEncoding(form, random);
    newArea(encoding, state, random);
    for (let s = 0; s < STATES; s++) {
      randomState(encoding, state, random);
      new DataView(state.fx.buffer, state.fx.byteOffset).setUint32(
        FX_MXCSR,
        s % 3 === 0 ? MXCSR_FLUSHING : MXCSR_DEFAULT,
        true,
      );
      host.run(encoding.code, state, expected, encoding.step);
      engine.run(encoding.code, state, got, encoding.step);
      const at = operandOffset(encoding, state);
      const differences = compare(encoding, state, expected, got, at);
      if (differences.length > 0) return failureText(encoding, state, differences, at);
    }
  }
  return undefined;
}

describe.each(TIERS)('SSE arithmetic in the default mode, %s', (tier) => {
  it.runIf(hasNativeOracle)('does what the host CPU does', () => {
    const host = nativeOracle();
    if (host === undefined) return;
    const engine = engineOracle(tier);
    const families = [...formsOf('sse'), ...(hostHasAvx ? formsOf('avx') : [])];
    const forms = families.filter((form) => ARITHMETIC.test(form.row.name));
    expect(forms.length).toBeGreaterThan(100);
    const failures = forms.flatMap((form) => firstFailure(form, host, engine) ?? []);
    expect(failures.join('\n\n')).toBe('');
  });
});
