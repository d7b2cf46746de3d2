/**
 * One instruction at a time, without a machine: what the conformance tests and the fuzzers drive a tier through.
 *
 * A testbench is one vCPU in long mode (64-bit code unless asked otherwise) at CPL 3 (x87, SSE and AVX enabled: CR0.NE MP, CR4.OSFXSR OSXMMEXCPT OSXSAVE, XCR0, IOPL 0,
 * FS and GS base 0), whose page tables map the given ranges and nothing else. Its state is read and written straight in
 * `memory` at the offsets of layout.ts.
 */
import * as L from '../cpu/layout.ts';
import type { VcpuBus } from './contract.ts';
import { WasmVm } from './wasm-vm.ts';

export interface TestbenchRange {
  /** Page-aligned linear address below 2^31. */
  readonly linear: number;
  readonly bytes: number;
  readonly writable: boolean;
}

export interface TestbenchOptions {
  readonly tier: 'interp' | 'jit';
  /** As EngineOptions has them; `hotAfter` is 1 by default. */
  readonly hotAfter?: number;
  readonly arenaBytes?: number;
  readonly maxTranslations?: number;
  /** User pages, all executable. */
  readonly ranges: readonly TestbenchRange[];
  /** Default 64. 32-bit code has flat segments; 16-bit code segments of 64 KiB at the bases given. */
  readonly codeSize?: 16 | 32 | 64;
  readonly codeBase?: number;
  readonly dataBase?: number;
}

export interface Testbench {
  readonly memory: WebAssembly.Memory;
  /** Base address of the vCPU's state in `memory`. */
  readonly cpu: number;
  /** Address in `memory` of the byte at a mapped linear address; a range is contiguous there. */
  host(linear: number): number;
  /**
   * Sets RFLAGS with what depends on it (the mode): to begin with TF, or (default) to begin anew after code that may have
   * set TF or AC.
   */
  resetFlags(rflags?: number): void;
  /** Sets MXCSR and what is kept with it. */
  setMxcsr(value: number): void;
  /** Tells that code bytes were changed from outside: nothing decoded or translated before may run again. */
  codeChanged(): void;
  /**
   * Runs `count` instructions from CPU_RIP in the tier at hand (`jit`: translated, however cold). Stops early at an exception,
   * which is not delivered but left in CPU_EXC (-1 = none), CPU_EXC_ERROR and CPU_EXC_CR2. Afterwards CPU_RIP is exact (the
   * faulting instruction's after a fault) and registers and flags are in the state.
   */
  step(count: number): void;
  /**
   * Runs from CPU_RIP as a machine would, in blocks linked to each other, until an exception is pending (left there, as by
   * `step`) or about `instructions` were executed. The code must be meant to end in an exception.
   */
  run(instructions: number): void;
}

/** Makes a testbench. The memory that backs the ranges is fresh and zero. */
export function createTestbench(options: TestbenchOptions): Testbench {
  const total = options.ranges.reduce((sum, range) => sum + range.bytes, 0) + TABLE_BYTES;
  const { tier, hotAfter = 1, arenaBytes, maxTranslations } = options;
  const small = {
    ...(arenaBytes !== undefined && { arenaBytes }),
    ...(maxTranslations !== undefined && { maxTranslations }),
  };
  const vm = new WasmVm({ hostMemoryBytes: total + 0x20000, vcpus: 1 }, { tier, hotAfter, ...small });
  const ram = vm.allocate(total);
  vm.setMemoryRegion({
    slot: 0,
    guestPhysical: 0,
    sizeBytes: total,
    hostOffset: ram,
    readonly: false,
    logDirty: false,
  });
  const vcpu = vm.createVcpu(UNCONNECTED);
  const { engine } = vm;

  const tables = new PageTables(new DataView(engine.memory.buffer), ram);
  let physical = TABLE_BYTES;
  const placed = options.ranges.map((range) => {
    tables.map(range, physical);
    const host = ram + physical;
    physical += range.bytes;
    return { ...range, host };
  });

  const registers = vcpu.registers;
  vcpu.setInitialState({ mode: 'long', rip: 0, cr3: 0 });
  // PE MP ET NE WP PG; PAE OSFXSR OSXMMEXCPT OSXSAVE; LME LMA NXE; no SCE: SYSCALL would lead out of CPL 3
  registers.set('cr0', 0x80010033n);
  registers.set('cr4', 0x40620n);
  registers.set('efer', 0xd00n);
  registers.set('xcr0', 7n);
  const { codeSize = 64, codeBase = 0, dataBase = 0 } = options;
  for (const name of ['cs', 'ss', 'ds', 'es', 'fs', 'gs']) {
    const isCode = name === 'cs';
    registers.set(name, isCode ? 0x33n : 0x2bn);
    registers.set(`${name}.attr`, isCode ? CODE_ATTR[codeSize] : codeSize === 16 ? 0x00f3n : 0xc0f3n);
    if (codeSize !== 16) continue;
    registers.set(`${name}.base`, BigInt(isCode ? codeBase : dataBase));
    registers.set(`${name}.limit`, 0xffffn);
  }
  // Too short for an I/O permission map: all ports are #GP.
  registers.set('tr.limit', 0x65n);
  registers.set('rflags', 0x202n);
  const { i32 } = engine;
  const at = (offset: number): number => (vcpu.cpu + offset) >> 2;
  const findBlock = engine.function('findBlock');
  const loadMxcsr = engine.function('sseLoadMxcsr');
  const runRecord = engine.function('runRecord');
  return {
    memory: engine.memory,
    cpu: vcpu.cpu,
    host(linear) {
      const range = placed.find((r) => linear >= r.linear && linear < r.linear + r.bytes);
      if (range === undefined) throw new RangeError(`nothing is mapped at ${linear}`);
      return range.host + linear - range.linear;
    },
    resetFlags: (rflags = 0x202) => registers.set('rflags', BigInt(rflags)),
    setMxcsr: (value) => void loadMxcsr(vcpu.cpu, value),
    codeChanged: () => engine.cache.dropAll(),
    step(count) {
      for (let i = 0; i < count && (i32[at(L.CPU_EXC)] ?? 0) < 0; i++) vcpu.step();
    },
    // The dispatcher's loop (microcode/dispatch.ts), except that exceptions are not delivered.
    run(instructions) {
      i32[at(L.CPU_EXIT)] = L.EXIT_NONE;
      i32[at(L.CPU_BUDGET)] = instructions;
      i32[at(L.CPU_BUDGET_GRANTED)] = instructions;
      i32[at(L.CPU_LINK_FROM)] = 0;
      while (
        i32[at(L.CPU_EXIT)] === L.EXIT_NONE &&
        (i32[at(L.CPU_EXC)] ?? 0) < 0 &&
        (i32[at(L.CPU_BUDGET)] ?? -1) >= 0
      ) {
        const record = findBlock(vcpu.cpu);
        if (record === 0 && i32[at(L.CPU_SINGLE)] !== 0) {
          // A store to the code of its own block: that instruction runs alone.
          const left = i32[at(L.CPU_BUDGET)] ?? 0;
          vcpu.step();
          i32[at(L.CPU_BUDGET)] = left - 1;
          i32[at(L.CPU_BUDGET_GRANTED)] = instructions;
        } else if (record === 0) {
          engine.cache.decodeBlock(vcpu.cpu);
        }
        if (record < 2) continue;
        const from = i32[at(L.CPU_LINK_FROM)] ?? 0;
        if (from !== 0) i32[(from + L.REC_IMM) >> 2] = record;
        runRecord(vcpu.cpu, record);
        if (i32[at(L.CPU_EXIT)] === L.EXIT_TRANSLATE) {
          i32[at(L.CPU_EXIT)] = L.EXIT_NONE;
          engine.cache.translate(i32[at(L.CPU_EXIT_INFO)] ?? 0, vcpu.cpu);
          engine.cache.installTranslations();
        }
      }
    },
  };
}

/** Present, CPL 3, code; G, D and L by width. */
const CODE_ATTR = { 16: 0x00fbn, 32: 0xc0fbn, 64: 0xa0fbn } as const;
const PAGE = 4096;
/** PML4, PDPT, two page directories' worth of 1 GiB each, and page tables for the ranges. */
const TABLE_BYTES = 0x80000;
const PRESENT_USER = 0x5;
const WRITABLE = 0x2;

/** Four-level page tables at guest physical address 0, accessed and dirty bits set. */
class PageTables {
  private readonly view: DataView;
  private readonly ram: number;
  private top: number = PAGE;

  constructor(view: DataView, ram: number) {
    this.view = view;
    this.ram = ram;
  }

  map(range: TestbenchRange, physical: number): void {
    for (let offset = 0; offset < range.bytes; offset += PAGE) {
      const linear = range.linear + offset;
      let table = 0;
      for (const divisor of [2 ** 39, 2 ** 30, 2 ** 21]) table = this.next(table, Math.floor(linear / divisor) % 512);
      const flags = PRESENT_USER | (range.writable ? WRITABLE : 0) | 0x60;
      this.view.setUint32(this.ram + table + (Math.floor(linear / PAGE) % 512) * 8, (physical + offset) | flags, true);
    }
  }

  private next(table: number, index: number): number {
    const at = this.ram + table + index * 8;
    const entry = this.view.getUint32(at, true);
    if (entry !== 0) return entry & ~0xfff;
    const fresh = this.top;
    this.top += PAGE;
    if (this.top > TABLE_BYTES) throw new RangeError('the testbench has no room for more page tables');
    this.view.setUint32(at, fresh | PRESENT_USER | WRITABLE | 0x20, true);
    return fresh;
  }
}

/** No devices: ports and unmapped memory read as all ones. */
const UNCONNECTED: VcpuBus = {
  ioIn: (_port, bytes) => (bytes === 4 ? 0xffffffff : (1 << (bytes * 8)) - 1),
  ioOut: () => undefined,
  mmioRead: (_gpa, bytes) => (bytes === 4 ? 0xffffffff : (1 << (bytes * 8)) - 1),
  mmioWrite: () => undefined,
  readMsr: () => undefined,
  writeMsr: () => false,
  cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }),
  tsc: () => 0,
  random32: () => 0x5eed,
  acknowledgeInterrupt: () => -1,
};
