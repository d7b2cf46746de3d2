import { describe, expect, it } from 'vitest';
import type { VcpuPlace } from '../../accel/contract.ts';
import { type CodeKnowledge, resolveStack } from './call-stacks.ts';
import { SymbolTable } from './symbol-table.ts';

const NAMES = ['entry', 'middle', 'leaf', 'other', '__x86_indirect_thunk_rax', '__x86_return_thunk'];
const at = (name: string, offset = 0): number => -0x1000_0000 + NAMES.indexOf(name) * 0x1000 + offset;
const table = new SymbolTable(NAMES.map((name) => ({ address: at(name), name, code: true, global: true })));

const place = (rip: number, privilegeLevel = 0): VcpuPlace => ({
  rip,
  stackPointer: 0,
  framePointer: 0,
  privilegeLevel,
  codeBits: 64,
  longMode: true,
  pageTables: 0x5000,
  syscallEntry: 0,
  sysenterEntry: 0,
  interruptTable: 0,
});

/** Return addresses with the function that the call before them calls; `*` through a pointer. */
function names(rip: number, calls: readonly (readonly [number, string])[]): string[] {
  const targets = new Map(calls.map(([address, callee]) => [address, callee === '*' ? undefined : at(callee)]));
  const code: CodeKnowledge = {
    find: (address) => table.find(address),
    callBefore: (_, address) => (targets.has(address) ? { target: targets.get(address) } : undefined),
  };
  const stack = { kind: 'scan' as const, addresses: Float64Array.from(calls, ([address]) => address) };
  return resolveStack({ place: place(rip), stack, process: undefined }, code).map(({ name }) => name);
}

describe('what was under way', () => {
  it('is told by calls that fit', () => {
    const calls = [
      [at('middle', 0x50), 'leaf'],
      [at('entry', 0x20), 'middle'],
    ] as const;
    expect(names(at('leaf', 4), calls)).toEqual(['kernel', 'entry', 'middle', 'leaf']);
  });

  it('does not contain calls that have returned', () => {
    const calls = [
      [at('other', 0x10), 'entry'],
      [at('middle', 0x50), 'leaf'],
      [at('entry', 0x20), 'middle'],
    ] as const;
    expect(names(at('leaf', 4), calls)).toEqual(['kernel', 'entry', 'middle', 'leaf']);
  });

  it('goes on where a function was called through a pointer', () => {
    const calls = [
      [at('middle', 0x50), '__x86_indirect_thunk_rax'],
      [at('entry', 0x20), 'middle'],
    ] as const;
    expect(names(at('leaf', 4), calls)).toEqual(['kernel', 'entry', 'middle', 'leaf']);
    expect(names(at('leaf', 4), [[at('middle', 0x50), '*']])).toEqual(['kernel', 'middle', 'leaf']);
  });

  it('goes on where a function was reached by a jump from the one called', () => {
    const calls = [
      [at('middle', 0x50), 'other'],
      [at('entry', 0x20), 'middle'],
    ] as const;
    expect(names(at('leaf', 4), calls)).toEqual(['kernel', 'entry', 'middle', 'leaf']);
  });

  it('names the function that is returning through a thunk', () => {
    expect(names(at('__x86_return_thunk'), [[at('middle', 0x50), 'leaf']])).toEqual(['kernel', 'middle', 'leaf']);
  });

  it('gives code without names the entry that it was called by, or its page', () => {
    const entry = 0x401200;
    const code: CodeKnowledge = {
      find: () => undefined,
      callBefore: (_, address) => (address === 0x40500a ? { target: entry } : undefined),
    };
    const stack = { kind: 'scan' as const, addresses: Float64Array.of(0x40500a) };
    const frames = resolveStack({ place: place(0x401234, 3), stack, process: '/bin/sh' }, code);
    expect(frames.map(({ name }) => name)).toEqual(['user: /bin/sh', '0x405000+', '0x401200']);
    expect(frames.map(({ kind }) => kind)).toEqual(['root', 'user', 'user']);
    const nameless = resolveStack({ place: place(0x401234, 3), stack: undefined, process: undefined }, code);
    expect(nameless.map(({ name }) => name)).toEqual(['user (cr3 0x5000)', '0x401000+']);
  });
});
