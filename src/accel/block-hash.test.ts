import { expect, it } from 'vitest';
import * as L from '../cpu/layout.ts';
import type { VcpuBus } from './contract.ts';
import { WasmVm } from './wasm-vm.ts';

const RAM_BYTES = 0x400000;
/** More blocks for one group of the block hash than it has ways. */
const BLOCKS = L.BLOCK_HASH_WAYS + 3;

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

/** Addresses in different pages that fall into one group of the hash and into one entry of the jump cache. */
function collidingAddresses(): number[] {
  const index = (phys: number): number => (phys ^ (phys >>> 12)) & (L.BLOCK_HASH_ENTRIES - 1) & -L.BLOCK_HASH_WAYS;
  const wanted = index(0x1100);
  const found: number[] = [];
  for (let phys = 0x1100; phys < RAM_BYTES - 16 && found.length < BLOCKS; phys++) {
    if (index(phys) === wanted && phys >> 12 !== (found.at(-1) ?? 0) >> 12 && (phys & 0xfff) < 0xff0) found.push(phys);
  }
  return found;
}

it('blocks that do not fit the block hash together are decoded once each', () => {
  const vm = new WasmVm({ hostMemoryBytes: RAM_BYTES + 0x20000, vcpus: 1 }, { tier: 'interp', hotAfter: 1 });
  const ram = vm.allocate(RAM_BYTES);
  vm.setMemoryRegion({
    slot: 0,
    guestPhysical: 0,
    sizeBytes: RAM_BYTES,
    hostOffset: ram,
    readonly: false,
    logDirty: false,
  });
  const addresses = collidingAddresses();
  expect(addresses.length).toBe(BLOCKS);
  const view = new DataView(vm.memory.buffer);
  addresses.forEach((from, i) => {
    const to = addresses[(i + 1) % BLOCKS] ?? 0;
    view.setUint8(ram + from, 0x43); // inc ebx
    view.setUint8(ram + from + 1, 0xe9); // jmp to the next
    view.setInt32(ram + from + 2, to - (from + 6), true);
  });
  const vcpu = vm.createVcpu(BUS);
  vcpu.setInitialState({ mode: 'protected', rip: addresses[0] ?? 0 });
  expect(vcpu.run(2000).reason).toBe('budget');
  expect(Number(vcpu.registers.get('rbx'))).toBeGreaterThanOrEqual(1000);
  expect(vm.engine.cache.counts.blocks).toBe(BLOCKS);
});
