/**
 * A test program as the only software of a machine without a board: ring 0, paging on (but in 16-bit real mode), all exceptions and
 * interrupts handled by stubs that save the registers and tell the test through a port. One program runs on every tier; what it
 * did is compared.
 */
import type { VcpuBus } from '../../../src/accel/contract.ts';
import { WasmVm, type WasmAcceleratorOptions } from '../../../src/accel/wasm-vm.ts';
import type { WasmVcpu } from '../../../src/accel/wasm-vcpu.ts';
import { Assembler, type Bits } from './assembler.ts';

export const TRAP_PORT = 0xf0;
/** A program writes AL here for the test to see. */
export const TEST_PORT = 0xf1;
const RAM_BYTES = 0x400000;
const PAGE = 4096;
const PML4 = 0x1000;
const PDPT = 0x2000;
const PD = 0x3000;
const PT = 0x4000;
const IDT = 0x6000;
const GDT = 0x7000;
const FRAME = 0x7800;
const STUBS = 0x8000;
const VECTORS = 64;
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);
/** The second 2 MiB of linear addresses show the first again. */
export const ALIAS = 0x200000;

const PLACES = {
  64: { code: 0x20000, data: 0x40000, stack: 0x60000 },
  32: { code: 0x20000, data: 0x40000, stack: 0x60000 },
  16: { code: 0xa000, data: 0xd000, stack: 0xfff0 },
} as const;

/** Tier options to try every program with; the first is the reference. */
export const CONFIGURATIONS: Readonly<Record<string, WasmAcceleratorOptions>> = {
  interp: { tier: 'interp' },
  jit: { tier: 'jit', hotAfter: 6 },
  forced: { tier: 'jit', hotAfter: 1 },
  tiny: { tier: 'jit', hotAfter: 2, arenaBytes: 16 << 10, maxTranslations: 2 },
};

/** An exception or interrupt, as the stub saved it. */
export class Trap {
  readonly vector: number;
  readonly error: number;
  readonly cr2: number;
  private readonly program: GuestProgram;
  private readonly frame: number;

  constructor(program: GuestProgram, frame: number) {
    this.program = program;
    this.frame = frame;
    const { bits } = program;
    const at = frame + (bits === 64 ? 120 : 32);
    this.vector = bits === 16 ? program.read16(at) : program.read32(at);
    this.error = bits === 16 ? 0 : program.read32(at + (bits === 64 ? 8 : 4));
    this.cr2 = this.vector === 14 ? Number(program.vcpu.registers.get('cr2')) : 0;
  }

  private get ripAt(): number {
    return this.frame + { 64: 136, 32: 40, 16: 36 }[this.program.bits];
  }

  get rip(): number {
    return this.program.bits === 16 ? this.program.read16(this.ripAt) : this.program.read32(this.ripAt);
  }

  set rip(value: number) {
    if (this.program.bits === 16) this.program.write16(this.ripAt, value);
    else this.program.write32(this.ripAt, value);
  }

  /** RFLAGS without RF, which processors set as they like. */
  get flags(): number {
    const { bits } = this.program;
    if (bits === 16) return this.program.read16(this.ripAt + 4);
    return this.program.read32(this.ripAt + (bits === 64 ? 16 : 8)) & ~0x10000;
  }

  private place(n: number): number {
    if (this.program.bits !== 64) return this.frame + (7 - n) * 4;
    if (n === 4) return this.frame + 160;
    return this.frame + (14 - (n > 4 ? n - 1 : n)) * 8;
  }

  reg(n: number): number {
    const low = this.program.read32(this.place(n));
    return this.program.bits === 64 ? low + this.program.read32(this.place(n) + 4) * 4294967296 : low;
  }

  setReg(n: number, value: number): void {
    this.program.write32(this.place(n), value);
    if (this.program.bits === 64) this.program.write32(this.place(n) + 4, Math.floor(value / 4294967296));
  }

  /** All that was saved. */
  toString(): string {
    const { bits } = this.program;
    const regs = Array.from({ length: bits === 64 ? 16 : 8 }, (_, n) =>
      n === 4 && bits !== 64 ? '-' : this.reg(n).toString(16),
    );
    const where = (this.rip - this.program.code).toString(16);
    return `#${this.vector}(${this.error}) cr2 ${this.cr2.toString(16)} rip +${where} flags ${this.flags.toString(16)} ${regs.join(' ')}`;
  }
}

export interface ProgramHooks {
  /** May change the frame and memory; execution goes on where the frame says. */
  trap?(trap: Trap, program: GuestProgram): void;
  /** OUT TEST_PORT, AL. */
  port?(value: number, program: GuestProgram): void;
}

export class GuestProgram {
  readonly bits: Bits;
  readonly code: number;
  readonly data: number;
  readonly stack: number;
  readonly vm: WasmVm;
  readonly vcpu: WasmVcpu;
  readonly asm: Assembler;
  /** What every trap showed. */
  readonly traps: string[] = [];
  readonly values: number[] = [];
  private readonly ram: number;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private readonly hooks: ProgramHooks;
  private waiting: number[] = [];

  constructor(
    bits: Bits,
    options: WasmAcceleratorOptions,
    write: (asm: Assembler, program: GuestProgram) => void,
    hooks: ProgramHooks = {},
  ) {
    this.bits = bits;
    this.hooks = hooks;
    ({ code: this.code, data: this.data, stack: this.stack } = PLACES[bits]);
    this.vm = new WasmVm({ hostMemoryBytes: RAM_BYTES + 0x20000, vcpus: 1 }, options);
    this.ram = this.vm.allocate(RAM_BYTES);
    const region = { slot: 0, guestPhysical: 0, sizeBytes: RAM_BYTES, hostOffset: this.ram };
    this.vm.setMemoryRegion({ ...region, readonly: false, logDirty: false });
    this.view = new DataView(this.vm.memory.buffer, this.ram, RAM_BYTES);
    this.bytes = new Uint8Array(this.vm.memory.buffer, this.ram, RAM_BYTES);
    this.vcpu = this.vm.createVcpu(this.bus());
    this.makeTables();
    this.makeStubs();
    this.asm = new Assembler(bits, this.code);
    write(this.asm, this);
    this.bytes.set(this.asm.build(), this.code);
    this.start();
  }

  private bus(): VcpuBus {
    return {
      ioIn: () => 0x5a,
      ioOut: (port, _bytes, value) => this.port(port, value),
      mmioRead: () => 0xff,
      mmioWrite: () => undefined,
      readMsr: () => undefined,
      writeMsr: () => false,
      cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }),
      tsc: () => this.vcpu.instructionCount,
      random32: () => 1,
      acknowledgeInterrupt: () => {
        const vector = this.waiting.shift() ?? -1;
        this.vcpu.setInterruptRequest(this.waiting.length > 0);
        return vector;
      },
    };
  }

  private port(port: number, value: number): void {
    if (port === TEST_PORT) {
      this.values.push(value & 255);
      this.hooks.port?.(value & 255, this);
    }
    if (port !== TRAP_PORT) return;
    const trap = new Trap(this, this.read32(FRAME));
    this.traps.push(trap.toString());
    if (this.traps.length > 100_000) throw new Error(`endless traps: ${trap.toString()}`);
    this.hooks.trap?.(trap, this);
  }

  /** An external interrupt asks for delivery. */
  interrupt(vector: number): void {
    this.waiting.push(vector);
    this.vcpu.setInterruptRequest(true);
  }

  /** Runs until HLT with interrupts off, at most about so many instructions. Throws when it does not end. */
  run(instructions = 10_000_000): this {
    const end = this.vcpu.instructionCount + instructions;
    while (this.vcpu.instructionCount < end) {
      const exit = this.vcpu.run(end - this.vcpu.instructionCount);
      if (exit.reason === 'halted') return this;
      if (exit.reason !== 'budget')
        throw new Error(`${JSON.stringify(exit)} at ${this.place()}, traps ${this.traps.slice(-3).join('\n')}`);
    }
    throw new Error(`no end after ${instructions} instructions, at ${this.place()}`);
  }

  /** As long as the budget lasts. */
  runFor(instructions: number): 'budget' | 'halted' {
    const { reason } = this.vcpu.run(instructions);
    if (reason !== 'budget' && reason !== 'halted') throw new Error(`${reason} at ${this.place()}`);
    return reason;
  }

  private place(): string {
    return `0x${this.vcpu.registers.get('rip').toString(16)}`;
  }

  reg(n: number): number {
    return Number(this.vcpu.registers.get(NAMES[n] ?? ''));
  }

  // ---- memory, by physical address ----

  read32(address: number): number {
    return this.view.getUint32(address, true);
  }

  read16(address: number): number {
    return this.view.getUint16(address, true);
  }

  read8(address: number): number {
    return this.view.getUint8(address);
  }

  write32(address: number, value: number): void {
    this.view.setUint32(address, value, true);
    this.vm.memoryWritten(address, 4);
  }

  write16(address: number, value: number): void {
    this.view.setUint16(address, value, true);
    this.vm.memoryWritten(address, 2);
  }

  write8(address: number, value: number): void {
    this.view.setUint8(address, value);
    this.vm.memoryWritten(address, 1);
  }

  /** Code for another place than the program's. */
  asmAt(origin: number): Assembler {
    return new Assembler(this.bits, origin);
  }

  put(address: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, address);
    this.vm.memoryWritten(address, bytes.length);
  }

  /** Where the page table entry of a linear address below 4 MiB lies. */
  entryAt(linear: number): number {
    return PT + (linear / PAGE) * (this.bits === 64 ? 8 : 4);
  }

  /** Maps a page; `undefined` takes it away. The guest must flush what it may have used before. */
  map(linear: number, physical: number | undefined, flags = 3): void {
    this.write32(this.entryAt(linear), physical === undefined ? 0 : physical | flags);
  }

  /** Registers, flags and a sum of all memory. */
  state(): string {
    const names = this.bits === 64 ? NAMES : NAMES.slice(0, 8);
    const regs = [...names, 'rip', 'rflags'].map((name) => `${name} ${this.vcpu.registers.get(name).toString(16)}`);
    let sum = 0;
    const words = new Int32Array(this.vm.memory.buffer, this.ram, RAM_BYTES / 4);
    for (let i = 0; i < words.length; i++) {
      // INVARIANT: i is below the length.
      const word = words[i]!;
      if (word !== 0) sum = (Math.imul(sum ^ word ^ i, 0x01000193) + 0x9e3779b9) | 0;
    }
    return `${regs.join('\n')}\nmemory ${(sum >>> 0).toString(16)}`;
  }

  // ---- what the program stands on ----

  private makeTables(): void {
    const { view } = this;
    const entry = this.bits === 64 ? 8 : 4;
    if (this.bits === 16) return;
    for (let page = 0; page < 1024; page++) view.setUint32(PT + page * entry, ((page % 512) * PAGE) | 3, true);
    if (this.bits === 32) {
      view.setUint32(PML4, PT | 3, true);
      return;
    }
    view.setUint32(PML4, PDPT | 3, true);
    view.setUint32(PDPT, PD | 3, true);
    view.setUint32(PD, PT | 3, true);
    view.setUint32(PD + 8, (PT + PAGE) | 3, true);
  }

  private makeStubs(): void {
    const { view, bits } = this;
    const asm = new Assembler(bits, STUBS);
    for (let vector = 0; vector < VECTORS; vector++) {
      this.makeGate(vector, asm.here);
      if (bits === 16 || !WITH_ERROR.has(vector)) asm.db(0x6a, 0);
      asm.db(0x6a, vector).jmp('common');
    }
    asm.label('common');
    if (bits === 64) {
      const saved = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
      for (const n of saved) asm.push(n);
      asm.db(0x48, 0x89, 0x24, 0x25).dd(FRAME).out(TRAP_PORT);
      for (const n of saved.toReversed()) asm.pop(n);
      asm.db(0x48, 0x83, 0xc4, 0x10, 0x48, 0xcf); // add rsp, 16; iretq
    } else if (bits === 32) {
      asm.db(0x60, 0x89, 0x25).dd(FRAME).out(TRAP_PORT).db(0x61, 0x83, 0xc4, 0x08, 0xcf);
    } else {
      asm
        .db(0x66, 0x60, 0x66, 0x89, 0x26, FRAME & 255, FRAME >> 8)
        .out(TRAP_PORT)
        .db(0x66, 0x61, 0x83, 0xc4, 0x04, 0xcf);
    }
    this.bytes.set(asm.build(), STUBS);
    if (bits === 16) return;
    // Selector 0x10 code, 0x18 data.
    view.setUint32(GDT + 0x10, 0x0000ffff, true);
    view.setUint32(GDT + 0x14, bits === 64 ? 0x00af9b00 : 0x00cf9b00, true);
    view.setUint32(GDT + 0x18, 0x0000ffff, true);
    view.setUint32(GDT + 0x1c, 0x00cf9300, true);
  }

  /** Lets the program handle an interrupt itself. */
  gate(vector: number, handler: number): void {
    this.makeGate(vector, handler);
  }

  private makeGate(vector: number, handler: number): void {
    const { view, bits } = this;
    if (bits === 16) {
      view.setUint32(vector * 4, handler, true);
      return;
    }
    const at = IDT + vector * (bits === 64 ? 16 : 8);
    view.setUint32(at, (0x10 << 16) | (handler & 0xffff), true);
    view.setUint32(at + 4, (handler & 0xffff0000) | 0x8e00, true);
  }

  /** Interrupts are on and none waits. */
  get interruptible(): boolean {
    return this.waiting.length === 0 && (this.vcpu.registers.get('rflags') & 0x200n) !== 0n;
  }

  /** From the beginning, with the memory as it is. */
  start(): void {
    const { registers } = this.vcpu;
    for (const name of NAMES) registers.set(name, 0n);
    if (this.bits === 16) {
      this.vcpu.setInitialState({ mode: 'real', rip: this.code });
      registers.set('cs', 0n);
      registers.set('cs.base', 0n);
      registers.set('idtr.limit', 0x3ffn);
    } else {
      const mode = this.bits === 64 ? 'long' : 'protected';
      this.vcpu.setInitialState({ mode, rip: this.code, cr3: PML4, gdt: { base: GDT, limit: 0xff } });
      registers.set('idtr.base', BigInt(IDT));
      registers.set('idtr.limit', 0xfffn);
      // Paging and write protection.
      registers.set('cr0', registers.get('cr0') | 0x80010000n);
    }
    registers.set('rsp', BigInt(this.stack));
    registers.set('rflags', 2n);
  }
}

const NAMES = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
];
