import { expect, it } from 'vitest';
import { allRows } from '../../src/cpu/x86/decode/decoder.ts';
import { allForms, EXCLUDED } from '../support/oracle/forms.ts';

/** PREFETCH with a register: a NOP for Intel, undefined for AMD. */
const VENDOR_SPECIFIC = '0F 0D /r';

it('every row of the decode tables is tested in some width of code, or is known to be beyond the host CPU at CPL 3', () => {
  const tested = new Set(([64, 32, 16] as const).flatMap((size) => allForms(size).map((form) => form.row.id)));
  const missing = allRows().filter(
    (row) => !tested.has(row.id) && !EXCLUDED.has(row.name) && row.encoding !== VENDOR_SPECIFIC,
  );
  expect(missing.map((row) => `${row.encoding} ${row.name}`)).toEqual([]);
});
