/** When AVX instructions run at all (SDM volume 1, 14.3; volume 2, 2.4), and that nothing translated before outlives a change. */
import { describe, expect, it } from 'vitest';
import type { VcpuBus } from '../../src/accel/contract.ts';
import { WasmVm } from '../../src/accel/wasm-vm.ts';
import { Cpuid } from '../../src/cpu/x86/cpuid.ts';
import * as L from '../../src/cpu/layout.ts';
import { cpuModel } from '../../src/machine/cpu-option.ts';

const MEMORY_BYTES = 0x20000;
const CODE = 0x1000;
const DATA = 0x8000;
const CR0 = 0x11n; // PE, ET
const CR0_TS = 0x8n;
const CR0_EM = 0x4n;
const CR4 = 0x40600n; // OSFXSR, OSXMMEXCPT, OSXSAVE
const CR4_OSXSAVE = 0x40000n;
const NOTHING = -1;

const VPADDD_YMM0_YMM1_YMM2 = [0xc5, 0xf5, 0xfe, 0xc2];
const VMOVDQA_YMM0_EBX = [0xc5, 0xfd, 0x6f, 0x03];
const VMOVDQA_EBX_YMM0 = [0xc5, 0xfd, 0x7f, 0x03];
const VMOVDQU_YMM0_EBX = [0xc5, 0xfe, 0x6f, 0x03];
const ANDN_EAX_ECX_EDX = [0xc4, 0xe2, 0x70, 0xf2, 0xc2];
const XSETBV = [0x0f, 0x01, 0xd1];

function vcpuWith(tier: 'interp' | 'jit', mode: 'real' | 'protected', code: readonly number[], cpu = 'x86-64-v3') {
  const vm = new WasmVm({ hostMemoryBytes: 2 * MEMORY_BYTES, vcpus: 1 }, { tier, hotAfter: 1 });
  const ram = vm.allocate(MEMORY_BYTES);
  const whole = {
    slot: 0,
    guestPhysical: 0,
    sizeBytes: MEMORY_BYTES,
    hostOffset: ram,
    readonly: false,
    logDirty: false,
  };
  vm.setMemoryRegion(whole);
  const cpuid = new Cpuid(cpuModel(cpu));
  const bus: VcpuBus = {
    ioIn: () => 0,
    ioOut: () => undefined,
    mmioRead: () => 0,
    mmioWrite: () => undefined,
    readMsr: () => undefined,
    writeMsr: () => false,
    cpuid: (leaf, subleaf, state) => cpuid.query(leaf, subleaf, { apicId: 0, vcpus: 1, tscKhz: 1e6, ...state }),
    tsc: () => 0,
    random32: () => 0,
    acknowledgeInterrupt: () => -1,
  };
  const vcpu = vm.createVcpu(bus);
  vcpu.setInitialState({ mode, rip: CODE });
  const { registers } = vcpu;
  if (mode === 'real') {
    registers.set('cs', 0n);
    registers.set('cs.base', 0n);
  }
  registers.set('cr4', CR4);
  registers.set('xcr0', 7n);
  const view = new DataView(vm.engine.memory.buffer);
  new Uint8Array(vm.engine.memory.buffer).set(code, ram + CODE);
  return {
    vcpu,
    registers,
    view,
    ram,
    /** Runs the instruction at CODE; the vector of its exception, or -1. */
    step: (): number => {
      view.setInt32(vcpu.cpu + L.CPU_EXC, NOTHING, true);
      registers.set('rip', BigInt(CODE));
      vcpu.step();
      return view.getInt32(vcpu.cpu + L.CPU_EXC, true);
    },
    ymm: (n: number): number => vcpu.cpu + L.CPU_XMM + n * L.XMM_STRIDE,
  };
}

describe.each(['interp', 'jit'] as const)('AVX state, %s', (tier) => {
  it('runs when CR4.OSXSAVE and XCR0 enable it, whatever CR0.EM and CR4.OSFXSR say of SSE', () => {
    const { step, view, registers, ymm } = vcpuWith(tier, 'protected', VPADDD_YMM0_YMM1_YMM2);
    view.setUint32(ymm(1) + 28, 40, true);
    view.setUint32(ymm(2) + 28, 2, true);
    registers.set('cr0', CR0 | CR0_EM);
    registers.set('cr4', CR4_OSXSAVE);

    expect(step()).toBe(NOTHING);
    expect(view.getUint32(ymm(0) + 28, true)).toBe(42);
  });

  it('is #UD or #NM as soon as something is missing, and runs again when it is back', () => {
    const { step, registers } = vcpuWith(tier, 'protected', VPADDD_YMM0_YMM1_YMM2);
    const withState = (name: string, value: bigint): number => {
      const before = registers.get(name);
      registers.set(name, value);
      const vector = step();
      registers.set(name, before);
      expect(step()).toBe(NOTHING);
      return vector;
    };

    expect(step()).toBe(NOTHING);
    expect(withState('cr4', CR4 & ~CR4_OSXSAVE)).toBe(L.EXC_UD);
    expect(withState('xcr0', 3n)).toBe(L.EXC_UD);
    expect(withState('xcr0', 5n)).toBe(L.EXC_UD);
    expect(withState('cr0', CR0 | CR0_TS)).toBe(L.EXC_NM);
    registers.set('xcr0', 3n);
    registers.set('cr0', CR0 | CR0_TS);
    expect(step()).toBe(L.EXC_UD);
  });

  it('is #UD in real-address mode', () => {
    expect(vcpuWith(tier, 'real', VPADDD_YMM0_YMM1_YMM2).step()).toBe(L.EXC_UD);
  });

  it('does not concern VEX instructions on general registers', () => {
    const { step, registers } = vcpuWith(tier, 'protected', ANDN_EAX_ECX_EDX);
    registers.set('xcr0', 1n);
    registers.set('cr0', CR0 | CR0_TS);

    expect(step()).toBe(NOTHING);
  });

  it('wants aligned memory of the aligned moves only', () => {
    const aligned = vcpuWith(tier, 'protected', VMOVDQA_YMM0_EBX);
    const unaligned = vcpuWith(tier, 'protected', VMOVDQU_YMM0_EBX);
    aligned.registers.set('rbx', BigInt(DATA + 16));
    unaligned.registers.set('rbx', BigInt(DATA + 5));
    unaligned.view.setUint8(unaligned.ram + DATA + 5 + 31, 9);

    expect(aligned.step()).toBe(L.EXC_GP);
    expect(unaligned.step()).toBe(NOTHING);
    expect(unaligned.view.getUint8(unaligned.ymm(0) + 31)).toBe(9);
    aligned.registers.set('rbx', BigInt(DATA + 32));
    expect(aligned.step()).toBe(NOTHING);
  });

  it.each([1, 2, 4, 8, 16])('refuses an aligned store %i bytes off to a device, whose page is known already', (off) => {
    const { step, registers } = vcpuWith(tier, 'protected', VMOVDQA_EBX_YMM0);
    registers.set('rbx', BigInt(MEMORY_BYTES));
    expect(step()).toBe(NOTHING);
    registers.set('rbx', BigInt(MEMORY_BYTES + off));

    expect(step()).toBe(L.EXC_GP);
  });

  it.each([
    [7n, 'x86-64-v3', NOTHING],
    [5n, 'x86-64-v3', L.EXC_GP], // AVX without SSE
    [7n, 'x86-64-v2,+xsave', L.EXC_GP], // no AVX in CPUID
  ])('XSETBV of %i with %s', (value, cpu, expected) => {
    const { step, registers } = vcpuWith(tier, 'protected', XSETBV, cpu);
    registers.set('xcr0', 1n);
    registers.set('rcx', 0n);
    registers.set('rax', value);
    registers.set('rdx', 0n);

    expect(step()).toBe(expected);
    expect(registers.get('xcr0')).toBe(expected === NOTHING ? value : 1n);
  });
});
