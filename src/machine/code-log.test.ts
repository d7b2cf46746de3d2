import { expect, test } from 'vitest';
import type { Vcpu } from '../accel/contract.ts';
import { Log } from '../base/log.ts';
import type { CodeEvent } from '../cpu/code-events.ts';
import { LogTraceBackend, Tracer } from '../trace/trace.ts';
import { codeListener, formatCodeEvent } from './code-log.ts';

const TRANSLATE: CodeEvent = {
  what: 'translate',
  physical: 0x1000,
  mode: 2,
  insns: 12,
  blocks: 3,
  guestBytes: 40,
  wasmBytes: 700,
  decodeMs: 0.05,
  generateMs: 0.25,
  again: false,
};
// INVARIANT: of the vCPU the listener asks for rip alone.
const vcpu = { registers: { get: () => 0xffffffff81001000n } } as unknown as Vcpu;

test('the log tells of each kind of event in a line', () => {
  const line = (event: CodeEvent): string => formatCodeEvent(event, 0x401000n);
  expect(line(TRANSLATE)).toBe(
    'translate 0x401000 physical 0x1000: 12 instructions, 3 blocks, 40 bytes -> 700 bytes of wasm, decoded in 50 us, generated in 250 us',
  );
  expect(line({ ...TRANSLATE, again: true })).toMatch(/^retranslate 0x401000 /);
  expect(line({ what: 'compile', functions: 16, wasmBytes: 9000, compileMs: 1.5 })).toBe(
    'compile 16 functions, 9000 bytes of wasm in 1500 us',
  );
  expect(line({ what: 'evict', physical: 0x2000, wasmBytes: 9 })).toBe('evict physical 0x2000, 9 bytes of wasm');
  expect(line({ what: 'invalidate', physical: 0x3000, blocks: 4, translations: 1 })).toBe(
    'invalidate page 0x3000: 4 blocks, 1 translations',
  );
  expect(line({ what: 'flush', blocks: 7 })).toBe('flush 7 blocks');
});

test('nobody listens unless the category or an event is on', () => {
  const lines: string[] = [];
  const log = new Log((line) => lines.push(line));
  const tracer = new Tracer();
  tracer.addBackend(new LogTraceBackend((line) => lines.push(line)));
  expect(codeListener(vcpu, log, tracer)).toBeUndefined();
  expect(tracer.matches('jit_evict')).toBe(true);
  tracer.enable('jit_evict');
  codeListener(vcpu, log, tracer)?.({ what: 'evict', physical: 0x2000, wasmBytes: 500 });
  expect(lines).toEqual(['jit_evict physical=0x2000 wasm_bytes=0x1f4']);
  log.set('jit');
  codeListener(vcpu, log, tracer)?.(TRANSLATE);
  expect(lines).toHaveLength(2);
});
