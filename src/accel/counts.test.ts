import { describe, expect, it } from 'vitest';
import type { CodeEvent } from '../cpu/code-events.ts';
import type { VcpuBus } from './contract.ts';
import { WasmVm } from './wasm-vm.ts';
import type { WasmVcpu } from './wasm-vcpu.ts';

const PROGRAM_AT = 0x1000;
const LOOP_AT = PROGRAM_AT + 5;
const RAM_BYTES = 0x10000;
/** What waits to be compiled is, between slices. */
const SLICE = 50_000;
// mov ecx, 1000; l: dec ecx; jnz l; mov edi, 0x8000; mov ecx, 5000; rep stosb; hlt
const PROGRAM = [
  0xb9, 0xe8, 3, 0, 0, 0x49, 0x75, 0xfd, 0xbf, 0, 0x80, 0, 0, 0xb9, 0x88, 0x13, 0, 0, 0xf3, 0xaa, 0xf4,
]; // prettier-ignore

const BUS: VcpuBus = {
  ioIn: () => 0,
  ioOut: () => undefined,
  mmioRead: () => 0,
  mmioWrite: () => undefined,
  readMsr: () => undefined,
  writeMsr: () => false,
  cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }),
  tsc: () => 0,
  random32: () => 0,
  acknowledgeInterrupt: () => -1,
};

/** mov esi, 200; again: mov ecx, 3000; l: dec ecx; jnz l; 800 times nop; dec esi; jnz again; hlt */
const LARGE_LOOP = [
  0xbe, 200, 0, 0, 0, 0xb9, 0xb8, 0xb, 0, 0, 0x49, 0x75, 0xfd,
  ...new Array<number>(800).fill(0x90), 0x4e, 0x0f, 0x85, 0xd1, 0xfc, 0xff, 0xff, 0xf4,
]; // prettier-ignore

function run(
  tier: 'interp' | 'jit',
  events: CodeEvent[],
  program: readonly number[] = PROGRAM,
  options: { readonly hotAfter?: number; readonly arenaBytes?: number } = { hotAfter: 1 },
): { vm: WasmVm; vcpu: WasmVcpu } {
  const vm = new WasmVm({ hostMemoryBytes: RAM_BYTES + 0x20000, vcpus: 1 }, { tier, ...options });
  const ram = vm.allocate(RAM_BYTES);
  const region = { slot: 0, guestPhysical: 0, sizeBytes: RAM_BYTES, hostOffset: ram, readonly: false, logDirty: false };
  vm.setMemoryRegion(region);
  new Uint8Array(vm.memory.buffer).set(program, ram + PROGRAM_AT);
  const vcpu = vm.createVcpu(BUS);
  vcpu.observe({ code: (event) => events.push(event) });
  vcpu.setInitialState({ mode: 'protected', rip: PROGRAM_AT });
  let exit = vcpu.run(SLICE);
  for (let slices = 1; exit.reason === 'budget' && slices < 100; slices++) exit = vcpu.run(SLICE);
  expect(exit).toEqual({ reason: 'halted' });
  return { vm, vcpu };
}

describe('counts', () => {
  it('give every instruction to the interpreter where there is nothing else', () => {
    const events: CodeEvent[] = [];
    const { vm, vcpu } = run('interp', events);
    expect(vcpu.instructionCount).toBeGreaterThan(2004);
    expect(vcpu.interpretedCount + vcpu.stringIterations).toBe(vcpu.instructionCount);
    expect(events).toEqual([]);
    expect(vm.codeStatistics()).toMatchObject({ translations: 0, liveTranslations: 0, wasmBytesGenerated: 0 });
  });

  it('show that translations outlive the records, for which there is less room than they need', () => {
    const { vm, vcpu } = run('jit', [], LARGE_LOOP, { hotAfter: 250, arenaBytes: 16 << 10 });
    const code = vm.codeStatistics();
    expect(code.flushes).toBeGreaterThan(20);
    expect(code).toMatchObject({ evictions: 0, retranslations: 0 });
    expect(code.liveTranslations).toBeGreaterThan(0);
    expect(vcpu.interpretedCount).toBeLessThan(vcpu.instructionCount / 2);
    expect(vcpu.instructionCount).toBeGreaterThan(500_000);
  });

  it('tell what was translated, compiled and dropped', () => {
    const events: CodeEvent[] = [];
    const { vm, vcpu } = run('jit', events);
    const translated = vcpu.instructionCount - vcpu.interpretedCount - vcpu.stringIterations;
    expect(translated).toBeGreaterThan(1900);
    const made = events.filter(({ what }) => what === 'translate');
    const code = vm.codeStatistics();
    expect(code.translations).toBe(made.length);
    expect(made[0]).toMatchObject({ physical: PROGRAM_AT, again: false });
    expect(events.filter(({ what }) => what === 'compile')).toHaveLength(code.modulesCompiled);
    expect(code).toMatchObject({ evictions: 0, retranslations: 0, liveTranslations: made.length });
    expect(code.guestBytesTranslated).toBeGreaterThanOrEqual(PROGRAM.length);

    events.length = 0;
    vm.memoryWritten(LOOP_AT, 1);
    expect(events.filter(({ what }) => what === 'evict')).toHaveLength(made.length);
    expect(events).toContainEqual(expect.objectContaining({ what: 'invalidate', translations: made.length }));
    expect(vm.codeStatistics()).toMatchObject({ evictions: made.length, liveTranslations: 0, liveWasmBytes: 0 });
    vcpu.setInitialState({ mode: 'protected', rip: PROGRAM_AT });
    vcpu.run(100_000);
    expect(vm.codeStatistics().retranslations).toBeGreaterThan(0);
  });

  it('show where the guest stands and what it sees there', () => {
    const { vcpu } = run('interp', []);
    expect(vcpu.place()).toMatchObject({ rip: PROGRAM_AT + PROGRAM.length, privilegeLevel: 0, codeBits: 32 });
    const bytes = new Uint8Array(PROGRAM.length);
    expect(vcpu.peek(PROGRAM_AT, bytes)).toBe(PROGRAM.length);
    expect([...bytes]).toEqual(PROGRAM);
    expect(vcpu.peek(RAM_BYTES - 4, bytes)).toBe(4);
  });
});
