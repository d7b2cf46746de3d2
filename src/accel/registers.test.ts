import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.ts';
import { StateRegisters } from './registers.ts';
import { WasmVm } from './wasm-vm.ts';

function registers(): StateRegisters {
  const vm = new WasmVm({ hostMemoryBytes: 0x20000, vcpus: 1 }, { tier: 'interp', hotAfter: 0 });
  return new StateRegisters(vm.engine, L.FIRST_VCPU);
}

describe('registers by name', () => {
  it('are vectors of 128 and 256 bits', () => {
    const file = registers();
    const value = (1n << 255n) | (2n << 128n) | (3n << 64n) | 4n;
    file.set('ymm15', value);

    expect(file.get('ymm15')).toBe(value);
    expect(file.get('xmm15')).toBe((3n << 64n) | 4n);
    expect(file.get('ymm14')).toBe(0n);
    file.set('xmm15', 5n);
    expect(file.get('ymm15')).toBe((1n << 255n) | (2n << 128n) | 5n);
  });

  it('are none that do not exist', () => {
    expect(() => registers().get('ymm16')).toThrow(/no register named ymm16/);
  });
});
