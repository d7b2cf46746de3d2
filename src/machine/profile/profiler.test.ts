import { describe, expect, it } from 'vitest';
import type { Vcpu, VcpuPlace } from '../../accel/contract.ts';
import type { RunLoop, RunSampler } from '../run-loop.ts';
import { GuestSymbols } from './guest-symbols.ts';
import { Profiler } from './profiler.ts';
import { SymbolTable } from './symbol-table.ts';

/** A guest that stands at `rip`, in a kernel of two functions of 4096 bytes. */
function build(rateHz = 1000): { profiler: Profiler; samplers: Set<RunSampler>; stand: (rip: number) => void } {
  let rip = 0x1000;
  const place = (): VcpuPlace => ({
    rip,
    stackPointer: 0,
    framePointer: 0,
    privilegeLevel: 0,
    codeBits: 64,
    longMode: true,
    pageTables: 0x9000,
    syscallEntry: 0,
    sysenterEntry: 0,
    interruptTable: 0,
  });
  // INVARIANT: a profiler uses no more of a vCPU and a run loop.
  const vcpu = { place, peek: () => 0 } as unknown as Vcpu;
  const samplers = new Set<RunSampler>();
  const loop = { samplers } as unknown as RunLoop;
  const functions = ['one', 'two'].map((name, i) => ({ name, address: (i + 1) * 0x1000, code: true, global: true }));
  const symbols = new GuestSymbols(vcpu, [new SymbolTable(functions)]);
  const profiler = new Profiler(vcpu, loop, symbols, { rateHz, stacks: true });
  return { profiler, samplers, stand: (at) => (rip = at) };
}

describe('a profiler', () => {
  it('takes a sample when running time is due, with the time since the last', () => {
    const { profiler, stand } = build();
    expect(profiler.untilDueNs).toBe(1e6);
    profiler.ran(0.4e6, true);
    expect(profiler.untilDueNs).toBe(0.6e6);
    stand(0x2010);
    profiler.ran(0.7e6, true);
    // The next one is due at 2 ms, not 1 ms after this one.
    expect(profiler.untilDueNs).toBeCloseTo(0.9e6, 3);
    stand(0x1010);
    profiler.ran(0.9e6, true);
    const { samples } = profiler.snapshot();
    expect(
      samples.map(({ stack, weightNs }) => [stack.map(({ name }) => name).join(' '), Math.round(weightNs)]),
    ).toEqual([
      ['kernel two', 1_100_000],
      ['kernel one', 900_000],
    ]);
  });

  it('waits for the next time the guest is interrupted at work', () => {
    const { profiler } = build();
    profiler.ran(1.5e6, false);
    expect(profiler.snapshot().samples).toEqual([]);
    expect(profiler.untilDueNs).toBe(0);
    profiler.ran(0.1e6, true);
    expect(profiler.snapshot().samples.map(({ weightNs }) => weightNs)).toEqual([1.6e6]);
  });

  it('does not make up for samples that are long overdue', () => {
    const { profiler } = build();
    profiler.ran(50e6, true);
    expect(profiler.untilDueNs).toBe(1e6);
    expect(profiler.snapshot().samples).toHaveLength(1);
  });

  it('leaves the run loop when it stops', () => {
    const { profiler, samplers } = build();
    expect(samplers.size).toBe(1);
    profiler.ran(1e6, true);
    expect(profiler.stop().samples).toHaveLength(1);
    expect(samplers.size).toBe(0);
  });

  it('gives what was seen before a reset the names of that time', () => {
    const { profiler, stand } = build();
    profiler.ran(1e6, true);
    profiler.beforeReset();
    stand(0x2000);
    profiler.ran(1e6, true);
    expect(
      profiler
        .stop()
        .hottest()
        .map(({ name }) => name),
    ).toEqual(['one', 'two']);
  });
});
