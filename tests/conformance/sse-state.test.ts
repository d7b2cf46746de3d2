/** When SSE instructions run at all (SDM volume 3, chapter 14), and how they reach memory through segments. */
import { describe, expect, it } from 'vitest';
import type { VcpuBus } from '../../src/accel/contract.ts';
import { WasmVcpu } from '../../src/accel/wasm-vcpu.ts';
import { WasmVm } from '../../src/accel/wasm-vm.ts';
import * as L from '../../src/cpu/layout.ts';

const MEMORY_BYTES = 0x20000;
const CODE = 0x1000;
const CR0_EM = 0x4n;
const CR0_TS = 0x8n;
const CR4_OSFXSR = 0x200n;
const CR4_OSXMMEXCPT = 0x400n;
/** MXCSR with #XM for invalid operations. */
const MXCSR_INVALID_UNMASKED = 0x1f00;

const ADDPS_XMM0_XMM1 = [0x0f, 0x58, 0xc1];
const MOVUPS_XMM0_BX = [0x0f, 0x10, 0x07]; // [bx] with 16-bit addresses
const MOVAPS_XMM0_BX = [0x0f, 0x28, 0x07];
const RBX = 3;

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

/** A vCPU in real-address mode with `code` at CODE. */
function realMode(tier: 'interp' | 'jit', code: readonly number[]) {
  const vm = new WasmVm({ hostMemoryBytes: 2 * MEMORY_BYTES, vcpus: 1 }, { tier, hotAfter: 1 });
  const ram = vm.allocate(MEMORY_BYTES);
  vm.setMemoryRegion({
    slot: 0,
    guestPhysical: 0,
    sizeBytes: MEMORY_BYTES,
    hostOffset: ram,
    readonly: false,
    logDirty: false,
  });
  const vcpu = new WasmVcpu(vm.engine, 0, BUS, tier === 'jit');
  vcpu.setInitialState({ mode: 'real', rip: CODE });
  vcpu.registers.set('cs', 0n);
  vcpu.registers.set('cs.base', 0n);
  vcpu.registers.set('cr4', CR4_OSFXSR | CR4_OSXMMEXCPT);
  const view = new DataView(vm.engine.memory.buffer);
  new Uint8Array(vm.engine.memory.buffer).set(code, ram + CODE);
  return {
    vcpu,
    view,
    ram,
    /** Runs the instruction; the vector of its exception, or -1. */
    step: (): number => {
      vcpu.step();
      return view.getInt32(vcpu.cpu + L.CPU_EXC, true);
    },
    xmm: (n: number): number => vcpu.cpu + L.CPU_XMM + n * L.XMM_STRIDE,
  };
}

describe.each(['interp', 'jit'] as const)('SSE state, %s', (tier) => {
  it('runs when CR4.OSFXSR is set and CR0.EM and TS are clear', () => {
    const { step, view, xmm } = realMode(tier, ADDPS_XMM0_XMM1);
    for (let i = 0; i < 4; i++) {
      view.setFloat32(xmm(0) + 4 * i, i, true);
      view.setFloat32(xmm(1) + 4 * i, 0.5, true);
    }

    expect(step()).toBe(-1);
    expect(view.getFloat32(xmm(0) + 12, true)).toBe(3.5);
  });

  it('is #UD without CR4.OSFXSR', () => {
    const { step, vcpu } = realMode(tier, ADDPS_XMM0_XMM1);
    vcpu.registers.set('cr4', 0n);

    expect(step()).toBe(L.EXC_UD);
  });

  it('is #UD with CR0.EM, also when CR0.TS is set', () => {
    const { step, vcpu } = realMode(tier, ADDPS_XMM0_XMM1);
    vcpu.registers.set('cr0', CR0_EM | CR0_TS);

    expect(step()).toBe(L.EXC_UD);
  });

  it('is #NM with CR0.TS', () => {
    const { step, vcpu } = realMode(tier, ADDPS_XMM0_XMM1);
    vcpu.registers.set('cr0', CR0_TS);

    expect(step()).toBe(L.EXC_NM);
  });

  it.each([
    ['#XM with', CR4_OSFXSR | CR4_OSXMMEXCPT, L.EXC_XM],
    ['#UD without', CR4_OSFXSR, L.EXC_UD],
  ] as const)('an unmasked invalid operation is %s CR4.OSXMMEXCPT, and its flag is raised', (_, cr4, vector) => {
    const { step, vcpu, view, xmm } = realMode(tier, ADDPS_XMM0_XMM1);
    vcpu.registers.set('cr4', cr4);
    view.setUint32(vcpu.cpu + L.CPU_MXCSR, MXCSR_INVALID_UNMASKED, true);
    view.setUint32(xmm(1), 0x7f800001, true); // a signalling NaN

    expect(step()).toBe(vector);
    expect(view.getUint32(vcpu.cpu + L.CPU_MXCSR, true)).toBe(MXCSR_INVALID_UNMASKED | 1);
    expect(view.getUint32(xmm(0), true)).toBe(0);
  });

  it('adds the segment base', () => {
    const { step, vcpu, view, ram, xmm } = realMode(tier, MOVUPS_XMM0_BX);
    vcpu.registers.set('ds', 0x800n);
    vcpu.registers.set('ds.base', 0x8000n);
    vcpu.registers.set('rbx', 0x123n);
    view.setUint32(ram + 0x8123, 0x12345678, true);

    expect(step()).toBe(-1);
    expect(view.getUint32(xmm(0), true)).toBe(0x12345678);
  });

  it('is #GP when the operand ends beyond the segment limit', () => {
    const { step, view, vcpu } = realMode(tier, MOVUPS_XMM0_BX);
    view.setBigUint64(vcpu.cpu + L.CPU_GPR + RBX * 8, 0xfff8n, true);

    expect(step()).toBe(L.EXC_GP);
  });

  it('is #GP when an aligned move is given a misaligned linear address', () => {
    const { step, vcpu } = realMode(tier, MOVAPS_XMM0_BX);
    vcpu.registers.set('ds.base', 8n);
    vcpu.registers.set('rbx', 0x2000n);

    expect(step()).toBe(L.EXC_GP);
  });
});
