import { describe, expect, it } from 'vitest';
import type { VcpuBus } from './contract.ts';
import { WasmVm } from './wasm-vm.ts';

const PROGRAM_AT = 0x1000;
const RAM_BYTES = 0x10000;
// mov eax, 10; mov ebx, 3; mov esi, 0x40; xor edx, edx; vmmcall; hlt
const PROGRAM = [0xb8, 10, 0, 0, 0, 0xbb, 3, 0, 0, 0, 0xbe, 0x40, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x01, 0xd9, 0xf4];

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

/** RAX after the program. */
function run(tier: 'interp' | 'jit', bus: VcpuBus): bigint {
  const vm = new WasmVm({ hostMemoryBytes: RAM_BYTES + 0x20000, vcpus: 1 }, { tier, hotAfter: 1 });
  const ram = vm.allocate(RAM_BYTES);
  vm.setMemoryRegion({
    slot: 0,
    guestPhysical: 0,
    sizeBytes: RAM_BYTES,
    hostOffset: ram,
    readonly: false,
    logDirty: false,
  });
  new Uint8Array(vm.memory.buffer).set(PROGRAM, ram + PROGRAM_AT);
  const vcpu = vm.createVcpu(bus);
  vcpu.setInitialState({ mode: 'protected', rip: PROGRAM_AT });
  expect(vcpu.run(100)).toEqual({ reason: 'halted' });
  return vcpu.registers.get('rax');
}

describe.each(['interp', 'jit'] as const)('a hypercall (%s)', (tier) => {
  it('goes to the board with its arguments, and the answer to RAX', () => {
    const calls: unknown[] = [];
    const rax = run(tier, {
      ...BUS,
      hypercall: (number, args, long) => {
        calls.push([number, [...args], long]);
        return -7;
      },
    });
    expect(calls).toEqual([[10, [3, 0, 0, 0, 0, 0, 0x40, 0], false]]);
    expect(rax).toBe(0xfffffff9n);
  });

  it('is unknown where the board answers none', () => {
    expect(run(tier, BUS)).toBe(0x100000000n - 1000n);
  });
});
