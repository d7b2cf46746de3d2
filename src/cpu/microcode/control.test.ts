import { describe, expect, test } from 'vitest';
import { MicrocodeBench } from '../../../tests/support/microcode-bench.ts';
import * as L from '../layout.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;

describe('control registers', () => {
  test('CR0: what is #GP', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    const write = (value: bigint): string => {
      bench.call('writeCr', 0, value);
      return bench.exception();
    };
    expect(write(0x80000010n)).toBe('#13(0)'); // PG without PE
    expect(write(0x20000011n)).toBe('#13(0)'); // NW without CD
    expect(write(0x100000011n)).toBe('#13(0)');
    expect(write(0x11n)).toBe('-');
  });

  test('paging turns IA-32e mode on and off', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    bench.call('writeMsr', 0xc0000080, 0x100n);
    expect(bench.call('writeCr', 0, 0x80000011n)).toBe(1); // no PAE
    expect(bench.exception()).toBe('#13(0)');
    bench.call('writeCr', 4, 0x20n);
    bench.setPhys64(0x10000, 0x11007);
    bench.setPhys64(0x11000, 0x87);
    bench.call('writeCr', 3, 0x10000n);
    expect(bench.call('writeCr', 0, 0x80000011n)).toBe(0);
    expect(bench.get64(L.CPU_EFER)).toBe(0x500n);
    expect(bench.call('writeCr', 4, 0n)).toBe(1); // PAE must stay
    expect(bench.exception()).toBe('#13(0)');
    expect(bench.call('writeMsr', 0xc0000080, 0n)).toBe(1); // LME under paging
    expect(bench.exception()).toBe('#13(0)');
    expect(bench.call('farJump', 0x28, 0x100n, 32)).toBe(0);
    expect(bench.get32(L.CPU_MODE) & L.MODE_SIZE_MASK).toBe(L.MODE_64);
    expect(bench.call('writeCr', 0, 0x11n)).toBe(1); // not from 64-bit code
    expect(bench.exception()).toBe('#13(0)');
    expect(bench.call('farJump', 0x08, 0x100n, 32)).toBe(0);
    expect(bench.call('writeCr', 0, 0x11n)).toBe(0);
    expect(bench.get64(L.CPU_EFER)).toBe(0x100n);
  });

  test('CR4 and CR3: absent features and reserved bits', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    for (const bit of [0, 1, 12, 13, 14, 23]) {
      bench.call('writeCr', 4, 0x20n | (1n << BigInt(bit)));
      expect(bench.exception()).toBe('#13(0)');
    }
    bench.call('writeCr', 3, 1n << 40n);
    expect(bench.exception()).toBe('#13(0)');
    bench.call('writeCr', 3, (1n << 63n) | 0x10000n);
    expect(bench.exception()).toBe('#13(0)');
    bench.call('writeCr', 4, 0x20620n);
    bench.call('writeCr', 3, (1n << 63n) | 0x10000n);
    expect(bench.exception()).toBe('-');
    expect(bench.get64(L.CPU_CR3)).toBe(0x10000n);
  });

  test('MSRs: canonical addresses, memory types, what is not there', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    const write = (msr: number, value: bigint): string => {
      bench.call('writeMsr', msr, value);
      return bench.exception();
    };
    expect(write(0xc0000100, 0x800000000000n)).toBe('#13(0)');
    expect(write(0xc0000100, 0x7fff00000000n)).toBe('-');
    expect(write(0x277, 0x0202020202020202n)).toBe('#13(0)');
    expect(write(0x277, 0x0007010600070106n)).toBe('-');
    expect(write(0xc0000080, 0x1000n)).toBe('#13(0)');
    expect(write(0x12345, 0n)).toBe('#13(0)');
    bench.call('writeMsr', 0x10, 5000n);
    bench.call('readMsr', 0x10);
    expect(bench.get64(L.CPU_SCRATCH)).toBe(5000n);
  });
});

describe('debug registers', () => {
  test('a breakpoint on a fetch is a fault that RF passes', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.call('writeDr', 0, 0x5000n);
    bench.call('writeDr', 7, 0x2n);
    expect(bench.get32(L.CPU_MODE) & L.MODE_TF).toBe(L.MODE_TF);
    bench.rip = 0x5000;
    expect(bench.call('findBlock')).toBe(1);
    expect(bench.exception()).toBe('#1(0)');
    expect(bench.get64(L.CPU_DR6)).toBe(0xffff0ff1n);
    bench.call('setFlags', 0x10002);
    expect(bench.call('findBlock')).toBe(0);
    bench.call('singleStepTrap');
    expect(bench.exception()).toBe('-');
    expect(bench.call('getFlags')).toBe(2);
  });

  test('a breakpoint on data traps when the instruction is done', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.call('writeDr', 1, 0x5004n);
    bench.call('writeDr', 7, (0xdn << 20n) | 0x4n); // four bytes, writes
    bench.rip = 0x6000;
    const store = (va: bigint): string => {
      bench.call('findBlock');
      bench.call('slowStore', va, 4);
      bench.call('singleStepTrap');
      return bench.exception();
    };
    expect(store(0x5000n)).toBe('-');
    bench.call('slowLoad', 0x5004n, 4);
    expect(store(0x5002n)).toBe('#1(0)');
    expect(bench.get64(L.CPU_DR6)).toBe(0xffff0ff2n);
    bench.call('writeDr', 7, 0n);
    expect(store(0x5004n)).toBe('-');
  });

  test('general detect', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.call('writeDr', 7, 0x2000n);
    expect(bench.call('readDr', 0)).toBe(1);
    expect(bench.exception()).toBe('#1(0)');
    expect(bench.get64(L.CPU_DR6)).toBe(0xffff2ff0n);
    expect(bench.call('readDr', 0)).toBe(0);
  });
});

describe('XSAVE', () => {
  const all = (bench: MicrocodeBench): void => {
    bench.longMode();
    bench.set64(L.CPU_XCR0, 0x203);
    bench.setGpr(RAX, 0xffffffff);
    bench.setGpr(RDX, 0);
  };

  test.each([
    { name: 'standard', kind: 0, layout: 0n },
    { name: 'compacted', kind: 2, layout: 0x8000000000000203n },
  ])('$name format: out and in again', ({ kind, layout }) => {
    const bench = new MicrocodeBench();
    all(bench);
    bench.set64(L.CPU_XMM + 15 * L.XMM_STRIDE, 0x1122334455667788n);
    bench.set32(L.CPU_MXCSR, 0x1fa0);
    bench.set32(L.CPU_PKRU, 0x55555554);
    expect(bench.call('xsave', 0x5000n, 1, kind)).toBe(0);
    expect([bench.phys64(0x5200), bench.phys64(0x5208)]).toEqual([0x203n, layout]);
    expect([bench.phys64(0x5000 + 160 + 240), bench.phys32(0x5018), bench.phys32(kind === 0 ? 0x5340 : 0x5240)]).toEqual([0x1122334455667788n, 0x1fa0, 0x55555554]);
    bench.set64(L.CPU_XMM + 15 * L.XMM_STRIDE, 0n);
    bench.set32(L.CPU_MXCSR, 0x1f80);
    bench.set32(L.CPU_PKRU, 0);
    expect(bench.call('xrstor', 0x5000n, 1, 0)).toBe(0);
    expect([bench.get64(L.CPU_XMM + 15 * L.XMM_STRIDE), bench.get32(L.CPU_MXCSR), bench.get32(L.CPU_PKRU)]).toEqual([0x1122334455667788n, 0x1fa0, 0x55555554]);
  });

  test.each([
    { name: 'XSAVE', kind: 0, format: 0n },
    { name: 'XSAVEOPT', kind: 1, format: 0n },
    { name: 'XSAVEC', kind: 2, format: 0x8000000000000207n },
  ])('upper halves of the ymm registers: $name', ({ kind, format }) => {
    const bench = new MicrocodeBench();
    all(bench);
    bench.set64(L.CPU_XCR0, 0x207);
    bench.set32(L.CPU_PKRU, 0x1234);
    const upper = (n: number): number => L.CPU_XMM + n * L.XMM_STRIDE + 16;
    bench.setPhys64(0x5240 + 15 * 16, 0x77);
    expect(bench.call('xsave', 0x5000n, 1, kind)).toBe(0);
    // Not in use: only XSAVE writes zeros.
    expect([bench.phys64(0x5200), bench.phys64(0x5208), bench.phys64(0x5330)]).toEqual([0x203n, format, kind === 0 ? 0n : 0x77n]);
    bench.set64(upper(0), 0x1111n);
    bench.set64(upper(15) + 8, 0x2222n);
    expect(bench.call('xsave', 0x5000n, 1, kind)).toBe(0);
    expect([bench.phys64(0x5200), bench.phys64(0x5240), bench.phys64(0x5338), bench.phys32(0x5340)]).toEqual([0x207n, 0x1111n, 0x2222n, 0x1234]);
    bench.set64(upper(0), 0n);
    bench.set64(upper(15) + 8, 0n);
    expect(bench.call('xrstor', 0x5000n, 1, 0)).toBe(0);
    expect([bench.get64(upper(0)), bench.get64(upper(15) + 8)]).toEqual([0x1111n, 0x2222n]);
    bench.setPhys64(0x5200, 3);
    expect(bench.call('xrstor', 0x5000n, 1, 0)).toBe(0);
    expect([bench.get64(upper(0)), bench.get64(upper(15) + 8)]).toEqual([0n, 0n]);
  });

  test('AVX without SSE is asked of the standard format: MXCSR goes with it', () => {
    const bench = new MicrocodeBench();
    all(bench);
    bench.set64(L.CPU_XCR0, 7);
    bench.setGpr(RAX, 4);
    bench.set32(L.CPU_MXCSR, 0x1fa0);
    bench.set64(L.CPU_XMM, 5n);
    expect(bench.call('xsave', 0x5000n, 1, 0)).toBe(0);
    expect([bench.phys64(0x5200), bench.phys32(0x5018), bench.phys64(0x50a0)]).toEqual([0n, 0x1fa0, 0n]);
    bench.set32(L.CPU_MXCSR, 0x1f80);
    expect(bench.call('xrstor', 0x5000n, 1, 0)).toBe(0);
    expect([bench.get32(L.CPU_MXCSR), bench.get64(L.CPU_XMM)]).toEqual([0x1fa0, 5n]);
  });

  test('components that are absent from the image go to their initial state', () => {
    const bench = new MicrocodeBench();
    all(bench);
    bench.set64(L.CPU_XMM, 5n);
    bench.set32(L.CPU_PKRU, 7);
    bench.setPhys32(0x5018, 0x1f80);
    expect(bench.call('xrstor', 0x5000n, 1, 0)).toBe(0);
    expect([bench.get64(L.CPU_XMM), bench.get32(L.CPU_PKRU), bench.get32(L.CPU_FCW) & 0xffff]).toEqual([0n, 0, 0x37f]);
  });

  test('what is #GP', () => {
    const bench = new MicrocodeBench();
    all(bench);
    const restore = (va: bigint, supervisor = 0): string => {
      bench.call('xrstor', va, 1, supervisor);
      return bench.exception();
    };
    expect(restore(0x5020n)).toBe('#13(0)');
    expect(restore(0x5000n, 1)).toBe('#13(0)'); // XRSTORS wants the compacted format
    bench.setPhys32(0x5018, 0x10000);
    expect(restore(0x5000n)).toBe('#13(0)');
    bench.setPhys32(0x5018, 0x1f80);
    bench.setPhys64(0x5200, 4);
    expect(restore(0x5000n)).toBe('#13(0)');
    bench.setPhys64(0x5200, 0);
    expect(restore(0x5000n)).toBe('-');
  });

  test('XGETBV knows XCR0 and what is in use', () => {
    const bench = new MicrocodeBench();
    all(bench);
    bench.set64(L.CPU_XCR0, 0x207);
    const answer = (index: number): bigint => {
      bench.setGpr(RCX, index);
      expect(bench.call('xgetbv')).toBe(0);
      return bench.gpr(RAX);
    };
    expect([answer(0), answer(1)]).toEqual([0x207n, 0x203n]);
    bench.set64(L.CPU_XMM + 16, 1n);
    expect(answer(1)).toBe(0x207n);
    bench.setGpr(RCX, 2);
    bench.call('xgetbv');
    expect(bench.exception()).toBe('#13(0)');
  });
});
