import { describe, expect, test } from 'vitest';
import { MicrocodeBench, RAM } from '../../../tests/support/microcode-bench.ts';
import * as L from '../layout.ts';

const NX = 1n << 63n;
const PTE = 0x13000;

/** What a page table entry for linear 0x5000 lets each kind of access do; `-` or the page fault's error code. */
const CASES: readonly { name: string; pte: bigint; user?: boolean; cr0?: bigint; cr4?: bigint; ac?: boolean; read: string; write: string; exec: string }[] = [
  { name: 'supervisor page', pte: 0x5003n, read: '-', write: '-', exec: '-' },
  { name: 'supervisor page from user', pte: 0x5003n, user: true, read: '5', write: '7', exec: '15' },
  { name: 'not present', pte: 0x5002n, read: '0', write: '2', exec: '10' },
  { name: 'user page', pte: 0x5007n, user: true, read: '-', write: '-', exec: '-' },
  { name: 'read-only user page', pte: 0x5005n, user: true, read: '-', write: '7', exec: '-' },
  { name: 'read-only page, WP', pte: 0x5001n, read: '-', write: '3', exec: '-' },
  { name: 'read-only page, no WP', pte: 0x5001n, cr0: 0x80000033n, read: '-', write: '-', exec: '-' },
  { name: 'no execution', pte: 0x5007n | NX, user: true, read: '-', write: '-', exec: '15' },
  { name: 'reserved bit', pte: 0x5007n | (1n << 45n), user: true, read: 'd', write: 'f', exec: '1d' },
  { name: 'SMEP', pte: 0x5007n, cr4: 0x100620n, read: '-', write: '-', exec: '11' },
  { name: 'SMAP', pte: 0x5007n, cr4: 0x200620n, read: '1', write: '3', exec: '-' },
  { name: 'SMAP suspended by AC', pte: 0x5007n, cr4: 0x200620n, ac: true, read: '-', write: '-', exec: '-' },
];

function attempt(bench: MicrocodeBench, access: number): string {
  const status = bench.call('tlbFill', 0x5123n, access);
  const text = bench.exception();
  if (status === 0) return text;
  return text.replace(/^#14\((.*)\) 5123$/, '$1');
}

describe('4-level page walk', () => {
  test.each(CASES)('$name', (c) => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.setPhys64(PTE + 5 * 8, c.pte);
    if (c.cr0 !== undefined) bench.set64(L.CPU_CR0, c.cr0);
    if (c.cr4 !== undefined) bench.set64(L.CPU_CR4, c.cr4);
    if (c.user === true) bench.userMode(true);
    if (c.ac === true) bench.call('setAc', 1);
    bench.call('updateMode');
    const results = [0, L.ACCESS_WRITE, L.ACCESS_EXEC].map((access) => {
      bench.call('flushTlb', 0);
      return attempt(bench, access);
    });
    expect(results).toEqual([c.read, c.write, c.exec]);
  });

  test('accessed and dirty bits, and a read that does not grant writes', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    expect(bench.call('slowLoad', 0x5000n, 8)).toBe(0);
    expect(bench.phys64(PTE + 5 * 8)).toBe(0x5027n);
    expect(bench.phys64(0x10000)).toBe(0x11027n);
    const entry = bench.get32(L.CPU_TLB_SET) + 5 * L.TLB_ENTRY_SIZE;
    expect(bench.view.getBigUint64(entry + L.TLB_READ_TAG, true)).toBe(0x5000n);
    expect(bench.view.getBigUint64(entry + L.TLB_WRITE_TAG, true)).toBe(BigInt(L.TLB_TAG_INVALID));
    bench.set64(L.CPU_SCRATCH, 0x1122334455667788n);
    expect(bench.call('slowStore', 0x5008n, 8)).toBe(0);
    expect(bench.phys64(PTE + 5 * 8)).toBe(0x5067n);
    expect(bench.phys64(0x5008)).toBe(0x1122334455667788n);
    expect(bench.view.getBigUint64(entry + L.TLB_WRITE_TAG, true)).toBe(0x5000n);
  });

  test('2 MiB and 1 GiB pages, their reserved bits, INVLPG of any part', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.setPhys64(0x12000 + 8, 0x200087n);
    bench.setPhys64(0x11000 + 8, 0x87n);
    bench.setPhys64(0x212340, 0xabcdn);
    expect(bench.call('slowLoad', 0x212340n, 8)).toBe(0);
    expect(bench.get64(L.CPU_SCRATCH)).toBe(0xabcdn);
    expect(bench.call('slowLoad', 0x40212340n, 8)).toBe(0);
    expect(bench.get64(L.CPU_SCRATCH)).toBe(0xabcdn);
    bench.setPhys64(0x12000 + 8, 0x202087n);
    bench.call('invlpg', 0x3f0000n);
    expect(bench.call('slowLoad', 0x212340n, 8)).toBe(1);
    expect(bench.exception()).toBe('#14(9) 212340');
    bench.setPhys64(0x11000 + 8, 0n);
    expect(bench.call('slowLoad', 0x40212340n, 8)).toBe(0);
    bench.call('invlpg', 0x7ffff000n);
    expect(bench.call('slowLoad', 0x40212340n, 8)).toBe(1);
    expect(bench.exception()).toBe('#14(0) 40212340');
  });

  test('non-canonical addresses: #GP, or #SS through the stack segment', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.call('slowLoad', 0x800000000000n, 4);
    expect(bench.exception()).toBe('#13(0)');
    bench.call('slowLoad', 0x800000000000n, 4 | (L.ACCESS_STACK << 8));
    expect(bench.exception()).toBe('#12(0)');
  });

  test('protection keys', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.setPhys64(PTE + 5 * 8, 0x5007n | (3n << 59n));
    bench.set64(L.CPU_CR4, 0x400620n);
    bench.userMode(true);
    bench.set32(L.CPU_PKRU, 2 << 6);
    expect(attempt(bench, 0)).toBe('-');
    expect(attempt(bench, L.ACCESS_WRITE)).toBe('27');
    bench.set32(L.CPU_PKRU, 1 << 6);
    expect(attempt(bench, 0)).toBe('25');
    expect(attempt(bench, L.ACCESS_EXEC)).toBe('-');
  });

  test('paging structures outside memory read as all ones', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.setPhys64(0x12000 + 8, 0x7000007n);
    bench.call('slowLoad', 0x200000n, 1);
    expect(bench.exception()).toBe('#14(9) 200000');
  });
});

describe('32-bit and PAE page walks', () => {
  test('4 KiB and 4 MiB pages, PSE-36', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    bench.setPhys32(0x20000, 0x21007);
    bench.setPhys32(0x20004, 0x87);
    bench.setPhys32(0x20008, 0x2087); // physical bits 32..39 = 1
    bench.setPhys32(0x2000c, 0x200087);
    bench.setPhys32(0x21014, 0x6007);
    bench.set64(L.CPU_CR3, 0x20000);
    bench.set64(L.CPU_CR4, 0x10);
    for (const page of [1, 2]) bench.setPhys32(0x21000 + page * 4, page * 0x1000 + 3);
    bench.set64(L.CPU_CR0, 0x80000031n);
    bench.setPhys32(0x6010, 0x12345678);
    expect(bench.call('slowLoad', 0x5010n, 4)).toBe(0);
    expect(bench.get64(L.CPU_SCRATCH)).toBe(0x12345678n);
    expect(bench.phys32(0x21014)).toBe(0x6027);
    expect(bench.call('slowLoad', 0x406010n, 4)).toBe(0);
    expect(bench.get64(L.CPU_SCRATCH)).toBe(0x12345678n);
    bench.call('slowLoad', 0x806010n, 4);
    expect(bench.mmio).toEqual(['r4@6010']);
    bench.call('slowLoad', 0xc06010n, 4);
    expect(bench.exception()).toBe('#14(9) c06010');
  });

  test('PAE loads its pointers with CR3 and refuses reserved bits', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    bench.set64(L.CPU_CR4, 0x20);
    bench.setPhys64(0x20000, 0x21001n);
    bench.setPhys64(0x21000, 0x87n);
    bench.set64(L.CPU_CR3, 0x20000);
    expect(bench.call('writeCr', 0, 0x80000031n)).toBe(0);
    bench.setPhys64(0x6000, 0x77n);
    expect(bench.call('slowLoad', 0x6000n, 1)).toBe(0);
    expect(bench.get64(L.CPU_SCRATCH)).toBe(0x77n);
    bench.call('slowLoad', 0x40000000n, 1);
    expect(bench.exception()).toBe('#14(0) 40000000');
    bench.setPhys64(0x20008, 0x21003n);
    expect(bench.call('writeCr', 3, 0x20000n)).toBe(1);
    expect(bench.exception()).toBe('#13(0)');
  });
});

describe('guest memory', () => {
  test('a store across pages checks both before it writes', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.setPhys64(PTE + 6 * 8, 0n);
    bench.set64(L.CPU_SCRATCH, 0xffffffffffffffffn);
    expect(bench.call('slowStore', 0x5ffcn, 8)).toBe(1);
    expect(bench.exception()).toBe('#14(2) 6000');
    expect(bench.phys32(0x5ffc)).toBe(0);
  });

  test('read-modify-write in place and through the bounce buffer', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    expect(bench.call('slowRmw', 0x5010n, 4)).toBe(RAM + 0x5010);
    bench.setPhys32(0x5ffe, 0x11223344);
    const bounce = bench.call('slowRmw', 0x5ffen, 4);
    expect(bounce).toBe(bench.cpu + L.CPU_SCRATCH);
    expect(bench.get32(L.CPU_SCRATCH)).toBe(0x11223344);
    bench.set32(L.CPU_SCRATCH, 0x55667788);
    bench.call('rmwCommit');
    expect(bench.phys32(0x5ffe)).toBe(0x55667788);
  });

  test('devices', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.setPhys64(PTE + 5 * 8, 0xfee00007n);
    bench.mmioValue = 0x99n;
    expect(bench.call('slowLoad', 0x5020n, 4)).toBe(0);
    expect(bench.get64(L.CPU_SCRATCH)).toBe(0x99n);
    bench.set64(L.CPU_SCRATCH, 0xabcdn);
    expect(bench.call('slowStore', 0x50b0n, 4)).toBe(0);
    expect(bench.mmio).toEqual(['r4@fee00020', 'w4@fee000b0=abcd']);
  });

  test('stores to pages with decoded code ask the host, which may want a retry', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.set64(L.CPU_SCRATCH, 0x42n);
    expect(bench.call('slowStore', 0x5000n, 1)).toBe(0);
    bench.setCodePage(5, 1);
    bench.codeWrittenAnswer = 1;
    expect(bench.call('slowStore', 0x5000n, 1)).toBe(1);
    expect(bench.exception()).toBe('-');
    expect(bench.codeWrites).toEqual([0x5000]);
    bench.codeWrittenAnswer = 0;
    expect(bench.call('slowStore', 0x5000n, 1)).toBe(0);
    bench.setCodePage(5, 0);
    expect(bench.call('slowStore', 0x5000n, 1)).toBe(0);
    expect(bench.codeWrites).toEqual([0x5000, 0x5000]);
    const entry = bench.get32(L.CPU_TLB_SET) + 5 * L.TLB_ENTRY_SIZE;
    expect(bench.view.getBigUint64(entry + L.TLB_WRITE_TAG, true)).toBe(0x5000n);
  });

  test('global pages survive a change of CR3, others do not', () => {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.set64(L.CPU_CR4, 0x6a0);
    bench.setPhys64(PTE + 5 * 8, 0x5107n);
    bench.call('slowLoad', 0x5000n, 1);
    bench.call('slowLoad', 0x6000n, 1);
    const generations = (): number[] => [
      bench.get32(L.CPU_BANKS + L.BANK_GENERATION),
      bench.get32(L.CPU_BANKS + L.BANK_SIZE + L.BANK_GENERATION),
    ];
    const [supervisor = 0, user = 0] = generations();
    bench.call('writeCr', 3, 0x10000n);
    const tag = (page: number): bigint =>
      bench.view.getBigUint64(bench.get32(L.CPU_TLB_SET) + page * L.TLB_ENTRY_SIZE + L.TLB_READ_TAG, true);
    expect([tag(5), tag(6)]).toEqual([0x5000n, BigInt(L.TLB_TAG_INVALID)]);
    expect(generations()).toEqual([supervisor, user + 1]);
    bench.call('flushTlb', 0);
    expect(tag(5)).toBe(BigInt(L.TLB_TAG_INVALID));
    expect(generations()).toEqual([supervisor + 1, user + 2]);
  });
});
