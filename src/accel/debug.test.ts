/** Breakpoints of the debug registers, single step and alignment checks, on both tiers: small programs in 32-bit and 64-bit code. */
import { describe, expect, test } from 'vitest';
import { CPU_MODELS } from '../cpu/x86/cpu-models.ts';
import { Cpuid } from '../cpu/x86/cpuid.ts';
import * as L from '../cpu/layout.ts';
import type { VcpuBus } from './contract.ts';
import { WasmVm } from './wasm-vm.ts';

const CODE = 0x8000;
const DATA = 0x10000;
const STACK = 0x20000;
const RAM_BYTES = 0x100000;
const TF = 0x100;
const RF = 0x10000;
const AC = 0x40000;
const CR0_AM = 0x40000n;
const CR4_OSFXSR = 0x200n;
const CR4_DE = 0x8n;

const FETCH = 0;
const WRITE = 1;
const PORT = 2;
const ACCESS = 3;
const NOP = 0x90;

const UNCONNECTED: VcpuBus = {
  ioIn: () => 0x5a,
  ioOut: () => undefined,
  mmioRead: () => 0xff,
  mmioWrite: () => undefined,
  readMsr: () => undefined,
  writeMsr: () => false,
  cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }),
  tsc: () => 0,
  random32: () => 0,
  acknowledgeInterrupt: () => -1,
};

const TOPOLOGY = { apicId: 0, vcpus: 1, tscKhz: 1000000 };

/** Number of a length in DR7. */
const LENGTH: Readonly<Record<number, number>> = { 1: 0, 2: 1, 8: 2, 4: 3 };

interface Setup {
  readonly tier: 'interp' | 'jit';
  readonly bits: 32 | 64;
  /** Default: a processor that says nothing about itself. */
  readonly model?: Cpuid;
}

class Program {
  readonly vcpu;
  private readonly vm: WasmVm;
  private readonly ram: number;
  readonly view: DataView;
  private dr7 = 0x400n;

  constructor({ tier, bits, model }: Setup, code: readonly number[]) {
    this.vm = new WasmVm({ hostMemoryBytes: RAM_BYTES + 0x20000, vcpus: 1 }, { tier, hotAfter: 1 });
    this.ram = this.vm.allocate(RAM_BYTES);
    this.vm.setMemoryRegion({
      slot: 0,
      guestPhysical: 0,
      sizeBytes: RAM_BYTES,
      hostOffset: this.ram,
      readonly: false,
      logDirty: false,
    });
    this.vcpu = this.vm.createVcpu({
      ...UNCONNECTED,
      ...(model && { cpuid: (leaf, subleaf, state) => model.query(leaf, subleaf, { ...TOPOLOGY, ...state }) }),
    });
    this.view = new DataView(this.vm.memory.buffer);
    // One page of 1 GiB, for everybody.
    this.write32(0x1000, 0x2007);
    this.write32(0x2000, 0x87);
    new Uint8Array(this.vm.memory.buffer).set(code, this.ram + CODE);
    this.vcpu.setInitialState({
      mode: bits === 64 ? 'long' : 'protected',
      rip: CODE,
      cr3: 0x1000,
      registers: { rbx: DATA, rsi: DATA, rdi: DATA + 0x100, rsp: STACK },
    });
    this.set('rflags', 0x2n);
  }

  set(name: string, value: bigint): void {
    this.vcpu.registers.set(name, value);
  }

  get(name: string): number {
    return Number(this.vcpu.registers.get(name));
  }

  write32(address: number, value: number): void {
    this.view.setUint32(this.ram + address, value, true);
  }

  privilege(cpl: number): void {
    for (const name of ['cs', 'ss']) this.set(`${name}.attr`, BigInt((this.get(`${name}.attr`) & ~0x60) | (cpl << 5)));
  }

  write8(address: number, value: number): void {
    this.view.setUint8(this.ram + address, value);
  }

  /** Enables breakpoint `n`. */
  breakAt(n: number, address: number, type: number, bytes = 1): this {
    this.set(`dr${n}`, BigInt(address));
    this.dr7 |= (1n << BigInt(2 * n)) | (BigInt(type | ((LENGTH[bytes] ?? 0) << 2)) << BigInt(16 + 4 * n));
    this.set('dr7', this.dr7);
    return this;
  }

  /** The pending exception, taken away; -1 = none. */
  exception(): number {
    const at = this.vcpu.cpu + L.CPU_EXC;
    const vector = this.view.getInt32(at, true);
    this.view.setInt32(at, -1, true);
    return vector;
  }

  /**
   * Executes `steps` instructions, or attempts. Tells of each exception: rip from the program's start, vector, and for #DB the
   * bits of DR6, which is then cleared. A breakpoint on a fetch is gone on from with RF, as its handler would.
   */
  run(steps: number): string[] {
    const events: string[] = [];
    for (let i = 0; i < steps; i++) {
      const before = this.get('rip');
      this.vcpu.step();
      const vector = this.exception();
      if (vector < 0) continue;
      const rip = this.get('rip');
      const dr6 = this.get('dr6') & 0xe00f;
      events.push(`${rip - CODE} #${vector}${vector === L.EXC_DB ? ` ${dr6.toString(16)}` : ''}`);
      this.set('dr6', 0xffff0ff0n);
      if (vector !== L.EXC_DB) break;
      if (rip === before && (this.get('rflags') & RF) === 0) this.set('rflags', BigInt(this.get('rflags') | RF));
    }
    return events;
  }
}

const SETUPS: readonly Setup[] = [
  { tier: 'interp', bits: 32 },
  { tier: 'interp', bits: 64 },
  { tier: 'jit', bits: 32 },
  { tier: 'jit', bits: 64 },
];

describe.each(SETUPS)('$bits-bit code, $tier', (setup) => {
  test('a breakpoint on a fetch comes before its instruction, and RF lets that one pass', () => {
    const program = new Program(setup, [NOP, NOP, NOP, NOP, 0xeb, 0xfa]); // jmp back to 0
    program.breakAt(1, CODE + 3, FETCH).breakAt(2, CODE + 3, FETCH);
    expect(program.run(4)).toEqual(['3 #1 6']);
    expect(program.get('rflags') & RF).toBe(RF);
    expect(program.run(1)).toEqual([]);
    expect(program.get('rflags') & RF).toBe(0);
    expect(program.run(11)).toEqual(['3 #1 6', '3 #1 6']);
  });

  test('nothing happens inside an instruction, or with the breakpoint disabled', () => {
    const program = new Program(setup, [0xb8, 1, 0, 0, 0, NOP, NOP]);
    program.breakAt(0, CODE + 1, FETCH);
    program.set('dr1', BigInt(CODE + 5));
    expect(program.run(3)).toEqual([]);
  });

  test('data breakpoints trap behind the instruction', () => {
    // mov eax, [rbx]; mov [rbx], eax; add dword [rbx], 1; mov al, [rbx + 4]
    const code = [0x8b, 0x03, 0x89, 0x03, 0x83, 0x03, 0x01, 0x8a, 0x43, 0x04];
    const program = new Program(setup, code);
    program.breakAt(0, DATA, WRITE, 4);
    expect(program.run(4)).toEqual(['4 #1 1', '7 #1 1']);
    const both = new Program(setup, code);
    both.breakAt(0, DATA, WRITE, 4).breakAt(3, DATA, ACCESS, 2);
    expect(both.run(4)).toEqual(['2 #1 8', '4 #1 9', '7 #1 9']);
    expect(both.view.getUint32(both.vcpu.cpu + L.CPU_EXC, true)).toBe(0xffffffff);
  });

  test('any byte in common counts, addresses are aligned to the length', () => {
    // mov [rbx - 3], eax; mov [rbx - 4], eax; mov [rbx + 7], al; mov [rbx + 8], al; mov [rbx + 0ffeh], eax
    const code = [0x89, 0x43, 0xfd, 0x89, 0x43, 0xfc, 0x88, 0x43, 0x07, 0x88, 0x43, 0x08, 0x89, 0x83, 0xfe, 0x0f, 0, 0];
    const program = new Program(setup, code);
    program.breakAt(0, DATA + 5, WRITE, 8).breakAt(1, DATA + 0x1001, ACCESS, 1);
    expect(program.run(5)).toEqual(['3 #1 1', '9 #1 1', '18 #1 2']);
  });

  test('the stack is data', () => {
    const program = new Program(setup, [0x50, 0x58, 0xe8, 0, 0, 0, 0]); // push, pop, call
    program.breakAt(2, STACK - setup.bits / 8, ACCESS, setup.bits / 8);
    expect(program.run(3)).toEqual(['1 #1 4', '2 #1 4', '7 #1 4']);
  });

  test('a fault forgets what its instruction hit', () => {
    const program = new Program(setup, [0xff, 0x33, NOP, NOP]); // push [rbx]
    program.breakAt(0, DATA, ACCESS, 4);
    // Nothing is mapped, or outside the stack segment, there.
    program.set('rsp', setup.bits === 64 ? 0x8000_0000n : 0x1000n);
    if (setup.bits === 32) program.set('ss.limit', 0xfn);
    expect(program.run(1)).toEqual([setup.bits === 64 ? '0 #14' : '0 #12']);
    program.set('rip', BigInt(CODE + 2));
    expect(program.run(2)).toEqual([]);
  });

  test('repeated moves trap behind the element that hit, and go on', () => {
    const program = new Program(setup, [0xf3, 0xa4, NOP]); // rep movsb
    program.set('rcx', 8n);
    program.breakAt(0, DATA + 0x102, WRITE, 1).breakAt(1, DATA + 7, ACCESS, 1);
    program.write32(DATA, 0x44332211);
    expect(program.run(1)).toEqual(['0 #1 1']);
    expect([program.get('rcx'), program.get('rdi')]).toEqual([5, DATA + 0x103]);
    expect(program.get('rflags') & RF).toBe(RF);
    expect(program.run(1)).toEqual(['2 #1 2']);
    expect(program.get('rcx')).toBe(0);
    expect(program.get('rflags') & RF).toBe(0);
  });

  test('repeated stores, loads, comparisons and scans', () => {
    for (const [opcode, hits] of [
      [0xaa, 3],
      [0xac, 5],
      [0xa6, 5],
      [0xae, 3],
    ] as const) {
      const program = new Program(setup, [0xf3, opcode, NOP]);
      program.set('rax', 0n);
      program.set('rcx', 6n);
      program.breakAt(0, DATA + 0x102, ACCESS, 1).breakAt(1, DATA + 0, ACCESS, 1);
      // The source's breakpoint is hit by the first element, the destination's by the third.
      const events = program.run(1);
      expect(events).toEqual([opcode === 0xac || opcode === 0xa6 ? '0 #1 2' : '0 #1 1']);
      expect(program.get('rcx')).toBe(hits);
      program.run(opcode === 0xa6 ? 2 : 1);
      expect([program.get('rcx'), program.get('rip') - CODE]).toEqual([0, 2]);
    }
  });

  test('single-stepped, a repeated move traps behind every element', () => {
    const program = new Program(setup, [0xf3, 0xa4, NOP]);
    program.set('rcx', 3n);
    program.set('rflags', BigInt(TF | 2));
    expect(program.run(4)).toEqual(['0 #1 4000', '0 #1 4000', '2 #1 4000', '3 #1 4000']);
  });

  test('breakpoints on ports need CR4.DE', () => {
    const code = [0xe4, 0x60, 0xe6, 0x61, 0xe5, 0x60, 0xe4, 0x62]; // in al, 60h; out 61h, al; in eax, 60h; in al, 62h
    const program = new Program(setup, code);
    program.breakAt(0, 0x61, PORT, 1);
    expect(program.run(4)).toEqual([]);
    program.set('rip', BigInt(CODE));
    program.set('cr4', BigInt(program.get('cr4')) | CR4_DE);
    expect(program.run(4)).toEqual(['4 #1 1', '6 #1 1']);
  });

  test('DR7.GD refuses the next access to a debug register', () => {
    const program = new Program(setup, [0x0f, 0x21, 0xc0]); // mov rax, dr0
    program.set('dr7', 0x2400n);
    expect(program.run(1)).toEqual(['0 #1 2000']);
    expect(program.get('dr7')).toBe(0x400);
    expect(program.run(1)).toEqual([]);
  });

  test('a guest sets its own breakpoint, and takes it away', () => {
    // mov dr0, rbx; mov dr7, rax; mov [rbx], eax; mov dr7, rcx; mov [rbx], eax
    const code = [0x0f, 0x23, 0xc3, 0x0f, 0x23, 0xf8, 0x89, 0x03, 0x0f, 0x23, 0xf9, 0x89, 0x03];
    const program = new Program(setup, code);
    program.set('rax', 0xd0401n);
    program.set('rcx', 0x400n);
    // The page is in the TLB before.
    program.write32(0, 0);
    expect(program.run(5)).toEqual(['8 #1 1']);
  });

  test('alignment checks need CR0.AM, RFLAGS.AC and CPL 3', () => {
    // mov al, [rbx + 1]; mov ax, [rbx + 2]; mov eax, [rbx + 4]; mov [rbx + 2], eax
    const code = [0x8a, 0x43, 0x01, 0x66, 0x8b, 0x43, 0x02, 0x8b, 0x43, 0x04, 0x89, 0x43, 0x02];
    for (const [am, ac, cpl, events] of [
      [1, 1, 3, ['10 #17']],
      [0, 1, 3, []],
      [1, 0, 3, []],
      [1, 1, 0, []],
    ] as const) {
      const program = new Program(setup, code);
      program.run(4);
      program.set('rip', BigInt(CODE));
      if (am) program.set('cr0', BigInt(program.get('cr0')) | CR0_AM);
      program.privilege(cpl);
      program.set('rflags', BigInt(2 | (ac ? AC : 0)));
      expect(program.run(4)).toEqual(events);
    }
  });

  test('alignment of all kinds of operand', () => {
    for (const [code, fault] of [
      [[0x66, 0x83, 0x43, 0x01, 0x01], true], // add word [rbx + 1], 1
      [[0x80, 0x43, 0x01, 0x01], false], // add byte [rbx + 1], 1
      [[0xf0, 0x0f, 0xc1, 0x43, 0x02], true], // lock xadd [rbx + 2], eax
      [[0x50], true], // push rax, the stack being off by 2
      [[0x66, 0xa5], true], // movsw
      [[0xf3, 0x66, 0xa5], true], // rep movsw
      [[0xf3, 0xa4], false], // rep movsb
      [[0xdd, 0x43, 0x04], true], // fld qword [rbx + 4]
      [[0xdd, 0x43, 0x08], false], // fld qword [rbx + 8]
      [[0x0f, 0x10, 0x43, 0x04], false], // movups xmm0, [rbx + 4]
    ] as const) {
      const program = new Program(setup, code);
      program.set('cr0', BigInt(program.get('cr0')) | CR0_AM);
      program.set('cr4', BigInt(program.get('cr4')) | CR4_OSFXSR);
      program.view.setUint8(program.vcpu.cpu + L.CPU_FTAG, 0);
      program.set('rsi', BigInt(DATA + 1));
      program.set('rsp', BigInt(STACK - 2));
      program.set('rcx', 2n);
      program.privilege(3);
      program.set('rflags', BigInt(2 | AC));
      expect({ code, events: program.run(1) }).toEqual({ code, events: fault ? ['0 #17'] : [] });
      // With AC gone the same instruction passes.
      program.set('rip', BigInt(CODE));
      program.set('rflags', 2n);
      expect(program.run(1)).toEqual([]);
    }
  });
});

test('the trap of a MOV SS waits for the next instruction', () => {
  for (const tier of ['interp', 'jit'] as const) {
    const program = new Program({ tier, bits: 64 }, [0x8e, 0x13, NOP, NOP]); // mov ss, [rbx]
    program.breakAt(0, DATA, ACCESS, 2).breakAt(1, CODE + 2, FETCH);
    expect(program.run(3)).toEqual(['3 #1 1']);
  }
});

test('a MOV SS holds back a breakpoint on the next instruction in processors of Intel, not of AMD', () => {
  for (const tier of ['interp', 'jit'] as const) {
    const events = ['Opteron_G1', 'Nehalem'].map((name) => {
      const model = new Cpuid(CPU_MODELS.find((each) => each.name === name)!); // INVARIANT: both are in the list
      const program = new Program({ tier, bits: 64, model }, [0x8e, 0x13, NOP, NOP]); // mov ss, [rbx]
      return program.breakAt(1, CODE + 2, FETCH).run(3);
    });
    expect(events).toEqual([['2 #1 2'], []]);
  }
});

test('a guest handles its breakpoints and goes on', () => {
  for (const tier of ['interp', 'jit'] as const) {
    // 0: mov dr7, rax; loop: inc ecx; mov [rbx], ecx; cmp ecx, 5; jne loop; hlt
    const program = new Program(
      { tier, bits: 64 },
      [0x0f, 0x23, 0xf8, 0xff, 0xc1, 0x89, 0x0b, 0x83, 0xf9, 0x05, 0x75, 0xf7, 0xf4],
    );
    // The handler counts in r8d and sets RF in its frame: inc r8d; or dword [rsp + 16], 10000h; iretq
    const handler = [0x41, 0xff, 0xc0, 0x81, 0x4c, 0x24, 0x10, 0, 0, 1, 0, 0x48, 0xcf];
    handler.forEach((byte, i) => program.write8(CODE + 0x100 + i, byte));
    program.write32(0x3000 + 16, (0x10 << 16) | (CODE + 0x100));
    program.write32(0x3000 + 20, 0x8e00);
    program.write32(0x4000 + 0x10, 0x0000ffff);
    program.write32(0x4000 + 0x14, 0x00af9b00);
    program.write32(0x4000 + 0x18, 0x0000ffff);
    program.write32(0x4000 + 0x1c, 0x00cf9300);
    program.set('idtr.base', 0x3000n);
    program.set('idtr.limit', 0xfffn);
    program.set('gdtr.base', 0x4000n);
    program.set('gdtr.limit', 0xffn);
    program.set('dr0', BigInt(DATA));
    program.set('dr1', BigInt(CODE + 10));
    program.set('rax', 0x000d0405n); // DR0 on writes of 4 bytes, DR1 on the fetch of JNE
    program.set('rcx', 0n);
    program.set('r8', 0n);
    expect(program.vcpu.run(1000).reason).toBe('halted');
    expect([program.get('rcx'), program.get('r8'), program.get('dr6') & 0xf]).toEqual([5, 10, 2]);
  }
});
