/** Registers of a vCPU's state by name, and the starting states that boot protocols ask for. */
import type { Engine } from '../cpu/engine.ts';
import * as L from '../cpu/layout.ts';
import type { InitialState, RegisterFile } from './contract.ts';

const GPR_NAMES = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];
const GPR32_NAMES = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'];
const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'];

const WHOLE: Readonly<Record<string, number>> = {
  rip: L.CPU_RIP, cr0: L.CPU_CR0, cr2: L.CPU_CR2, cr3: L.CPU_CR3, cr4: L.CPU_CR4, cr8: L.CPU_CR8, efer: L.CPU_EFER, xcr0: L.CPU_XCR0,
  dr0: L.CPU_DR0, dr1: L.CPU_DR0 + 8, dr2: L.CPU_DR0 + 16, dr3: L.CPU_DR0 + 24, dr6: L.CPU_DR6, dr7: L.CPU_DR7,
  'gdtr.base': L.CPU_GDTR_BASE, 'idtr.base': L.CPU_IDTR_BASE, 'kernel_gs_base': L.CPU_KERNEL_GS_BASE,
}; // prettier-ignore

/** CR0.PE PG, CR4.PAE, EFER.LME LMA */
const CR0_PE = 0x1;
const CR0_ET = 0x10;
const CR0_PG = 0x80000000;
const CR4_PAE = 0x20;
const EFER_LONG = 0x500;
/** Present, accessed, 4 GiB: code 32-bit, code 64-bit, data. As in SEG_ATTR. */
const ATTR_CODE32 = 0xc09b;
const ATTR_CODE64 = 0xa09b;
const ATTR_DATA = 0xc093;
const ATTR_TSS = 0x8b;

/**
 * Names: general registers, rip, rflags, cr*, dr*, efer, xcr0, segments (`cs` selector, `cs.base`, `cs.limit`, `cs.attr`), xmm0..15 (the low
 * 128 bits; setting them keeps the others) and ymm0..15.
 */
export class StateRegisters implements RegisterFile {
  private readonly engine: Engine;
  private readonly cpu: number;
  private readonly view: DataView;

  constructor(engine: Engine, cpu: number) {
    this.engine = engine;
    this.cpu = cpu;
    this.view = new DataView(engine.memory.buffer);
  }

  private place(name: string): { offset: number; bytes: 2 | 4 | 8 } {
    const general = GPR_NAMES.indexOf(name);
    if (general >= 0) return { offset: L.CPU_GPR + general * 8, bytes: 8 };
    const whole = WHOLE[name];
    if (whole !== undefined) return { offset: whole, bytes: 8 };
    if (name === 'gdtr.limit') return { offset: L.CPU_GDTR_LIMIT, bytes: 4 };
    if (name === 'idtr.limit') return { offset: L.CPU_IDTR_LIMIT, bytes: 4 };
    const [segment, part] = name.split('.');
    const number = SEGMENT_NAMES.indexOf(segment ?? '');
    const base = L.CPU_SEG + number * L.SEG_SIZE;
    if (number >= 0 && part === undefined) return { offset: base + L.SEG_SELECTOR, bytes: 2 };
    if (number >= 0 && part === 'base') return { offset: base + L.SEG_BASE, bytes: 8 };
    if (number >= 0 && part === 'limit') return { offset: base + L.SEG_LIMIT, bytes: 4 };
    if (number >= 0 && part === 'attr') return { offset: base + L.SEG_ATTR, bytes: 4 };
    throw new RangeError(`there is no register named ${name}`);
  }

  /** The quadwords of a vector register, lowest first; none for other names. */
  private quadwords(name: string): number[] {
    const vector = /^([xy])mm(\d|1[0-5])$/.exec(name);
    if (vector === null) return [];
    const at = this.cpu + L.CPU_XMM + Number(vector[2]) * L.XMM_STRIDE;
    return vector[1] === 'x' ? [at, at + 8] : [at, at + 8, at + 16, at + 24];
  }

  get(name: string): bigint {
    const vector = this.quadwords(name);
    if (vector.length > 0) return vector.reduceRight((sum, at) => (sum << 64n) | this.view.getBigUint64(at, true), 0n);
    if (name === 'rflags') return BigInt(this.engine.call('getFlags', this.cpu) >>> 0);
    const { offset, bytes } = this.place(name);
    const at = this.cpu + offset;
    if (bytes === 8) return this.view.getBigUint64(at, true);
    return BigInt(bytes === 4 ? this.view.getUint32(at, true) : this.view.getUint16(at, true));
  }

  /** Sets the register as a debugger would: no checks, but the derived state (mode, TLB) follows. */
  set(name: string, value: bigint): void {
    const vector = this.quadwords(name);
    if (vector.length > 0) {
      vector.forEach((at, i) => this.view.setBigUint64(at, BigInt.asUintN(64, value >> BigInt(64 * i)), true));
      return;
    }
    if (name === 'rflags') {
      this.engine.call('setFlags', this.cpu, Number(BigInt.asIntN(32, value)));
    } else {
      const { offset, bytes } = this.place(name);
      const at = this.cpu + offset;
      if (bytes === 8) this.view.setBigUint64(at, BigInt.asUintN(64, value), true);
      else if (bytes === 4) this.view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
      else this.view.setUint16(at, Number(BigInt.asUintN(16, value)), true);
    }
    if (GPR_NAMES.includes(name) || name === 'rip') return;
    if (/^cr[034]$|^efer$|^dr[0-37]$/.test(name)) this.engine.call('resetTlb', this.cpu);
    this.engine.call('updateMode', this.cpu);
  }
}

/** After reset, puts the vCPU where a boot protocol's entry point expects it: flat segments, interrupts off. */
export function applyInitialState(engine: Engine, cpu: number, registers: RegisterFile, state: InitialState): void {
  const long = state.mode === 'long';
  if (state.mode !== 'real') {
    const code = state.codeSelector ?? 0x10;
    const data = state.dataSelector ?? 0x18;
    segment(registers, 'cs', code, 0xffffffff, long ? ATTR_CODE64 : ATTR_CODE32);
    for (const name of ['ss', 'ds', 'es', 'fs', 'gs']) segment(registers, name, data, 0xffffffff, ATTR_DATA);
    segment(registers, 'tr', 0, 0x67, ATTR_TSS);
    registers.set('cr0', BigInt(CR0_PE | CR0_ET) | (long ? BigInt(CR0_PG) : 0n));
    if (state.cr3 !== undefined) registers.set('cr3', BigInt(state.cr3));
    if (long) {
      registers.set('cr4', BigInt(CR4_PAE));
      registers.set('efer', BigInt(EFER_LONG));
    }
  }
  if (state.gdt !== undefined) {
    registers.set('gdtr.base', BigInt(state.gdt.base));
    registers.set('gdtr.limit', BigInt(state.gdt.limit));
  }
  for (const [name, value] of Object.entries(state.registers ?? {})) {
    const narrow = GPR32_NAMES.indexOf(name);
    registers.set(narrow >= 0 ? (GPR_NAMES[narrow] ?? name) : name, BigInt(value));
  }
  registers.set('rip', BigInt(state.rip));
  engine.call('updateMode', cpu);
}

function segment(registers: RegisterFile, name: string, selector: number, limit: number, attr: number): void {
  registers.set(name, BigInt(selector));
  registers.set(`${name}.base`, 0n);
  registers.set(`${name}.limit`, BigInt(limit));
  registers.set(`${name}.attr`, BigInt(attr));
}
