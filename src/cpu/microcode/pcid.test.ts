import { beforeEach, describe, expect, test } from 'vitest';
import { MicrocodeBench } from '../../../tests/support/microcode-bench.ts';
import * as L from '../layout.ts';

const CR4_PGE = 0x80n;
const CR4_PCIDE = 0x20000n;
const NO_FLUSH = 1n << 63n;
/** Where the linear page 5 that the address spaces map differently is asked for. */
const VA = 0x5000n;
/** Page tables of address space A (the bench's own) and B. */
const A = 0x10000n;
const B = 0x20000n;
const DESCRIPTOR = 0x30000;

let bench: MicrocodeBench;

/** The byte at VA says which frame it is translated to. */
function frame(): bigint {
  expect(bench.call('slowLoad', VA, 1)).toBe(0);
  return bench.get64(L.CPU_SCRATCH);
}

function map(tables: bigint, page: number, frameNumber: number, flags = 7): void {
  bench.setPhys64(Number(tables) + 0x3000 + page * 8, frameNumber * 0x1000 + flags);
}

function cr3(tables: bigint, pcid: number, noFlush = true): void {
  expect(bench.call('writeCr', 3, tables | BigInt(pcid) | (noFlush ? NO_FLUSH : 0n))).toBe(0);
}

function invpcid(type: number, pcid: number, address: bigint = VA): number {
  bench.setPhys64(DESCRIPTOR, pcid);
  bench.setPhys64(DESCRIPTOR + 8, address);
  return bench.call('invpcid', BigInt(type), BigInt(DESCRIPTOR));
}

beforeEach(() => {
  bench = new MicrocodeBench();
  bench.longMode();
  for (let level = 0; level < 3; level++)
    bench.setPhys64(Number(B) + level * 0x1000, Number(B) + (level + 1) * 0x1000 + 7);
  for (let page = 0; page < 512; page++) map(B, page, page);
  for (let n = 5; n < 16; n++) bench.setPhys64(n * 0x1000, n);
  map(B, 5, 6);
  expect(bench.call('writeCr', 4, bench.get64(L.CPU_CR4) | CR4_PGE | CR4_PCIDE)).toBe(0);
});

describe.each(['supervisor', 'user', 'supervisor with SMAP suspended'])('PCIDs: %s', (level) => {
  beforeEach(() => {
    if (level === 'user') bench.userMode(true);
    if (level.endsWith('suspended')) {
      expect(bench.call('writeCr', 4, bench.get64(L.CPU_CR4) | 0x200000n)).toBe(0);
      bench.call('setAc', 1);
    }
    bench.call('updateMode');
  });

  test('each PCID has its own translations', () => {
    cr3(A, 1);
    expect(frame()).toBe(5n);
    cr3(B, 2);
    expect(frame()).toBe(6n);
    cr3(A, 1);
    expect(frame()).toBe(5n);
    cr3(B, 2);
    expect(frame()).toBe(6n);
  });

  test('MOV to CR3 without bit 63 drops those of its PCID alone', () => {
    cr3(A, 1);
    frame();
    cr3(B, 2);
    frame();
    map(A, 5, 7);
    map(B, 5, 8);
    cr3(B, 2, false);
    expect(frame()).toBe(8n);
    cr3(A, 1, false);
    expect(frame()).toBe(7n);
  });

  test('more PCIDs than banks', () => {
    for (let turn = 0; turn < 3; turn++) {
      for (let pcid = 1; pcid < L.USER_BANKS + 4; pcid++) {
        map(A, 5, 5 + pcid, 7);
        // What this PCID was last used with is the same page table entry, so that nothing stale is to be seen.
        cr3(A, pcid);
        expect(frame()).toBe(BigInt(5 + pcid));
      }
    }
  });

  test('INVLPG drops the page of the PCID at hand', () => {
    cr3(A, 1);
    frame();
    map(A, 5, 7);
    bench.call('invlpg', VA);
    expect(frame()).toBe(7n);
  });

  test.each([0, 1, 2, 3])('INVPCID type %d on the PCID at hand and on another', (type) => {
    cr3(A, 1);
    frame();
    cr3(B, 2);
    frame();
    map(A, 5, 7);
    map(B, 5, 8);
    expect(invpcid(type, 1)).toBe(0);
    expect(invpcid(type, 2)).toBe(0);
    expect(frame()).toBe(8n);
    cr3(A, 1);
    expect(frame()).toBe(7n);
  });

  test('global pages outlive INVPCID types 1 and 3 or are walked anew, and end with type 2', () => {
    cr3(A, 1);
    map(A, 5, 5, 0x107);
    frame();
    invpcid(1, 1);
    invpcid(3, 0);
    cr3(A, 1, false);
    map(A, 5, 9, 0x107);
    invpcid(2, 0);
    expect(frame()).toBe(9n);
  });

  test('switching PCIDs off drops everything', () => {
    cr3(A, 1);
    frame();
    cr3(A, 0);
    frame();
    map(A, 5, 7);
    expect(bench.call('writeCr', 4, bench.get64(L.CPU_CR4) & ~CR4_PCIDE)).toBe(0);
    expect(frame()).toBe(7n);
    expect(bench.call('writeCr', 3, B)).toBe(0);
    expect(frame()).toBe(6n);
    expect(bench.call('writeCr', 3, A)).toBe(0);
    expect(frame()).toBe(7n);
  });
});

test('user translations of a PCID outlive other address spaces', () => {
  bench.userMode(true);
  bench.call('updateMode');
  cr3(A, 1);
  frame();
  cr3(B, 2);
  frame();
  // Not architectural: what a processor may do, and what makes switching cheap.
  map(A, 5, 7);
  cr3(A, 1);
  expect(frame()).toBe(5n);
});

test('an operand of INVPCID that is no PCID is #GP(0)', () => {
  expect(invpcid(0, 0x1000)).toBe(1);
  expect(bench.exception()).toBe('#13(0)');
  expect(invpcid(0, 1, 0x8000_0000_0000n)).toBe(1);
  expect(bench.exception()).toBe('#13(0)');
  expect(invpcid(4, 0)).toBe(1);
  expect(bench.exception()).toBe('#13(0)');
});
