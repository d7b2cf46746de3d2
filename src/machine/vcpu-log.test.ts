import { expect, test } from 'vitest';
import { MicrocodeBench } from '../../tests/support/microcode-bench.ts';
import * as L from '../cpu/layout.ts';
import { formatMmuEvent } from './vcpu-log.ts';

test('the microcode tells of fills, faults and flushes only when somebody watches', () => {
  const bench = new MicrocodeBench();
  bench.longMode();
  bench.call('slowLoad', 0x5000n, 8);
  expect(bench.mmu).toEqual([]);
  bench.set32(L.CPU_WATCH, L.WATCH_MMU);
  bench.call('slowStore', 0x6010n, 8);
  bench.call('slowStore', 0x6018n, 8);
  bench.call('slowLoad', 0x40000123n, 4);
  bench.call('invlpg', 0x6000n);
  bench.call('flushTlb', 1);
  expect(bench.mmu).toEqual(['0 6000 6000 7', '1 40000123 0 0', '3 6000 0 0', '2 0 0 1']);
});

test('the log names them', () => {
  const none = { linear: 0n, physical: 0n, rights: 0 };
  const fill = { linear: 0xffffffff81000000n, physical: 0x1000000n, rights: 0x1d };
  expect(formatMmuEvent({ what: 'fill', ...fill })).toBe('fill 0xffffffff81000000 -> 0x1000000 r-xgL-');
  expect(formatMmuEvent({ ...none, what: 'fault', linear: 0x1000n, rights: 7 })).toBe('page fault 0x1000 error 0x7');
  expect(formatMmuEvent({ ...none, what: 'flush' })).toBe('flush all');
  expect(formatMmuEvent({ ...none, what: 'flush', rights: 1 })).toBe('flush all but global pages');
  expect(formatMmuEvent({ ...none, what: 'drop-page', linear: 0x2000n })).toBe('drop page 0x2000');
});
