/**
 * A guest that runs random user code: 64-bit long mode with an IDT, stubs in ring 0 and pages of all kinds in reach of CPL 3. Every
 * exception goes through the guest's stub to the test (an OUT), which sends the program on: back to the instruction, behind it, or
 * somewhere else, and changes page tables as an operating system would. All choices come from the seed and from what the
 * program did, so two guests that execute alike are asked alike.
 */
import type { VcpuBus } from '../../../src/accel/contract.ts';
import { WasmVm, type WasmAcceleratorOptions } from '../../../src/accel/wasm-vm.ts';
import type { VcpuSnapshot, WasmVcpu } from '../../../src/accel/wasm-vcpu.ts';
import type { MicrocodeFunction } from '../../../src/cpu/engine.ts';
import * as L from '../../../src/cpu/layout.ts';
import {
  CODE_BASE, CODE_PAGE, createState, DATA_BASE, FX_FCW, FX_FTW, FX_MXCSR, FX_ST, FX_XMM, FX_YMM, type MachineState, RSP,
} from '../oracle/machine-state.ts'; // prettier-ignore
import { Random } from '../oracle/random.ts';
import { fillArea, fillState } from '../oracle/states.ts';
import { Assembler } from './assembler.ts';
import { type FuzzProgram, fuzzProgram, type FuzzBits, POINTERS } from './fuzz-program.ts';

const PAGE = 4096;
export const RAM_BYTES = 0x80000;
const PML4 = 0x1000;
const PDPT = 0x2000;
/** Of the first GiB, and of the second, where the program is. */
const PD_LOW = 0x3000;
const PD_HIGH = 0x4000;
const PT_KERNEL = 0x5000;
const PT_DATA = 0x6000;
const PT_CODE = 0x7000;
const IDT = 0x8000;
const GDT = 0x9000;
const TSS = 0x9400;
const STUBS = 0xa000;
const STACK_TOP = 0xf000;
const CODE_AT = 0x20000;
const CODE_PAGES = 4;
const DATA_AT = 0x30000;
const DATA_PAGES = 10;
const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;
const TRAP_PORT = 0xf0;
const VECTORS = 0x82;
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);
/** Gates that INT may name at CPL 3. */
const USER_GATES = new Set([3, 4, 0x80]);
const USER_CS = { 32: 0x23, 64: 0x33 } as const;
const USER_SS = 0x2b;
const RFLAGS_TF = 0x100;
const KEPT_TRAPS = 40;

/** What happens to a page of the data area, beside the usual. */
const PAGE_KINDS = ['plain', 'plain', 'plain', 'readonly', 'absent', 'supervisor', 'code', 'twin'] as const;
type PageKind = (typeof PAGE_KINDS)[number];

export class FuzzGuest {
  readonly name: string;
  readonly vm: WasmVm;
  readonly vcpu: WasmVcpu;
  /** What the last traps showed. */
  traps: string[] = [];
  trapCount: number = 0;
  private readonly ram: number;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly fresh: VcpuSnapshot;
  private readonly loadMxcsr: MicrocodeFunction;
  private readonly state: MachineState = createState();
  private random = new Random(0);
  private program: FuzzProgram = { bits: 64, code: new Uint8Array(0), starts: [] };
  private waiting: number[] = [];
  /** The stub flushes the TLB, not only the page of a fault. */
  private wholeFlush = false;

  constructor(name: string, options: WasmAcceleratorOptions) {
    this.name = name;
    this.vm = new WasmVm({ hostMemoryBytes: RAM_BYTES + 0x20000, vcpus: 1 }, { ...options, exact: true });
    this.ram = this.vm.allocate(RAM_BYTES);
    const region = { slot: 0, guestPhysical: 0, sizeBytes: RAM_BYTES, hostOffset: this.ram };
    this.vm.setMemoryRegion({ ...region, readonly: false, logDirty: false });
    this.bytes = new Uint8Array(this.vm.memory.buffer, this.ram, RAM_BYTES);
    this.view = new DataView(this.vm.memory.buffer, this.ram, RAM_BYTES);
    this.vcpu = this.vm.createVcpu(this.bus());
    this.loadMxcsr = this.vm.engine.function('sseLoadMxcsr');
    const { registers } = this.vcpu;
    this.vcpu.setInitialState({ mode: 'long', rip: 0, cr3: PML4, gdt: { base: GDT, limit: 0x7f } });
    registers.set('idtr.base', BigInt(IDT));
    registers.set('idtr.limit', BigInt(VECTORS * 16 - 1));
    // PE MP ET NE WP AM PG; PAE OSFXSR OSXMMEXCPT OSXSAVE; LME LMA NXE
    registers.set('cr0', 0x80050033n);
    registers.set('cr4', 0x40620n);
    registers.set('efer', 0xd00n);
    registers.set('xcr0', 7n);
    registers.set('tr', 0x40n);
    registers.set('tr.base', BigInt(TSS));
    registers.set('tr.limit', 0x67n);
    this.fresh = this.vcpu.snapshot();
  }

  private bus(): VcpuBus {
    return {
      ioIn: () => 0x5a,
      ioOut: (port) => {
        if (port === TRAP_PORT) this.trap(Number(this.vcpu.registers.get('rsp')));
      },
      mmioRead: () => 0xff,
      mmioWrite: () => undefined,
      readMsr: () => undefined,
      writeMsr: () => false,
      cpuid: (leaf) => ({ eax: leaf, ebx: 1, ecx: 2, edx: 3 }),
      tsc: () => this.vcpu.instructionCount,
      random32: () => 0x5eed,
      acknowledgeInterrupt: () => {
        const vector = this.waiting.shift() ?? -1;
        this.vcpu.setInterruptRequest(this.waiting.length > 0);
        return vector;
      },
    };
  }

  /** An external interrupt asks for delivery. */
  interrupt(vector: number): void {
    this.waiting.push(vector);
    this.vcpu.setInterruptRequest(true);
  }

  get memory(): Uint8Array {
    return this.bytes;
  }

  /** The program and everything around it, as the seed says. */
  load(seed: number): void {
    const random = new Random(seed);
    const bits: FuzzBits = random.oneIn(3) ? 32 : 64;
    this.program = fuzzProgram(random, bits);
    this.vm.engine.cache.dropAll();
    this.bytes.fill(0);
    this.bytes.set(this.program.code, CODE_AT + CODE_BASE - CODE_PAGE);
    this.makeTables(random);
    this.wholeFlush = random.oneIn(2);
    this.makeStubs();
    fillState(
      random,
      this.state,
      random.pick(['x87', 'mmx', 'sse'] as const),
      random.pick(['f32', 'f64', 'integer'] as const),
    );
    fillArea(random, this.state.data, 'integer', random.oneIn(2));
    this.bytes.set(this.state.data, DATA_AT);
    // What the last program left in the TLB is known to the state that goes now.
    this.vm.engine.call('resetTlb', this.vcpu.cpu);
    this.vcpu.restore(this.fresh);
    this.waiting = [];
    this.vcpu.setInterruptRequest(false);
    this.start(random, bits);
    this.random = new Random(seed ^ 0x5bd1e995);
    this.traps = [];
    this.trapCount = 0;
  }

  private start(random: Random, bits: FuzzBits): void {
    const { registers, cpu } = this.vcpu;
    const { state, bytes } = this;
    for (const name of ['cs', 'ss', 'ds', 'es', 'fs', 'gs']) {
      registers.set(name, BigInt(name === 'cs' ? USER_CS[bits] : USER_SS));
      registers.set(`${name}.attr`, name !== 'cs' ? 0xc0f3n : bits === 64 ? 0xa0fbn : 0xc0fbn);
    }
    NAMES.forEach((name, i) => {
      const value = POINTERS[bits].includes(i) || i === RSP ? this.pointer(random) : (state.gpr[i] ?? 0n);
      registers.set(name, bits === 64 ? value : i < 8 ? BigInt.asUintN(32, value) : 0n);
    });
    registers.set('rip', BigInt(CODE_BASE));
    registers.set('rflags', BigInt((state.rflags & ~0x400) | 0x202));
    const engine = new DataView(bytes.buffer);
    const all = new Uint8Array(bytes.buffer);
    const fx = new DataView(state.fx.buffer, state.fx.byteOffset);
    engine.setUint16(cpu + L.CPU_FCW, fx.getUint16(FX_FCW, true), true);
    engine.setUint8(cpu + L.CPU_FTAG, fx.getUint8(FX_FTW));
    for (let i = 0; i < 8; i++)
      all.set(state.fx.subarray(FX_ST + i * 16, FX_ST + i * 16 + 10), cpu + L.CPU_FPR + i * 16);
    for (let i = 0; i < 16; i++) {
      const to = cpu + L.CPU_XMM + i * L.XMM_STRIDE;
      all.set(state.fx.subarray(FX_XMM + i * 16, FX_XMM + i * 16 + 16), to);
      all.set(state.fx.subarray(FX_YMM + i * 16, FX_YMM + i * 16 + 16), to + 16);
    }
    this.loadMxcsr(cpu, fx.getUint32(FX_MXCSR, true));
  }

  /** Into the data area, now and then just before a page's end. */
  private pointer(random: Random): bigint {
    const page = 1 + random.below(DATA_PAGES - 2);
    const offset = random.oneIn(4) ? PAGE - random.below(24) : random.below(PAGE / 8) * 8;
    return BigInt(DATA_BASE + page * PAGE + offset);
  }

  // ---- traps ----

  /** The stub pushed fifteen registers, vector and error code onto what the processor pushed. */
  private trap(rsp: number): void {
    const { view, random, program } = this;
    const u32 = (offset: number): number => view.getUint32(rsp + offset, true);
    const vector = u32(120);
    const rip = u32(136) + u32(140) * 4294967296;
    const cr2 = vector === 14 ? Number(this.vcpu.registers.get('cr2')) : 0;
    this.trapCount++;
    const registers = Array.from({ length: 15 }, (_, i) => u32(i * 8 + 4).toString(16) + ':' + u32(i * 8).toString(16));
    const flags = u32(152) & ~0x10000;
    this.traps.push(
      `#${vector}(${u32(128).toString(16)}) at ${this.vcpu.instructionCount} cr2 ${cr2.toString(16)} rip ${rip.toString(16)} flags ${flags.toString(16)} ${registers.join(' ')}`,
    );
    if (this.traps.length > KEPT_TRAPS) this.traps.shift();
    const goTo = (address: number): void => {
      view.setUint32(rsp + 136, address, true);
      view.setUint32(rsp + 140, 0, true);
    };
    const start = (): number => CODE_BASE + (program.starts[random.below(program.starts.length)] ?? 0);
    // Registers that point somewhere again; RSP is in the processor's part of the frame.
    if (random.oneIn(4)) {
      const pointer = this.pointer(random);
      const slot = random.oneIn(3) ? 160 : random.below(15) * 8;
      view.setBigUint64(rsp + slot, pointer, true);
    }
    if (vector === 1 && random.oneIn(2)) view.setUint32(rsp + 152, u32(152) & ~RFLAGS_TF, true);
    const inside = rip >= CODE_BASE && rip < CODE_BASE + program.code.length;
    if (!inside || random.oneIn(24)) {
      goTo(start());
      // Wild code may have left the program's own segment or set flags that make every instruction trap.
      view.setUint32(rsp + 144, USER_CS[program.bits], true);
      view.setUint32(rsp + 152, u32(152) & ~(RFLAGS_TF | 0x40000), true);
      return;
    }
    if (vector === 14 && random.oneIn(2) && this.repair(cr2)) return;
    // Without a flush what the TLB still holds would be used or not, as the processor likes.
    if (vector === 14 && this.wholeFlush && random.oneIn(4)) this.spoil();
    // Traps and interrupts come behind the instruction.
    if (vector === 1 || USER_GATES.has(vector) || vector >= 0x20) return;
    const next = program.starts.find((offset) => CODE_BASE + offset > rip);
    goTo(next === undefined ? start() : CODE_BASE + next);
  }

  private entryAt(linear: number): number | undefined {
    const data = Math.floor((linear - DATA_BASE) / PAGE);
    if (data >= 0 && data < DATA_PAGES) return PT_DATA + data * 8;
    const code = Math.floor((linear - CODE_PAGE) / PAGE);
    return code >= 0 && code < CODE_PAGES ? PT_CODE + code * 8 : undefined;
  }

  private setEntry(at: number, value: number): void {
    this.view.setUint32(at, value, true);
    this.vm.memoryWritten(at, 4);
  }

  /** Makes the page accessible, as for demand paging and copy on write. */
  private repair(linear: number): boolean {
    const at = this.entryAt(linear);
    if (at === undefined) return false;
    this.setEntry(at, this.view.getUint32(at, true) | PRESENT | WRITABLE | USER);
    return true;
  }

  /** Takes rights of some page of data away. The stub flushes. */
  private spoil(): void {
    const at = PT_DATA + this.random.below(DATA_PAGES) * 8;
    const bit = this.random.pick([PRESENT, WRITABLE, USER, 0x20, 0x40]);
    this.setEntry(at, this.view.getUint32(at, true) & ~bit);
  }

  // ---- what the program stands on ----

  private makeTables(random: Random): void {
    const { view } = this;
    view.setUint32(PML4, PDPT | 7, true);
    view.setUint32(PDPT, PD_LOW | 7, true);
    view.setUint32(PDPT + 8, PD_HIGH | 7, true);
    view.setUint32(PD_LOW, PT_KERNEL | 7, true);
    view.setUint32(PD_HIGH + ((DATA_BASE >> 21) & 511) * 8, PT_DATA | 7, true);
    view.setUint32(PD_HIGH + ((CODE_PAGE >> 21) & 511) * 8, PT_CODE | 7, true);
    for (let page = 1; page < RAM_BYTES / PAGE; page++) view.setUint32(PT_KERNEL + page * 8, (page * PAGE) | 3, true);
    for (let page = 0; page < CODE_PAGES; page++)
      view.setUint32(
        PT_CODE + page * 8,
        (CODE_AT + page * PAGE) | PRESENT | USER | (random.oneIn(4) ? 0 : WRITABLE),
        true,
      );
    for (let page = 0; page < DATA_PAGES; page++) {
      const at = PT_DATA + page * 8;
      view.setUint32(at, this.dataEntry(random.pick(PAGE_KINDS), page, random), true);
      // No execution.
      if (random.oneIn(2)) view.setUint32(at + 4, 0x80000000, true);
    }
  }

  private dataEntry(kind: PageKind, page: number, random: Random): number {
    const own = DATA_AT + page * PAGE;
    const all = PRESENT | WRITABLE | USER;
    if (kind === 'readonly') return own | PRESENT | USER;
    if (kind === 'absent') return own;
    if (kind === 'supervisor') return own | PRESENT | WRITABLE;
    if (kind === 'code') return (CODE_AT + random.below(CODE_PAGES) * PAGE) | all;
    if (kind === 'twin') return (DATA_AT + random.below(DATA_PAGES) * PAGE) | all;
    return own | all;
  }

  private makeStubs(): void {
    const { view } = this;
    const asm = new Assembler(64, STUBS);
    for (let vector = 0; vector < VECTORS; vector++) {
      const at = IDT + vector * 16;
      view.setUint32(at, (0x10 << 16) | (asm.here & 0xffff), true);
      view.setUint32(at + 4, (asm.here & 0xffff0000) | (USER_GATES.has(vector) ? 0xee00 : 0x8e00), true);
      if (!WITH_ERROR.has(vector)) asm.db(0x6a, 0);
      asm.db(0x68).dd(vector).jmp('common');
    }
    asm.label('common');
    const saved = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    for (const n of saved) asm.push(n);
    asm.out(TRAP_PORT);
    // MOV RAX, CR3; MOV CR3, RAX, or MOV RAX, CR2; INVLPG [RAX] where rights are only ever given.
    asm.db(...(this.wholeFlush ? [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8] : [0x0f, 0x20, 0xd0, 0x0f, 0x01, 0x38]));
    for (const n of saved.toReversed()) asm.pop(n);
    asm.db(0x48, 0x83, 0xc4, 0x10, 0x48, 0xcf); // add rsp, 16; iretq
    this.bytes.set(asm.build(), STUBS);
    const descriptor = (selector: number, high: number): void => {
      view.setUint32(GDT + selector, 0x0000ffff, true);
      view.setUint32(GDT + selector + 4, high, true);
    };
    descriptor(0x10, 0x00af9b00);
    descriptor(0x18, 0x00cf9300);
    descriptor(0x20, 0x00cffb00);
    descriptor(0x28, 0x00cff300);
    descriptor(0x30, 0x00affb00);
    view.setUint32(TSS + 4, STACK_TOP, true);
  }
}

const NAMES = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
];
