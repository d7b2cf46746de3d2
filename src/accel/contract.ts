/**
 * The accelerator contract: what the machine above asks of whoever executes guest code. It is KVM's, made TypeScript.
 *
 * `createVm → setMemoryRegion → createVcpu → run() → exit`. Implementations: `jit` and `interp` (wasm-vm.ts). Port and MMIO
 * accesses reach the machine through `VcpuBus` while `run` is under way, synchronously, so that a device register costs a
 * function call; they are counted like exits. Nothing above this line knows which implementation runs.
 */
import type { CodeEvent, CodeStatistics } from '../cpu/code-events.ts';
import type { CpuidResult } from '../cpu/x86/cpuid.ts';
import type { Insn } from '../cpu/x86/decode/insn.ts';

/** A range of guest physical memory backed by host memory: KVM_SET_USER_MEMORY_REGION. */
export interface MemoryRegion {
  /** Slot number; setting it again moves or (with `sizeBytes` 0) removes the region. */
  readonly slot: number;
  readonly guestPhysical: number;
  readonly sizeBytes: number;
  /** Byte offset in `Vm.memory`, as `Vm.allocate` gave it, page-aligned. */
  readonly hostOffset: number;
  /** Guest writes become MMIO writes. */
  readonly readonly: boolean;
  readonly logDirty: boolean;
}

/** The machine as a vCPU sees it. Values are numbers up to 32 bits; 64-bit ones come as two halves. */
export interface VcpuBus {
  ioIn(port: number, bytes: number): number;
  ioOut(port: number, bytes: number, value: number): void;
  /** `bytes` 1, 2 or 4; wider accesses come in two. */
  mmioRead(guestPhysical: number, bytes: number): number;
  mmioWrite(guestPhysical: number, bytes: number, value: number): void;
  /** MSRs outside the CPU proper (APIC, paravirtual clock). Undefined: no such register (#GP). */
  readMsr(msr: number): { low: number; high: number } | undefined;
  /** False: no such register, or a value it refuses (#GP). */
  writeMsr(msr: number, low: number, high: number): boolean;
  cpuid(
    leaf: number,
    subleaf: number,
    state: { readonly osxsave: boolean; readonly ospke: boolean; readonly xcr0: number },
  ): CpuidResult;
  /** Time stamp counter's source, ticks, as a number below 2^53. */
  tsc(): number;
  /** 32 random bits, for RDRAND and RDSEED. */
  random32(): number;
  /** Vector of the interrupt that is to be delivered now, acknowledging it; -1 when the request went away. */
  acknowledgeInterrupt(): number;
  /**
   * VMCALL or VMMCALL at CPL 0: the number of RAX; the low and high 32 bits of RBX, RCX, RDX and RSI; whether from 64-bit code.
   * What it returns goes to RAX. Without it no hypercall is known.
   */
  hypercall?(number: number, args: Uint32Array, long: boolean): number;
  /** CR8 as the local APIC keeps it. */
  readTpr?(): number;
  writeTpr?(value: number): void;
}

/** Why `run` came back. */
export type VmExit =
  /** The instruction budget is used up or attention was asked for. */
  | { readonly reason: 'budget' }
  | { readonly reason: 'halted' }
  /** Triple fault. */
  | { readonly reason: 'shutdown' }
  | { readonly reason: 'debug' }
  | { readonly reason: 'internal-error'; readonly message: string };

/** Registers by their SDM names, as bigints; for debuggers, boot and tests. */
export interface RegisterFile {
  get(name: string): bigint;
  set(name: string, value: bigint): void;
}

/** Starting state that a boot protocol asks for. Everything not named is as after reset. */
export interface InitialState {
  readonly mode: 'real' | 'protected' | 'long';
  readonly rip: number;
  /** General registers by lower-case 64-bit name (`rsi`) or 32-bit name (`eax`). */
  readonly registers?: Readonly<Record<string, number>>;
  /** Required for long mode: physical address of the PML4. */
  readonly cr3?: number;
  /** Selectors to load with flat descriptors. */
  readonly codeSelector?: number;
  readonly dataSelector?: number;
  readonly gdt?: { readonly base: number; readonly limit: number };
}

/** What the TLB did. */
export interface MmuEvent {
  readonly what: 'fill' | 'fault' | 'flush' | 'drop-page';
  readonly linear: bigint;
  /** Of a fill: where the page lies. */
  readonly physical: bigint;
  /** Fill: bits read, write, execute, global, 2 or 4 MiB, 1 GiB. Fault: the error code. Flush: 1 = global pages stay. */
  readonly rights: number;
}

/** Who watches a vCPU. Each one given slows the guest down. */
export interface VcpuObserver {
  /** An exception is about to be delivered; the registers are those of the instruction that raised it. */
  exception?(vector: number, errorCode: number): void;
  interrupt?(vector: number): void;
  /** A block of code is entered at `rip`. */
  block?(rip: bigint): void;
  /** Instructions were decoded at the present rip. The array is the caller's. */
  decoded?(insns: readonly Insn[]): void;
  /** The TLB was filled or flushed, or a page fault found. Must not touch the vCPU. */
  mmu?(event: MmuEvent): void;
  /** Code was translated, compiled or thrown away. Costs nothing measurable. Must not touch the vCPU. */
  code?(event: CodeEvent): void;
}

/** Where a vCPU stands, for a profiler. Addresses are linear and sign-extended: those of a 64-bit kernel are negative. */
export interface VcpuPlace {
  readonly rip: number;
  readonly stackPointer: number;
  readonly framePointer: number;
  readonly privilegeLevel: number;
  /** Bits an address has in the code that runs: 16, 32 or 64. */
  readonly codeBits: 16 | 32 | 64;
  /** IA-32e mode, whatever code runs in it. */
  readonly longMode: boolean;
  /** Physical address of the page tables. */
  readonly pageTables: number;
  /** Where the guest's kernel is entered, as SYSCALL, SYSENTER and the page fault gate tell; 0 = not set up. */
  readonly syscallEntry: number;
  readonly sysenterEntry: number;
  readonly interruptTable: number;
}

export interface Vcpu {
  readonly index: number;
  readonly registers: RegisterFile;
  /** Runs at most about `instructions` instructions. */
  run(instructions: number): VmExit;
  /** Makes the present or next `run` come back as soon as the current block is done. */
  requestAttention(): void;
  /** Level of the interrupt request line from the interrupt controllers. */
  setInterruptRequest(active: boolean): void;
  raiseNmi(): void;
  observe(observer: VcpuObserver): void;
  /** Linear address of the page fault that is about to be delivered. */
  faultAddress(): bigint;
  /** What the guest added to the time stamp counter's source. */
  readonly tscOffset: number;
  reset(): void;
  setInitialState(state: InitialState): void;
  /** Instructions executed since creation. */
  readonly instructionCount: number;
  /** Exits and events by name since creation. */
  exitCounts(): Readonly<Record<string, number>>;
  /** Of `instructionCount`, what the interpreter executed. */
  readonly interpretedCount: number;
  /** Of `instructionCount`, iterations of repeated string instructions. What is neither was executed by translations. */
  readonly stringIterations: number;
  /** Host time spent on decoding, generating and compiling code, nanoseconds. */
  readonly codeNs: number;
  /** External interrupts delivered, by vector. */
  interruptCounts(): ReadonlyMap<number, number>;
  place(): VcpuPlace;
  /**
   * Reads guest memory at a linear address (as in VcpuPlace) as the page tables at `pageTables`, or those in use, map it. Nothing
   * is changed by it: no accessed bit, no TLB entry. Gives how many bytes could be read from the first one on.
   */
  peek(linear: number, into: Uint8Array, pageTables?: number): number;
}

export interface Vm {
  readonly memory: WebAssembly.Memory;
  /** Host memory for RAM or ROM: zeroed, 64 KiB aligned, committed when touched. */
  allocate(sizeBytes: number): number;
  setMemoryRegion(region: MemoryRegion): void;
  createVcpu(bus: VcpuBus): Vcpu;
  /** A device wrote guest memory behind the vCPUs' back: decoded code there is dropped. */
  memoryWritten(guestPhysical: number, sizeBytes: number): void;
  /** Physical address bit 20 (the A20 gate). */
  setA20(enabled: boolean): void;
  codeStatistics(): CodeStatistics;
  close(): void;
}

export interface VmOptions {
  /** Most that `allocate` will be asked for altogether. */
  readonly hostMemoryBytes: number;
  readonly vcpus: number;
}

export interface Accelerator {
  readonly name: string;
  createVm(options: VmOptions): Vm;
}
