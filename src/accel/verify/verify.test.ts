import { describe, expect, it } from 'vitest';
import { i32, i64 } from '../../wasm/expr.ts';
import { RBX, RCX, type SemanticsTable } from '../../cpu/x86/semantics/context.ts';
import { semantics } from '../../cpu/x86/semantics/index.ts';
import type { VcpuBus, VmExit } from '../contract.ts';
import type { WasmAcceleratorOptions } from '../wasm-vm.ts';
import { verifyAccelerator } from './verify-vm.ts';

const CODE = 0x8000;
const RAM_BYTES = 0x100000;

const BUS: VcpuBus = {
  ioIn: () => 0x33,
  ioOut: () => undefined,
  mmioRead: () => 0,
  mmioWrite: () => undefined,
  readMsr: () => undefined,
  writeMsr: () => false,
  cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }),
  tsc: () => 12345,
  random32: () => 0,
  acknowledgeInterrupt: () => -1,
};

// mov ecx, 1000; mov edi, 0x20000; l: add eax, ecx; rol ebx, 3; in al, 60h; xor ebx, eax; mov [rdi + rcx * 4], ebx; rdtsc; dec ecx; jnz l; hlt
const PROGRAM = [
  0xb9, 0xe8, 3, 0, 0, 0xbf, 0, 0, 2, 0, 0x01, 0xc8, 0xc1, 0xc3, 3, 0xe4, 0x60, 0x31, 0xc3, 0x89, 0x1c, 0x8f, 0x0f, 0x31, 0xff, 0xc9, 0x75,
  0xee, 0xf4,
]; // prettier-ignore

function run(
  options: Omit<WasmAcceleratorOptions, 'tier' | 'exact'>,
  code: readonly number[] = PROGRAM,
): { exit: VmExit; executed: number } {
  const vm = verifyAccelerator({ hotAfter: 1, ...options }).createVm({
    hostMemoryBytes: RAM_BYTES + 0x20000,
    vcpus: 1,
  });
  const ram = vm.allocate(RAM_BYTES);
  const region = { slot: 0, guestPhysical: 0, sizeBytes: RAM_BYTES, hostOffset: ram, readonly: false, logDirty: false };
  vm.setMemoryRegion(region);
  const bytes = new Uint8Array(vm.memory.buffer);
  bytes.set(code, ram + CODE);
  // One page of 1 GiB, for everybody.
  const view = new DataView(vm.memory.buffer);
  view.setUint32(ram + 0x1000, 0x2007, true);
  view.setUint32(ram + 0x2000, 0x87, true);
  vm.memoryWritten(0, RAM_BYTES);
  const vcpu = vm.createVcpu(BUS);
  vcpu.setInitialState({ mode: 'long', rip: CODE, cr3: 0x1000, registers: { rsp: 0x7000 } });
  const exit = vcpu.run(1_000_000);
  return { exit, executed: vcpu.instructionCount };
}

describe('lock-step verification', () => {
  it('finds nothing where there is nothing', () => {
    expect(run({})).toEqual({ exit: { reason: 'halted' }, executed: 2 + 8 * 1000 + 1 });
  });

  it('stops at the first instruction that the JIT gets wrong, and shows both states', () => {
    // Right until the counter is 700.
    const translated: SemanticsTable = {
      ...semantics,
      ROL: (x) => {
        semantics['ROL']?.(x);
        const wrong = x.let(x.reg(RCX, 32).toI32().eq(i32(700)));
        x.setReg(RBX, 32, x.let(x.reg(RBX, 32).toI32().xor(wrong)));
      },
    };
    const { exit } = run({ translated });
    expect(exit.reason).toBe('internal-error');
    const message = exit.reason === 'internal-error' ? exit.message : '';
    const [sentence] = message.split('\n');
    expect(sentence).toMatch(/^the JIT and the interpreter differ after instruction 2404, 800c c1 c3 03 rol ebx, 0x3/);
    expect(message).toMatch(/rbx: JIT [0-9a-f]{16}, interpreter [0-9a-f]{16}/);
    expect(message).toMatch(/^> 800c/m);
  });

  it('sees what only memory shows', () => {
    const translated: SemanticsTable = {
      ...semantics,
      ROL: (x) => {
        semantics['ROL']?.(x);
        const at = x.let(x.reg(RCX, 32).toI64().add(i64(0x30000)));
        x.mem.store(at, 8, i32(1));
      },
    };
    const { exit } = run({ translated });
    const message = exit.reason === 'internal-error' ? exit.message : '';
    expect(message).toMatch(/^the JIT and the interpreter differ after instruction 4, 800c c1 c3 03 rol/);
    expect(message).toContain('memory at physical 0x303e8: JIT 01 00');
  });
});
