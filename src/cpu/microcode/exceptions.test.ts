import { describe, expect, test } from 'vitest';
import { descriptor, gate, MicrocodeBench } from '../../../tests/support/microcode-bench.ts';
import * as L from '../layout.ts';

const RSP = 4;
const IF = 0x200;
const TSS = 0x3000;

/** IDT entry of IA-32e mode. */
function setLongGate(bench: MicrocodeBench, vector: number, selector: number, offset: number, type: number, dpl = 0, ist = 0): void {
  bench.setPhys64(0x2000 + vector * 16, gate(selector, offset, type, dpl, ist));
  bench.setPhys64(0x2008 + vector * 16, 0);
}

function setGate(bench: MicrocodeBench, vector: number, selector: number, offset: number, type: number, dpl = 0): void {
  bench.setPhys64(0x2000 + vector * 8, gate(selector, offset, type, dpl));
}

function raise(bench: MicrocodeBench, vector: number, error = 0): void {
  bench.set32(L.CPU_EXC, vector);
  bench.set32(L.CPU_EXC_ERROR, error);
  bench.call('deliverException');
}

/** `n` values of `bytes` from the top of the stack. */
function frame(bench: MicrocodeBench, n: number, bytes: number, base = 0): string[] {
  const at = base + Number(bench.gpr(RSP));
  return Array.from({ length: n }, (_, i) => {
    const address = at + i * bytes;
    const value = bytes === 8 ? bench.phys64(address) : BigInt(bytes === 4 ? bench.phys32(address) : bench.phys16(address));
    return value.toString(16);
  });
}

describe('real-address mode', () => {
  test('interrupts push FLAGS CS IP and clear IF; IRET undoes it', () => {
    const bench = new MicrocodeBench();
    bench.setSegment(L.CS, 0x1000, 0x10000, 0xffff, 0x9b);
    bench.setSegment(L.SS, 0x2000, 0x20000, 0xffff, 0x93);
    bench.setGpr(RSP, 0xabcd0002n);
    bench.call('setFlags', 0x2 | IF | 0x41);
    bench.rip = 0x123;
    bench.setPhys32(0x21 * 4, 0x30000456);
    expect(bench.call('deliverInterrupt', 0x21, L.INT_SOFTWARE)).toBe(0);
    expect(bench.rip).toBe(0x456n);
    expect(bench.selector(L.CS)).toBe(0x3000);
    expect(bench.gpr(RSP)).toBe(0xabcdfffcn);
    expect([bench.phys16(0x20000), bench.phys16(0x2fffe), bench.phys16(0x2fffc)]).toEqual([0x243, 0x1000, 0x123]);
    expect(bench.call('getFlags') & IF).toBe(0);
    expect(bench.call('iret', 16)).toBe(0);
    expect([bench.rip, bench.gpr(RSP), bench.selector(L.CS)]).toEqual([0x123n, 0xabcd0002n, 0x1000]);
    expect(bench.call('getFlags')).toBe(0x243);
  });
});

describe('protected mode', () => {
  test('a fault at the same privilege pushes its error code, RF set', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    setGate(bench, 13, 0x08, 0x7000, 14);
    bench.setGpr(RSP, 0x9000);
    bench.rip = 0x5555;
    bench.call('setFlags', 0x202);
    raise(bench, 13, 0x18);
    expect(frame(bench, 4, 4)).toEqual(['18', '5555', '8', '10202']);
    expect(bench.rip).toBe(0x7000n);
    expect(bench.call('getFlags')).toBe(2);
  });

  test('trap gates leave IF; 16-bit gates push words', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    setGate(bench, 0x80, 0x08, 0x7000, 7);
    bench.setGpr(RSP, 0x9000);
    bench.rip = 0x5555;
    bench.call('setFlags', 0x202);
    expect(bench.call('deliverInterrupt', 0x80, L.INT_SOFTWARE)).toBe(0);
    expect(frame(bench, 3, 2)).toEqual(['5555', '8', '202']);
    expect(bench.call('getFlags')).toBe(0x202);
  });

  test('from ring 3 through the TSS stack, and back', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    bench.setSegment(L.TR, 0x40, TSS, 0x67, 0x8b);
    bench.setPhys32(TSS + 4, 0x8000);
    bench.setPhys32(TSS + 8, 0x10);
    setGate(bench, 0x80, 0x08, 0x7000, 14, 3);
    setGate(bench, 0x81, 0x08, 0x7000, 14, 0);
    bench.userMode(false);
    bench.setGpr(RSP, 0x9000);
    bench.rip = 0x5555;
    bench.call('setFlags', 0x202);
    expect(bench.call('deliverInterrupt', 0x81, L.INT_SOFTWARE)).toBe(1);
    expect(bench.exception()).toBe('#13(40a)');
    expect(bench.call('deliverInterrupt', 0x80, L.INT_SOFTWARE)).toBe(0);
    expect(frame(bench, 5, 4)).toEqual(['5555', '1b', '202', '9000', '23']);
    expect(bench.gpr(RSP)).toBe(0x7fecn);
    expect([bench.selector(L.CS), bench.selector(L.SS)]).toEqual([0x08, 0x10]);
    expect((bench.get32(L.CPU_MODE) >> L.MODE_CPL_SHIFT) & 3).toBe(0);
    bench.setSegment(L.FS, 0x10, 0, 0xffffffff, 0xc093);
    expect(bench.call('iret', 32)).toBe(0);
    expect([bench.rip, bench.gpr(RSP), bench.selector(L.CS), bench.selector(L.SS), bench.selector(L.FS)]).toEqual([0x5555n, 0x9000n, 0x1b, 0x23, 0]);
    expect((bench.get32(L.CPU_MODE) >> L.MODE_CPL_SHIFT) & 3).toBe(3);
  });

  test('virtual-8086 mode: in by IRET, out by an interrupt with the data segments on the stack', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    bench.setSegment(L.TR, 0x40, TSS, 0x67, 0x8b);
    bench.setPhys32(TSS + 4, 0x8000);
    bench.setPhys32(TSS + 8, 0x10);
    setGate(bench, 0x20, 0x08, 0x7000, 14);
    bench.setGpr(RSP, 0x9000);
    [0x100, 0x1234, 0x23202, 0xfff0, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000].forEach((v, i) => bench.setPhys32(0x9000 + i * 4, v));
    expect(bench.call('iret', 32)).toBe(0);
    expect([bench.rip, bench.gpr(RSP)]).toEqual([0x100n, 0xfff0n]);
    expect([L.CS, L.SS, L.ES, L.DS, L.FS, L.GS].map((s) => bench.selector(s))).toEqual([0x1234, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000]);
    expect(bench.get32(L.CPU_MODE)).toBe(L.MODE_VM86 | L.MODE_PROTECTED | (3 << L.MODE_CPL_SHIFT));
    expect(bench.call('deliverInterrupt', 0x20, L.INT_EXTERNAL)).toBe(0);
    expect(frame(bench, 9, 4)).toEqual(['100', '1234', '23202', 'fff0', '2000', '3000', '4000', '5000', '6000']);
    expect([L.ES, L.DS, L.FS, L.GS].map((s) => bench.selector(s))).toEqual([0, 0, 0, 0]);
    expect(bench.call('iret', 32)).toBe(0);
    expect(bench.selector(L.GS)).toBe(0x6000);
  });

  test('a task gate switches tasks, IRET with NT comes back', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    bench.setPhys64(0x1040, descriptor(TSS, 0x67, 0x8b));
    bench.setPhys64(0x1048, descriptor(0x4000, 0x67, 0x89));
    bench.setSegment(L.TR, 0x40, TSS, 0x67, 0x8b);
    setGate(bench, 8, 0x48, 0, 5);
    const next = { eip: 0x7000, eflags: 2, esp: 0x6000, cs: 0x08, ss: 0x10, ds: 0x10 };
    bench.setPhys32(0x4000 + 32, next.eip);
    bench.setPhys32(0x4000 + 36, next.eflags);
    bench.setPhys32(0x4000 + 56, next.esp);
    [next.ds, next.cs, next.ss, next.ds].forEach((v, i) => bench.setPhys32(0x4000 + 72 + i * 4, v));
    bench.setGpr(RSP, 0x9000);
    bench.setGpr(0, 0x1234);
    bench.rip = 0x5555;
    raise(bench, 8, 0);
    expect([bench.rip, bench.gpr(RSP), bench.selector(L.TR)]).toEqual([0x7000n, 0x5ffcn, 0x48]);
    expect(bench.call('getFlags') & 0x4000).toBe(0x4000);
    expect([bench.phys16(0x4000), bench.phys32(TSS + 32), bench.phys32(TSS + 40), bench.phys32(TSS + 56)]).toEqual([0x40, 0x5555, 0x1234, 0x9000]);
    expect(bench.get64(L.CPU_CR0) & 8n).toBe(8n);
    bench.rip = 0x7010;
    expect(bench.call('iret', 32)).toBe(0);
    expect([bench.rip, bench.gpr(RSP), bench.gpr(0), bench.selector(L.TR)]).toEqual([0x5555n, 0x9000n, 0x1234n, 0x40]);
    expect(bench.phys32(0x4000 + 32)).toBe(0x7010);
    // The trap flag of the TSS: #DB before the task's first instruction, the error code being pushed already.
    bench.setPhys16(0x4000 + 100, 1);
    raise(bench, 8, 0);
    expect([bench.rip, bench.gpr(RSP), bench.exception()]).toEqual([0x7010n, 0x5ff8n, '#1(0)']);
    expect(bench.get64(L.CPU_DR6) & 0xe00fn).toBe(0x8000n);
  });

  test('call gate to ring 0 copies parameters, far return drops them on both stacks', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    bench.setSegment(L.TR, 0x40, TSS, 0x67, 0x8b);
    bench.setPhys32(TSS + 4, 0x8000);
    bench.setPhys32(TSS + 8, 0x10);
    bench.setPhys64(0x1050, gate(0x08, 0x7000, 12, 3, 2));
    bench.userMode(false);
    bench.setGpr(RSP, 0x9000);
    bench.setPhys32(0x9000, 0x111);
    bench.setPhys32(0x9004, 0x222);
    bench.rip = 0x5555;
    expect(bench.call('farCall', 0x53, 0n, 32)).toBe(0);
    expect(frame(bench, 6, 4)).toEqual(['5555', '1b', '111', '222', '9000', '23']);
    expect(bench.rip).toBe(0x7000n);
    expect(bench.call('farReturn', 32, 8)).toBe(0);
    expect([bench.rip, bench.gpr(RSP), bench.selector(L.CS), bench.selector(L.SS)]).toEqual([0x5555n, 0x9008n, 0x1b, 0x23]);
  });

  test('segment loads: what is refused and why', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    bench.setPhys64(0x1058, descriptor(0, 0xfffff, 0xc013)); // data, not present
    const load = (segment: number, selector: number): string => {
      bench.call('loadSegment', segment, selector);
      return bench.exception();
    };
    expect(load(L.SS, 0)).toBe('#13(0)');
    expect(load(L.SS, 0x08)).toBe('#13(8)');
    expect(load(L.SS, 0x20)).toBe('#13(20)');
    expect(load(L.SS, 0x58)).toBe('#12(58)');
    expect(load(L.DS, 0x58)).toBe('#11(58)');
    expect(load(L.DS, 0x1000)).toBe('#13(1000)');
    expect(load(L.DS, 0x0c)).toBe('#13(c)');
    expect(load(L.DS, 0)).toBe('-');
    bench.call('segmentAccess', L.DS, 0n, 1, 0);
    expect(bench.exception()).toBe('#13(0)');
    expect(load(L.DS, 0x23)).toBe('-');
    expect(bench.phys64(0x1020) >> 40n & 1n).toBe(1n);
  });

  test('a contributory fault inside a fault is a double fault, another one shuts down', () => {
    const bench = new MicrocodeBench();
    bench.protectedMode();
    setGate(bench, 8, 0x08, 0x7000, 14);
    bench.setGpr(RSP, 0x9000);
    raise(bench, 13, 0x18);
    expect(bench.rip).toBe(0x7000n);
    expect(frame(bench, 1, 4)).toEqual(['0']);
    setGate(bench, 8, 0, 0, 0);
    raise(bench, 13, 0x18);
    expect(bench.get32(L.CPU_EXIT)).toBe(L.EXIT_SHUTDOWN);
  });
});

describe('IA-32e mode', () => {
  function longBench(): MicrocodeBench {
    const bench = new MicrocodeBench();
    bench.longMode();
    bench.setSegment(L.TR, 0x40, TSS, 0x67, 0x8b);
    bench.setPhys64(TSS + 4, 0x8008);
    bench.setPhys64(TSS + 0x24, 0xa000);
    return bench;
  }

  test('a page fault from ring 3 aligns the stack, nulls SS, sets CR2; IRETQ returns', () => {
    const bench = longBench();
    setLongGate(bench, 14, 0x28, 0x7000, 14);
    bench.userMode(true);
    bench.setGpr(RSP, 0x9ff8);
    bench.rip = 0x5555;
    bench.call('setFlags', 0x202);
    bench.set64(L.CPU_EXC_CR2, 0xdead000n);
    raise(bench, 14, 6);
    expect(bench.gpr(RSP)).toBe(0x7fd0n);
    expect(frame(bench, 6, 8)).toEqual(['6', '5555', '33', '10202', '9ff8', '23']);
    expect([bench.get64(L.CPU_CR2), bench.rip]).toEqual([0xdead000n, 0x7000n]);
    expect([bench.selector(L.CS), bench.selector(L.SS)]).toEqual([0x28, 0]);
    expect(bench.get32(L.CPU_MODE)).toBe(L.MODE_64 | L.MODE_FLAT | L.MODE_PROTECTED);
    bench.setGpr(RSP, 0x7fd8);
    expect(bench.call('iret', 64)).toBe(0);
    expect([bench.rip, bench.gpr(RSP), bench.selector(L.CS), bench.selector(L.SS)]).toEqual([0x5555n, 0x9ff8n, 0x33, 0x23]);
    expect(bench.call('getFlags')).toBe(0x202);
  });

  test('IST is used at any privilege', () => {
    const bench = longBench();
    setLongGate(bench, 2, 0x28, 0x7000, 14, 0, 1);
    bench.setGpr(RSP, 0x9ff8);
    bench.rip = 0x5555;
    expect(bench.call('deliverInterrupt', 2, L.INT_NMI)).toBe(0);
    expect(bench.gpr(RSP)).toBe(0x9fd8n);
    expect(frame(bench, 5, 8)).toEqual(['5555', '28', '2', '9ff8', '10']);
    expect([bench.get32(L.CPU_NMI_BLOCKED), bench.selector(L.SS)]).toEqual([1, 0x10]);
    expect(bench.call('iret', 64)).toBe(0);
    expect([bench.get32(L.CPU_NMI_BLOCKED), bench.gpr(RSP)]).toEqual([0, 0x9ff8n]);
  });

  test('an external interrupt without a gate is #GP with EXT, delivered in its turn', () => {
    const bench = longBench();
    setLongGate(bench, 13, 0x28, 0x7000, 14);
    bench.setGpr(RSP, 0x9000);
    bench.rip = 0x5555;
    expect(bench.call('deliverInterrupt', 0x40, L.INT_EXTERNAL)).toBe(0);
    expect(frame(bench, 2, 8)).toEqual(['203', '5555']);
  });

  test('SYSCALL and SYSRET', () => {
    const bench = longBench();
    bench.set64(L.CPU_STAR, (0x20n << 48n) | (0x28n << 32n));
    bench.set64(L.CPU_LSTAR, 0x7777);
    bench.set64(L.CPU_FMASK, 0x200);
    bench.userMode(true);
    bench.call('setFlags', 0x202);
    bench.rip = 0x5555;
    expect(bench.call('syscall')).toBe(0);
    expect([bench.rip, bench.gpr(1), bench.gpr(11), bench.selector(L.CS), bench.selector(L.SS)]).toEqual([0x7777n, 0x5555n, 0x202n, 0x28, 0x30]);
    expect(bench.call('getFlags')).toBe(2);
    expect(bench.call('sysret', 64)).toBe(0);
    expect([bench.rip, bench.selector(L.CS), bench.selector(L.SS)]).toEqual([0x5555n, 0x33, 0x2b]);
    expect(bench.call('getFlags')).toBe(0x202);
  });
});
