/**
 * A vCPU executed by generated WebAssembly: grants instruction budgets, decodes what the dispatcher finds undecoded, and
 * injects interrupts at block boundaries.
 */
import type { Engine, MicrocodeFunction } from '../cpu/engine.ts';
import { MAX_INSNS } from '../cpu/jit/region.ts';
import * as L from '../cpu/layout.ts';
import { absentFeatures } from './absent-features.ts';
import type {
  InitialState, RegisterFile, Vcpu, VcpuBus, VcpuObserver, VcpuPlace, VmExit,
} from './contract.ts'; // prettier-ignore
import { LinearReader } from './linear-reader.ts';
import { StateRegisters, applyInitialState } from './registers.ts';

/** Numbers of general registers. */
const RSP = 4;
const RBP = 5;
const EFER_LMA = 0x400;
/** RFLAGS.IF */
const RFLAGS_IF = 0x200;
/** Kinds of `deliverInterrupt` (microcode/exceptions.ts). */
const KIND_EXTERNAL = 0;
const KIND_NMI = 1;
const NMI_VECTOR = 2;
/** Signature in EDX after reset: family, model, stepping as CPUID leaf 1 tells. */
const RESET_SIGNATURE = 0x00000663;
/** Errors of hypercalls: no permission, no such call. */
const KVM_EPERM = 1;
const KVM_ENOSYS = 1000;
/** RBX RCX RDX RSI */
const HYPERCALL_ARGUMENTS = [3, 1, 2, 6] as const;
/** How long a hot block goes on in tier 0 while others join its module. */
const PATIENCE_INSNS = 200_000;
const MAX_GRANT = 0x3fffffff;
/** Nothing generated runs further than this before it looks at the budget: a region's instructions, and those of one that it jumps to. */
export const MAX_OVERRUN: number = 2 * MAX_INSNS;

const EXIT_NAMES: Readonly<Record<number, string>> = {
  [L.EXIT_BUDGET]: 'budget',
  [L.EXIT_DECODE]: 'decode',
  [L.EXIT_HLT]: 'hlt',
  [L.EXIT_SHUTDOWN]: 'shutdown',
  [L.EXIT_IO_IN]: 'io-in',
  [L.EXIT_IO_OUT]: 'io-out',
  [L.EXIT_MMIO_READ]: 'mmio-read',
  [L.EXIT_MMIO_WRITE]: 'mmio-write',
  [L.EXIT_HYPERCALL]: 'hypercall',
  [L.EXIT_DEBUG]: 'debug',
  [L.EXIT_MWAIT]: 'mwait',
  [L.EXIT_EXCEPTION]: 'exception',
  [L.EXIT_INTERRUPT]: 'interrupt',
  [L.EXIT_MSR]: 'msr',
  [L.EXIT_CPUID]: 'cpuid',
  [L.EXIT_PAUSE]: 'pause',
  [L.EXIT_TRANSLATE]: 'translate',
  [L.STAT_TLB_FILL]: 'tlb-fill',
  [L.STAT_TLB_FLUSH]: 'tlb-flush',
  [L.STAT_CODE_INVALIDATION]: 'code-invalidation',
  [L.STAT_BLOCK_LOOKUP]: 'block-lookup',
};

/** A vCPU's state between two instructions. */
export interface VcpuSnapshot {
  readonly executed: number;
  readonly halted: boolean;
  readonly state: Uint8Array;
}

export class WasmVcpu implements Vcpu {
  readonly index: number;
  readonly bus: VcpuBus;
  readonly registers: RegisterFile;
  /** Base address of the state in the engine's memory. */
  readonly cpu: number;
  /** A single instruction is running on its own: stores to its page's code go through. */
  single = false;
  private readonly engine: Engine;
  private readonly i32: Int32Array;
  private readonly runFrom: MicrocodeFunction;
  private readonly runRecord: MicrocodeFunction;
  private readonly findBlock: MicrocodeFunction;
  private readonly deliverInterrupt: MicrocodeFunction;
  private readonly deliverException: MicrocodeFunction;
  private translateSteps: boolean;
  /** How far `run` goes at a time, for lock-step verification. */
  private pace: 'free' | 'pass' | 'step' = 'free';
  private readonly exact: boolean;
  private readonly reader: LinearReader;
  private executed = 0;
  private interpreted = 0;
  private repeated = 0;
  /** External interrupts delivered, by vector. */
  private readonly vectors = new Float64Array(256);
  /** Instructions until waiting translations are compiled. */
  private patience = PATIENCE_INSNS;
  private running = false;
  private attention = false;
  private halted = false;
  observer: VcpuObserver = {};

  /**
   * `translateSteps`: single steps go through tier 1 as well, so that tests reach it however cold the code is. `exact`: `run` executes
   * exactly what it is granted, and devices, clocks and interrupts come at instructions that depend on the guest alone.
   */
  constructor(engine: Engine, index: number, bus: VcpuBus, translateSteps = false, exact = false) {
    this.translateSteps = translateSteps;
    this.exact = exact;
    this.engine = engine;
    this.index = index;
    this.bus = bus;
    this.cpu = L.FIRST_VCPU + index * L.CPU_STRIDE;
    this.i32 = engine.i32;
    this.runFrom = engine.function('run');
    this.runRecord = engine.function('runRecord');
    this.findBlock = engine.function('findBlock');
    this.deliverInterrupt = engine.function('deliverInterrupt');
    this.deliverException = engine.function('deliverException');
    this.registers = new StateRegisters(engine, this.cpu);
    this.reader = new LinearReader(engine.memory, this.cpu);
    const nothingOn = { osxsave: false, ospke: false, xcr0: 1 };
    const absent = absentFeatures((leaf, subleaf) => bus.cpuid(leaf, subleaf, nothingOn));
    this.set(L.CPU_ABSENT_CR4, absent.cr4);
    this.set(L.CPU_ABSENT, absent.instructions);
    this.set(L.CPU_EXACT, exact ? L.EXACT_TIME | L.EXACT_ALONE : 0);
    this.reset();
  }

  private get(offset: number): number {
    return this.i32[(this.cpu + offset) >> 2] ?? 0;
  }

  private set(offset: number, value: number): void {
    this.i32[(this.cpu + offset) >> 2] = value;
  }

  get instructionCount(): number {
    return this.executed + (this.running ? this.get(L.CPU_BUDGET_GRANTED) - this.get(L.CPU_BUDGET) : 0);
  }

  reset(): void {
    this.engine.call('resetCpu', this.cpu, 0, RESET_SIGNATURE);
    this.halted = false;
    this.attention = false;
    this.set(L.CPU_IRQ_PENDING, 0);
    this.set(L.CPU_BUDGET, 0);
    this.set(L.CPU_BUDGET_GRANTED, 0);
    this.set(L.CPU_LINK_FROM, 0);
  }

  setInitialState(state: InitialState): void {
    applyInitialState(this.engine, this.cpu, this.registers, state);
    this.halted = false;
  }

  observe(observer: VcpuObserver): void {
    this.observer = observer;
    const exceptions = observer.exception === undefined ? 0 : L.WATCH_EXCEPTIONS;
    this.set(L.CPU_WATCH, exceptions | (observer.mmu === undefined ? 0 : L.WATCH_MMU));
    this.engine.cache.onCode = observer.code === undefined ? undefined : (event) => observer.code?.(event);
  }

  faultAddress(): bigint {
    const at = (this.cpu + L.CPU_EXC_CR2) >> 2;
    return (BigInt((this.i32[at + 1] ?? 0) >>> 0) << 32n) | BigInt((this.i32[at] ?? 0) >>> 0);
  }

  get tscOffset(): number {
    return (this.get(L.CPU_TSC_OFFSET) >>> 0) + this.get(L.CPU_TSC_OFFSET + 4) * 4294967296;
  }

  requestAttention(): void {
    this.attention = true;
    if (this.running) this.endGrant();
  }

  /** Makes the budget negative without changing what it says was executed. */
  private endGrant(): void {
    const done = this.get(L.CPU_BUDGET_GRANTED) - this.get(L.CPU_BUDGET);
    this.set(L.CPU_BUDGET_GRANTED, done - 1);
    this.set(L.CPU_BUDGET, -1);
  }

  setInterruptRequest(active: boolean): void {
    if (active) {
      Atomics.or(this.i32, (this.cpu + L.CPU_IRQ_PENDING) >> 2, L.IRQ_INTR);
      if (this.running && (this.get(L.CPU_RFLAGS) & RFLAGS_IF) !== 0) this.endGrant();
    } else {
      Atomics.and(this.i32, (this.cpu + L.CPU_IRQ_PENDING) >> 2, ~L.IRQ_INTR);
    }
  }

  raiseNmi(): void {
    Atomics.or(this.i32, (this.cpu + L.CPU_IRQ_PENDING) >> 2, L.IRQ_NMI);
    if (this.running) this.endGrant();
  }

  run(instructions: number): VmExit {
    let remaining = Math.max(1, Math.min(instructions, MAX_GRANT));
    this.attention = false;
    this.running = true;
    try {
      for (;;) {
        if (this.injectInterrupt()) this.halted = false;
        if (this.halted) return { reason: 'halted' };
        if (remaining <= 0 || this.attention) return { reason: 'budget' };
        const before = this.executed;
        const exit = this.mustStepAlone() || this.mustRepeat() ? this.step() : this.runSome(remaining);
        remaining -= this.executed - before;
        if (this.exact && remaining < 0 && this.pace === 'free') {
          return { reason: 'internal-error', message: `${-remaining} instructions more were executed than granted` };
        }
        this.patience -= this.executed - before;
        switch (exit) {
          case L.EXIT_NONE:
          case L.EXIT_BUDGET:
            break;
          case L.EXIT_DECODE:
            this.decode();
            break;
          case L.EXIT_EXCEPTION:
            this.observer.exception?.(this.get(L.CPU_EXC), this.get(L.CPU_EXC_ERROR));
            this.deliverException(this.cpu);
            if (this.get(L.CPU_EXIT) === L.EXIT_SHUTDOWN) return { reason: 'shutdown' };
            break;
          case L.EXIT_TRANSLATE:
            this.engine.cache.translate(this.get(L.CPU_EXIT_INFO), this.cpu);
            break;
          case L.EXIT_HLT:
          case L.EXIT_MWAIT:
            // The instruction that ends an interrupt shadow has been executed: it is the one that halts.
            this.set(L.CPU_INT_SHADOW, 0);
            this.halted = this.get(L.CPU_EXC) < 0; // a single-step trap wakes it at once
            break;
          case L.EXIT_SHUTDOWN:
            return { reason: 'shutdown' };
          case L.EXIT_DEBUG:
            return { reason: 'debug' };
          case L.EXIT_HYPERCALL:
            this.answerHypercall();
            break;
          default:
            return { reason: 'internal-error', message: `exit ${exit}, information ${this.get(L.CPU_EXIT_INFO)}` };
        }
      }
    } finally {
      this.running = false;
    }
  }

  /** Translations that wait for company are compiled soon, however long the budget. */
  private grant(instructions: number): number {
    const { cache } = this.engine;
    if (cache.waitingTranslations === 0) return instructions;
    if (this.patience <= 0) cache.installTranslations();
    this.patience = cache.waitingTranslations === 0 ? PATIENCE_INSNS : this.patience;
    return cache.waitingTranslations === 0 ? instructions : Math.min(instructions, this.patience);
  }

  private runSome(instructions: number): number {
    if (this.pace === 'pass') return this.runGranted(0);
    if (this.pace === 'step' && this.get(L.CPU_EXC) < 0) return this.step();
    if (!this.exact) return this.runGranted(this.grant(instructions));
    if (instructions > MAX_OVERRUN) return this.runGranted(this.grant(instructions - MAX_OVERRUN));
    return this.runBlock(instructions);
  }

  /** Runs one block in tier 0, at most so many instructions of it; gives the exit. */
  private runBlock(most: number): number {
    this.set(L.CPU_LINK_FROM, 0);
    if (this.get(L.CPU_EXC) >= 0) {
      this.count(L.EXIT_EXCEPTION);
      return L.EXIT_EXCEPTION;
    }
    this.set(L.CPU_EXIT, L.EXIT_NONE);
    // Below 0: no jump goes on to another block, and STI ends the block.
    this.set(L.CPU_BUDGET, -1);
    this.set(L.CPU_BUDGET_GRANTED, -1);
    const found = this.findBlock(this.cpu);
    if (found === 0) return L.EXIT_DECODE;
    if (found > 1) {
      const { cache } = this.engine;
      const record = cache.interpreted(found, most) ?? cache.decodeBlock(this.cpu, most);
      if (record !== 0) this.runRecord(this.cpu, record);
      this.set(L.CPU_LINK_FROM, 0);
    }
    return this.collect();
  }

  /** Runs with a budget; gives the exit. */
  private runGranted(instructions: number): number {
    // Watched block by block, a budget of 0 ends at the first block's end.
    const grant = this.observer.block === undefined ? instructions : 0;
    this.observer.block?.(this.registers.get('rip'));
    this.set(L.CPU_BUDGET, grant);
    this.set(L.CPU_BUDGET_GRANTED, grant);
    this.set(L.CPU_EXIT, L.EXIT_NONE);
    this.runFrom(this.cpu);
    return this.collect();
  }

  /** Adds up what the grant executed, and gives the exit. */
  private collect(): number {
    this.executed += this.get(L.CPU_BUDGET_GRANTED) - this.get(L.CPU_BUDGET);
    this.interpreted += this.get(L.CPU_TIER0_INSNS) >>> 0;
    this.set(L.CPU_TIER0_INSNS, 0);
    this.repeated += this.get(L.CPU_STRING_WORK) >>> 0;
    this.set(L.CPU_STRING_WORK, 0);
    this.set(L.CPU_BUDGET, 0);
    this.set(L.CPU_BUDGET_GRANTED, 0);
    const exit = this.get(L.CPU_EXIT);
    this.set(L.CPU_EXIT, L.EXIT_NONE);
    this.count(exit);
    return exit;
  }

  private count(event: number): void {
    const at = (this.cpu + L.CPU_EXIT_COUNTS + event * 8) >> 2;
    const low = ((this.i32[at] ?? 0) + 1) | 0;
    this.i32[at] = low;
    if (low === 0) this.i32[at + 1] = (this.i32[at + 1] ?? 0) + 1;
  }

  /** The dispatcher found nothing decoded at CPU_RIP and left the physical address in the scratch area. */
  private decode(): void {
    // The instruction that is to run alone is decoded when its turn comes.
    if (this.get(L.CPU_SINGLE) !== 0) return;
    const { cache } = this.engine;
    const startMs = performance.now();
    cache.decodeBlock(this.cpu);
    cache.counts.decodeMs += performance.now() - startMs;
  }

  /** After STI and MOV SS one instruction runs before a pending interrupt is looked at again. */
  private mustStepAlone(): boolean {
    if (this.get(L.CPU_INT_SHADOW) === 0) return false;
    this.set(L.CPU_INT_SHADOW, 0);
    return this.get(L.CPU_IRQ_PENDING) !== 0 && this.get(L.CPU_EXC) < 0;
  }

  /** The last instruction was left undone to be executed on its own. */
  private mustRepeat(): boolean {
    return this.get(L.CPU_SINGLE) !== 0 && this.get(L.CPU_EXC) < 0;
  }

  /**
   * As `run` for one instruction at least, but as far as generated code goes before it looks at its budget (`pass`), or for one
   * instruction that is translated by itself (`step`).
   */
  runPaced(pace: 'pass' | 'step'): VmExit {
    const { translateSteps } = this;
    this.pace = pace;
    this.translateSteps = true;
    const exit = this.run(1);
    this.translateSteps = translateSteps;
    this.pace = 'free';
    return exit;
  }

  get isHalted(): boolean {
    return this.halted;
  }

  /** The state that this vCPU begins a slice with. */
  snapshot(): VcpuSnapshot {
    const { executed, halted, cpu } = this;
    return { executed, halted, state: this.engine.bytes.slice(cpu, cpu + L.CPU_EXIT_COUNTS) };
  }

  restore({ executed, halted, state }: VcpuSnapshot): void {
    this.engine.bytes.set(state, this.cpu);
    this.executed = executed;
    this.halted = halted;
    this.attention = false;
    this.engine.call('resetTlb', this.cpu);
    this.engine.call('updateMode', this.cpu);
  }

  /** Executes one instruction, decoded for this once. Gives the exit. A pending exception stays pending. */
  step(): number {
    this.set(L.CPU_SINGLE, 1);
    this.set(L.CPU_EXIT, L.EXIT_NONE);
    this.set(L.CPU_BUDGET, 0);
    this.set(L.CPU_BUDGET_GRANTED, 0);
    const found = this.findBlock(this.cpu);
    const record = found === 0 ? this.engine.cache.decodeBlock(this.cpu, 1) : 0;
    this.set(L.CPU_SINGLE, 0);
    if (record !== 0) {
      const slot = this.translateSteps ? this.engine.cache.translateSingle(this.cpu) : undefined;
      this.single = true;
      this.set(L.CPU_EXACT, this.get(L.CPU_EXACT) & ~L.EXACT_ALONE);
      this.runRecord(this.cpu, record);
      if (this.exact) this.set(L.CPU_EXACT, L.EXACT_TIME | L.EXACT_ALONE);
      this.single = false;
      if (slot !== undefined) this.engine.cache.releaseTranslation(slot);
    }
    return this.collect();
  }

  private answerHypercall(): void {
    const mode = this.get(L.CPU_MODE);
    const long = (mode & L.MODE_SIZE_MASK) === L.MODE_64;
    const halves = HYPERCALL_ARGUMENTS.flatMap((register) => [
      this.get(L.CPU_GPR + register * 8),
      this.get(L.CPU_GPR + register * 8 + 4),
    ]);
    const privileged = ((mode >> L.MODE_CPL_SHIFT) & 3) === 0;
    const result = !privileged
      ? -KVM_EPERM
      : (this.bus.hypercall?.(this.get(L.CPU_GPR) >>> 0, Uint32Array.from(halves), long) ?? -KVM_ENOSYS);
    this.set(L.CPU_GPR, result);
    this.set(L.CPU_GPR + 4, long && result < 0 ? -1 : 0);
  }

  private injectInterrupt(): boolean {
    const pending = this.get(L.CPU_IRQ_PENDING);
    if (pending === 0 || this.get(L.CPU_EXC) >= 0 || this.get(L.CPU_INT_SHADOW) !== 0) return false;
    // A jump whose target was just decoded must not be linked to the interrupt handler that is entered instead.
    this.set(L.CPU_LINK_FROM, 0);
    if ((pending & L.IRQ_NMI) !== 0 && this.get(L.CPU_NMI_BLOCKED) === 0) {
      Atomics.and(this.i32, (this.cpu + L.CPU_IRQ_PENDING) >> 2, ~L.IRQ_NMI);
      this.deliverInterrupt(this.cpu, NMI_VECTOR, KIND_NMI);
      return true;
    }
    if ((pending & L.IRQ_INTR) === 0 || (this.get(L.CPU_RFLAGS) & RFLAGS_IF) === 0) return false;
    const vector = this.bus.acknowledgeInterrupt();
    if (vector < 0) return false;
    // INVARIANT: a vector is a byte.
    this.vectors[vector]!++;
    this.observer.interrupt?.(vector);
    this.deliverInterrupt(this.cpu, vector, KIND_EXTERNAL);
    return true;
  }

  get interpretedCount(): number {
    return this.interpreted + (this.running ? this.get(L.CPU_TIER0_INSNS) >>> 0 : 0);
  }

  get stringIterations(): number {
    return this.repeated + (this.running ? this.get(L.CPU_STRING_WORK) >>> 0 : 0);
  }

  get codeNs(): number {
    return this.engine.cache.busyMs * 1e6;
  }

  interruptCounts(): ReadonlyMap<number, number> {
    const counts = new Map<number, number>();
    this.vectors.forEach((count, vector) => {
      if (count > 0) counts.set(vector, count);
    });
    return counts;
  }

  place(): VcpuPlace {
    const mode = this.get(L.CPU_MODE);
    const codeBits = ([16, 32, 64] as const)[mode & L.MODE_SIZE_MASK] ?? 64;
    // Outside 64-bit code an address is 32 bits, from its segment's base.
    const address = (offset: number, segment: number): number =>
      codeBits === 64
        ? this.signed(offset)
        : (this.get(offset) + this.get(L.CPU_SEG + segment * L.SEG_SIZE + L.SEG_BASE)) >>> 0;
    return {
      rip: address(L.CPU_RIP, L.CS),
      stackPointer: address(L.CPU_GPR + RSP * 8, L.SS),
      framePointer: address(L.CPU_GPR + RBP * 8, L.SS),
      privilegeLevel: (mode >> L.MODE_CPL_SHIFT) & 3,
      codeBits,
      longMode: (this.get(L.CPU_EFER) & EFER_LMA) !== 0,
      pageTables: this.reader.pageTables,
      syscallEntry: this.signed(L.CPU_LSTAR),
      sysenterEntry: this.signed(L.CPU_SYSENTER_EIP),
      interruptTable: this.signed(L.CPU_IDTR_BASE),
    };
  }

  /** A register of 64 bits as a number; exact for canonical addresses. */
  private signed(offset: number): number {
    return this.get(offset + 4) * 4294967296 + (this.get(offset) >>> 0);
  }

  peek(linear: number, into: Uint8Array, pageTables?: number): number {
    return this.reader.read(linear, into, pageTables);
  }

  exitCounts(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const [event, name] of Object.entries(EXIT_NAMES)) {
      const at = (this.cpu + L.CPU_EXIT_COUNTS + Number(event) * 8) >> 2;
      counts[name] = ((this.i32[at] ?? 0) >>> 0) + (this.i32[at + 1] ?? 0) * 4294967296;
    }
    return counts;
  }
}
