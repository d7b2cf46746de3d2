/**
 * What all vCPUs of one machine share: the memory and its map, microcode, the handler table, decoded code.
 *
 * Memory map: layout.ts for what has fixed places; behind the vCPUs come block hash, code page map, record arena, dispatch maps, then
 * whatever `allocate` hands out (guest RAM, ROM).
 */
import { CodeCache } from './code-cache.ts';
import { type CodeTable, Handlers } from './interp/handlers.ts';
import { DispatchMaps } from './jit/dispatch-maps.ts';
import { Translator } from './jit/translator.ts';
import * as L from './layout.ts';
import type { Insn } from './x86/decode/insn.ts';
import type { SemanticsTable } from './x86/semantics/context.ts';
import { semantics } from './x86/semantics/index.ts';

const WASM_PAGE = 0x10000;
/** Guest physical pages that may hold code: 4 GiB. */
const CODE_PAGES = 0x100000;
/**
 * Entries into a block before tier 1 takes it: about as long in tier 0 as a translation costs. Over a Linux boot 10,000 took a
 * quarter less processor time than 1,000.
 */
const HOT_AFTER = 8000;
const ARENA_BYTES = 40 << 20;
/** So that a block and what comes before it always fit. */
const MIN_ARENA_BYTES = 16 << 10;
/** For the tables of translations with several entries. */
const DISPATCH_MAP_BYTES = 2 << 20;

/** Functions of the microcode by name; parameters are i32 as numbers, i64 as bigints. */
export type MicrocodeFunction = (...args: (number | bigint)[]) => number;

/** What microcode calls; see microcode/host.ts for each. */
export interface HostImports {
  mmioRead(cpu: number, gpaLow: number, gpaHigh: number, bytes: number): void;
  mmioWrite(cpu: number, gpaLow: number, gpaHigh: number, bytes: number): void;
  ioIn(cpu: number, port: number, bytes: number): number;
  ioOut(cpu: number, port: number, bytes: number, value: number): void;
  codeWritten(cpu: number, gpaLow: number, gpaHigh: number, bytes: number): number;
  hostMsr(cpu: number, msr: number, write: number): number;
  hostCpuid(cpu: number): void;
  hostTsc(cpu: number): void;
  hostRandom(cpu: number): void;
  tprWritten(cpu: number): void;
  mmuEvent(cpu: number, what: number, va: bigint, pa: bigint, rights: number): void;
}

export interface EngineOptions {
  readonly microcode: WebAssembly.Module;
  readonly vcpus: number;
  /** Upper bound of what `allocate` gives out. */
  readonly hostMemoryBytes: number;
  readonly host: HostImports;
  /** `interp`: tier 0 only. `jit`: what is entered `hotAfter` times is translated. */
  readonly tier: 'interp' | 'jit';
  /** Default HOT_AFTER; 1 translates everything at once. */
  readonly hotAfter?: number;
  /** Room for decoded records, bytes; small values make tests forget code all the time. */
  readonly arenaBytes?: number;
  /** Most translations kept at once. */
  readonly maxTranslations?: number;
  /** Definitions for tier 1, where a test wants other ones. */
  readonly translated?: SemanticsTable;
  /** Sees every block as it is decoded (`-d in_asm`). */
  readonly onDecoded?: (insns: readonly Insn[], cpu: number) => void;
  /** Whether anybody wants `onDecoded` now. */
  readonly wantsDecoded?: () => boolean;
}

export class Engine implements CodeTable {
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly functions: WebAssembly.ModuleImports;
  readonly handlers: Handlers;
  readonly cache: CodeCache;
  readonly translator: Translator | undefined;
  readonly i32: Int32Array;
  readonly bytes: Uint8Array;
  private readonly microcode: Readonly<Record<string, MicrocodeFunction>>;
  private nextSlot = 1;
  private top: number;
  private readonly end: number;

  constructor(options: EngineOptions) {
    const blockHash = L.FIRST_VCPU + options.vcpus * L.CPU_STRIDE;
    const codePageMap = blockHash + L.BLOCK_HASH_ENTRIES * L.BLOCK_HASH_ENTRY_SIZE;
    const arena = codePageMap + CODE_PAGES;
    const arenaBytes = Math.max(options.arenaBytes ?? ARENA_BYTES, MIN_ARENA_BYTES);
    this.top = align(arena + arenaBytes, WASM_PAGE);
    const maps = arena + ARENA_BYTES;
    this.top = align(maps + DISPATCH_MAP_BYTES, WASM_PAGE);
    const pages = Math.ceil((this.top + options.hostMemoryBytes) / WASM_PAGE) + 1;
    if (pages > 0x10000)
      throw new RangeError(`${options.hostMemoryBytes} bytes of guest memory do not fit a 4 GiB WebAssembly memory`);
    this.end = pages * WASM_PAGE;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.table = new WebAssembly.Table({ element: 'anyfunc', initial: 1024 });
    this.i32 = new Int32Array(this.memory.buffer);
    this.bytes = new Uint8Array(this.memory.buffer);

    this.i32[L.MACHINE_CODE_PAGE_MAP >> 2] = codePageMap;
    this.i32[L.MACHINE_CODE_PAGE_COUNT >> 2] = CODE_PAGES;
    this.i32[L.MACHINE_BLOCK_HASH >> 2] = blockHash;
    this.i32[L.MACHINE_VCPU_COUNT >> 2] = options.vcpus;
    this.setA20(true);

    const instance = new WebAssembly.Instance(options.microcode, {
      env: { memory: this.memory, table: this.table, abort: () => undefined },
      host: { ...options.host },
    });
    // INVARIANT: the microcode exports functions, and its memory under a name that is never called.
    this.microcode = instance.exports as Record<string, MicrocodeFunction>;
    this.functions = { ...this.microcode, dropBlock: (_cpu: number, record: number) => this.cache.dropBlock(record) };
    this.handlers = new Handlers(this, semantics);
    const cpus = Array.from({ length: options.vcpus }, (_, i) => L.FIRST_VCPU + i * L.CPU_STRIDE);
    const onDecoded = options.onDecoded;
    this.translator =
      options.tier === 'jit'
        ? new Translator(this, options.translated ?? semantics, new DispatchMaps(this.bytes, maps, DISPATCH_MAP_BYTES))
        : undefined;
    const hotAfter = options.hotAfter ?? HOT_AFTER;
    this.cache = new CodeCache(
      {
        memory: this.memory,
        arena,
        arenaBytes,
        blockHash,
        codePageMap,
        codePageCount: CODE_PAGES,
        cpus,
        hotAfter,
        maxTranslations: options.maxTranslations ?? Infinity,
      },
      this.handlers,
      {
        codePage: (ppn) => {
          for (const cpu of cpus) this.call('tlbCodePage', cpu, ppn);
        },
        secondPage: (cpu) => this.secondPage(cpu),
        nearPage: (cpu, delta) => this.nearPage(cpu, delta),
        pointer: (cpu, offset) => this.pointer(cpu, offset),
        wantsDecoded: () => onDecoded !== undefined && options.wantsDecoded?.() !== false,
        ...(onDecoded === undefined ? {} : { decoded: onDecoded }),
      },
      this.translator,
    );
  }

  /** Calls a microcode function. */
  call(name: string, ...args: (number | bigint)[]): number {
    const target = this.microcode[name];
    if (target === undefined) throw new Error(`microcode has no function ${name}`);
    return target(...args);
  }

  /** A microcode function for repeated use. */
  function(name: string): MicrocodeFunction {
    const target = this.microcode[name];
    if (target === undefined) throw new Error(`microcode has no function ${name}`);
    return target;
  }

  allocateSlot(): number {
    if (this.nextSlot === this.table.length) this.table.grow(this.table.length);
    return this.nextSlot++;
  }

  /** Zeroed host memory, 64 KiB aligned. */
  allocate(sizeBytes: number): number {
    const start = this.top;
    this.top = align(start + sizeBytes, WASM_PAGE);
    if (this.top > this.end) throw new RangeError(`no room for ${sizeBytes} more bytes of guest memory`);
    return start;
  }

  setA20(enabled: boolean): void {
    this.i32[L.MACHINE_A20_MASK >> 2] = enabled ? -1 : ~(1 << 20);
    this.i32[(L.MACHINE_A20_MASK >> 2) + 1] = -1;
  }

  private nearPage(cpu: number, delta: number): { ppn: number; host: number } | undefined {
    const mode = this.i32[(cpu + L.CPU_MODE) >> 2] ?? 0;
    // With a code segment of its own base or limit only the page at hand is known to be in it.
    if ((mode & L.MODE_FLAT) === 0) return undefined;
    const host = this.call('peekCode', cpu, delta);
    return host === 0 ? undefined : { ppn: this.i32[(cpu + L.CPU_SCRATCH) >> 2] ?? 0, host };
  }

  private pointer(cpu: number, offset: number): number | undefined {
    if (Math.abs(offset) >= 2 ** 31 || this.call('peekPointer', cpu, offset) === 0) return undefined;
    const at = (cpu + L.CPU_SCRATCH) >> 2;
    return (this.i32[at + 1] ?? 0) * 4294967296 + ((this.i32[at] ?? 0) >>> 0);
  }

  private secondPage(cpu: number): { phys: number; host: number } | undefined {
    const view = new DataView(this.memory.buffer);
    const mode = this.i32[(cpu + L.CPU_MODE) >> 2] ?? 0;
    let linear = (view.getBigUint64(cpu + L.CPU_RIP, true) | 0xfffn) + 1n;
    if ((mode & L.MODE_SIZE_MASK) !== L.MODE_64) {
      const base = view.getBigUint64(cpu + L.CPU_SEG + L.CS * L.SEG_SIZE + L.SEG_BASE, true);
      linear = (((view.getBigUint64(cpu + L.CPU_RIP, true) + base) | 0xfffn) + 1n) & 0xffffffffn;
    }
    if (this.call('translateCode', cpu, linear) !== 0) return undefined;
    const phys = view.getUint32(cpu + L.CPU_SCRATCH, true) + view.getUint32(cpu + L.CPU_SCRATCH + 4, true) * 4294967296;
    return { phys, host: view.getUint32(cpu + L.CPU_SCRATCH + 8, true) };
  }
}

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
