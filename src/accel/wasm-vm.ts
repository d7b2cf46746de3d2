/** The accelerators `jit` and `interp`: a VM whose vCPUs are executed by generated WebAssembly (src/cpu). */
import type { CodeStatistics } from '../cpu/code-events.ts';
import { Engine, type HostImports } from '../cpu/engine.ts';
import * as L from '../cpu/layout.ts';
import { microcodeModule } from '../cpu/microcode-binary.ts';
import type { SemanticsTable } from '../cpu/x86/semantics/context.ts';
import type { Accelerator, MemoryRegion, VcpuBus, Vm, VmOptions } from './contract.ts';
import { WasmVcpu } from './wasm-vcpu.ts';

const PAGE = 4096;
/** Pages whose bits fit the smallest piece of memory. */
const DIRTY_BITMAP_PAGES = 0x10000 * 8;
const CR4_OSXSAVE = 0x40000;
const CR4_PKE = 0x400000;
/** By MMU_* (layout.ts). */
const MMU_EVENTS = ['fill', 'fault', 'flush', 'drop-page'] as const;

export interface WasmAcceleratorOptions {
  readonly tier: 'interp' | 'jit';
  /** Entries into a block before it is translated (tier `jit`); 1 = at once, and single steps are translated too. */
  readonly hotAfter?: number;
  /** Room for decoded code and number of translations (EngineOptions): small in tests. */
  readonly arenaBytes?: number;
  readonly maxTranslations?: number;
  /** Definitions for tier 1 (EngineOptions), in tests. */
  readonly translated?: SemanticsTable;
  /** Deterministic: `run` executes exactly what it is granted, and what the guest sees does not depend on the tier. */
  readonly exact?: boolean;
}

export function wasmAccelerator(options: WasmAcceleratorOptions): Accelerator {
  return { name: options.tier, createVm: (vm) => new WasmVm(vm, options) };
}

export class WasmVm implements Vm {
  readonly engine: Engine;
  readonly memory: WebAssembly.Memory;
  private readonly vcpus: WasmVcpu[] = [];
  private readonly limit: number;
  private readonly forced: boolean;
  private readonly exact: boolean;
  private readonly slots = new Map<number, MemoryRegion>();

  constructor(options: VmOptions, accelerator: WasmAcceleratorOptions) {
    this.limit = options.vcpus;
    this.exact = accelerator.exact === true;
    this.forced = accelerator.tier === 'jit' && accelerator.hotAfter === 1;
    this.engine = new Engine({
      ...accelerator,
      microcode: microcodeModule(),
      vcpus: options.vcpus,
      hostMemoryBytes: options.hostMemoryBytes,
      host: this.imports(),
      onDecoded: (insns, cpu) => this.at(cpu).observer.decoded?.(insns),
      wantsDecoded: () => this.vcpus.some((vcpu) => vcpu.observer.decoded !== undefined),
    });
    this.memory = this.engine.memory;
  }

  allocate(sizeBytes: number): number {
    return this.engine.allocate(sizeBytes);
  }

  setMemoryRegion(region: MemoryRegion): void {
    if (region.sizeBytes === 0) this.slots.delete(region.slot);
    else this.slots.set(region.slot, region);
    if (this.slots.size > L.MAX_SLOTS) throw new RangeError(`more than ${L.MAX_SLOTS} memory regions`);
    const { i32 } = this.engine;
    let at = L.MACHINE_SLOTS >> 2;
    for (const { slot, guestPhysical, sizeBytes, hostOffset, readonly, logDirty } of this.slots.values()) {
      i32.fill(0, at, at + L.SLOT_SIZE / 4);
      i32[at + L.SLOT_FIRST_PAGE / 4] = Math.floor(guestPhysical / PAGE);
      i32[at + L.SLOT_PAGES / 4] = sizeBytes / PAGE;
      i32[at + L.SLOT_HOST / 4] = hostOffset;
      i32[at + L.SLOT_FLAGS / 4] = (readonly ? L.SLOT_READONLY : 0) | (logDirty ? L.SLOT_LOG_DIRTY : 0);
      if (logDirty) i32[at + L.SLOT_DIRTY_BITMAP / 4] = this.dirtyBitmap(slot, sizeBytes / PAGE);
      at += L.SLOT_SIZE / 4;
    }
    i32[L.MACHINE_SLOT_COUNT >> 2] = this.slots.size;
    this.mappingChanged();
  }

  /** Calls back for each page of regions with `logDirty` that was written since the last call; gives its place in the memory. */
  takeDirty(page: (hostOffset: number, guestPhysical: number) => void): void {
    const { bytes, i32 } = this.engine;
    for (const { slot, guestPhysical, sizeBytes, hostOffset, logDirty } of this.slots.values()) {
      if (!logDirty) continue;
      const from = this.dirtyBitmap(slot, sizeBytes / PAGE);
      const words = Math.ceil(sizeBytes / PAGE / 32);
      for (let word = 0; word < words; word++) {
        if (i32[(from >> 2) + word] === 0) continue;
        for (let bit = 0; bit < 32; bit++) {
          const offset = (word * 32 + bit) * PAGE;
          if ((((bytes[from + word * 4 + (bit >> 3)] ?? 0) >> (bit & 7)) & 1) !== 0)
            page(hostOffset + offset, guestPhysical + offset);
        }
        i32[(from >> 2) + word] = 0;
      }
    }
    // Entries that let stores to pages noted already go by would hide the next ones.
    for (const vcpu of this.vcpus) this.engine.call('resetTlb', vcpu.cpu);
  }

  private readonly bitmaps = new Map<number, { readonly at: number; readonly pages: number }>();

  private dirtyBitmap(slot: number, pages: number): number {
    const known = this.bitmaps.get(slot);
    if (known !== undefined && known.pages >= pages) return known.at;
    const at = this.engine.allocate(Math.ceil(pages / 32) * 4);
    this.bitmaps.set(slot, { at, pages: Math.max(pages, DIRTY_BITMAP_PAGES) });
    return at;
  }

  createVcpu(bus: VcpuBus): WasmVcpu {
    if (this.vcpus.length === this.limit) throw new RangeError(`this VM was made for ${this.limit} vCPUs`);
    const vcpu = new WasmVcpu(this.engine, this.vcpus.length, bus, this.forced, this.exact);
    this.vcpus.push(vcpu);
    return vcpu;
  }

  memoryWritten(guestPhysical: number, sizeBytes: number): void {
    this.engine.cache.invalidate(guestPhysical, sizeBytes);
  }

  setA20(enabled: boolean): void {
    this.engine.setA20(enabled);
    this.mappingChanged();
  }

  codeStatistics(): CodeStatistics {
    return this.engine.cache.statistics();
  }

  close(): void {
    this.vcpus.length = 0;
  }

  private mappingChanged(): void {
    this.engine.cache.dropAll();
    for (const vcpu of this.vcpus) this.engine.call('resetTlb', vcpu.cpu);
  }

  /** The vCPU whose state is at `cpu`. */
  private at(cpu: number): WasmVcpu {
    const vcpu = this.vcpus[(cpu - L.FIRST_VCPU) / L.CPU_STRIDE];
    if (vcpu === undefined) throw new Error(`no vCPU at ${cpu}`);
    return vcpu;
  }

  private imports(): HostImports {
    const put = (cpu: number, offset: number, value: number): void => {
      this.engine.i32[(cpu + offset) >> 2] = value;
    };
    const take = (cpu: number, offset: number): number => (this.engine.i32[(cpu + offset) >> 2] ?? 0) >>> 0;
    const address = (low: number, high: number): number => (low >>> 0) + (high >>> 0) * 4294967296;
    return {
      mmioRead: (cpu, low, high, bytes) => {
        const { bus } = this.at(cpu);
        const gpa = address(low, high);
        put(cpu, L.CPU_HOST_DATA, bus.mmioRead(gpa, Math.min(bytes, 4)));
        put(cpu, L.CPU_HOST_DATA + 4, bytes === 8 ? bus.mmioRead(gpa + 4, 4) : 0);
      },
      mmioWrite: (cpu, low, high, bytes) => {
        const { bus } = this.at(cpu);
        const gpa = address(low, high);
        bus.mmioWrite(gpa, Math.min(bytes, 4), take(cpu, L.CPU_HOST_DATA));
        if (bytes === 8) bus.mmioWrite(gpa + 4, 4, take(cpu, L.CPU_HOST_DATA + 4));
      },
      ioIn: (cpu, port, bytes) => this.at(cpu).bus.ioIn(port, bytes),
      ioOut: (cpu, port, bytes, value) => this.at(cpu).bus.ioOut(port, bytes, value >>> 0),
      codeWritten: (cpu, low, high, bytes) => {
        if (!this.engine.cache.invalidate(address(low, high), bytes) || this.at(cpu).single) return 0;
        put(cpu, L.CPU_SINGLE, 1);
        return 1;
      },
      hostMsr: (cpu, msr, write) => {
        const { bus } = this.at(cpu);
        if (write) return bus.writeMsr(msr >>> 0, take(cpu, L.CPU_SCRATCH), take(cpu, L.CPU_SCRATCH + 4)) ? 0 : 1;
        const value = bus.readMsr(msr >>> 0);
        if (value === undefined) return 1;
        put(cpu, L.CPU_SCRATCH, value.low);
        put(cpu, L.CPU_SCRATCH + 4, value.high);
        return 0;
      },
      hostCpuid: (cpu) => {
        const cr4 = take(cpu, L.CPU_CR4);
        const state = { osxsave: (cr4 & CR4_OSXSAVE) !== 0, ospke: (cr4 & CR4_PKE) !== 0, xcr0: take(cpu, L.CPU_XCR0) };
        const answer = this.at(cpu).bus.cpuid(take(cpu, L.CPU_SCRATCH), take(cpu, L.CPU_SCRATCH + 4), state);
        const { eax, ebx, ecx, edx } = answer;
        [eax, ebx, ecx, edx].forEach((value, i) => put(cpu, L.CPU_SCRATCH + i * 4, value));
      },
      hostTsc: (cpu) => {
        const ticks = this.at(cpu).bus.tsc();
        put(cpu, L.CPU_SCRATCH, ticks | 0);
        put(cpu, L.CPU_SCRATCH + 4, Math.floor(ticks / 4294967296));
      },
      tprWritten: (cpu) => this.at(cpu).bus.writeTpr?.(take(cpu, L.CPU_CR8)),
      mmuEvent: (cpu, what, va, pa, rights) => {
        const name = MMU_EVENTS[what];
        const linear = BigInt.asUintN(64, va);
        if (name !== undefined) this.at(cpu).observer.mmu?.({ what: name, linear, physical: pa, rights });
      },
      hostRandom: (cpu) => {
        const { bus } = this.at(cpu);
        put(cpu, L.CPU_SCRATCH, bus.random32());
        put(cpu, L.CPU_SCRATCH + 4, bus.random32());
      },
    };
  }
}
