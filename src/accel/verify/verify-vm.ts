/**
 * Lock-step verification: an accelerator that runs every slice of instructions twice, by the JIT and by the interpreter, each with its
 * own memory, and compares registers and the pages written after each. Devices are driven once, by the first (`BusLog`). At a
 * difference it goes back to the slice's beginning and forwards in smaller steps until it knows the instruction.
 */
import type { Engine } from '../../cpu/engine.ts';
import type { CodeStatistics } from '../../cpu/code-events.ts';
import { createInsn, decode } from '../../cpu/x86/decode/decoder.ts';
import { formatInsn } from '../../cpu/x86/decode/format.ts';
import type {
  Accelerator, InitialState, MemoryRegion, RegisterFile, Vcpu, VcpuBus, VcpuObserver, VcpuPlace, Vm, VmExit, VmOptions,
} from '../contract.ts'; // prettier-ignore
import type { VcpuSnapshot, WasmVcpu } from '../wasm-vcpu.ts';
import { WasmVm, type WasmAcceleratorOptions } from '../wasm-vm.ts';
import { BusLog } from './bus-log.ts';
import { registersText, stateDifferences } from './cpu-state.ts';

const PAGE = 4096;
/** Instructions between two comparisons. */
const SLICE = 250_000;
/** Host memory for the bitmaps of written pages. */
const BITMAP_BYTES = 16 << 20;
/** Host memory smaller than this is taken over whole when the guest starts: ROMs, whose contents nobody announces. */
const SMALL_BYTES = 8 << 20;
/** Differences shown, of registers and of memory. */
const MAX_SHOWN = 12;
/** Instructions shown before the one that differs. */
const CONTEXT_INSNS = 12;

export function verifyAccelerator(options: Omit<WasmAcceleratorOptions, 'tier' | 'exact'> = {}): Accelerator {
  return { name: 'jit,verify', createVm: (vm) => new VerifyVm(vm, options) };
}

export class VerifyVm implements Vm {
  readonly main: WasmVm;
  readonly other: WasmVm;
  readonly log: BusLog = new BusLog();
  private readonly regions = new Map<number, MemoryRegion>();
  /** Guest memory as it was at the end of the last slice, by place; zero where nobody ever wrote. */
  private readonly images = new Map<number, Uint8Array>();
  private readonly touched = new Map<number, PageImage>();
  private readonly small: { readonly at: number; readonly bytes: number }[] = [];

  constructor(options: VmOptions, accelerator: Omit<WasmAcceleratorOptions, 'tier' | 'exact'>) {
    const room = { ...options, hostMemoryBytes: options.hostMemoryBytes + BITMAP_BYTES };
    this.main = new WasmVm(room, { ...accelerator, tier: 'jit', exact: true });
    this.other = new WasmVm(room, { tier: 'interp', exact: true });
  }

  get memory(): WebAssembly.Memory {
    return this.main.memory;
  }

  /** Does something to both, to the second when its turn comes. */
  both(action: (vm: WasmVm) => void): void {
    action(this.main);
    if (this.log.inCall) this.log.change(() => action(this.log.forFirst ? this.main : this.other));
    else action(this.other);
  }

  /** The page as it was at the end of the last slice. */
  image(at: number): Uint8Array {
    return this.images.get(at) ?? NO_PAGE;
  }

  /** The slice is over, and all agree on these pages. */
  keep(pages: readonly PageImage[]): void {
    for (const { at } of pages) this.images.set(at, this.main.engine.bytes.slice(at, at + PAGE));
  }

  /** Pages that anybody wrote to since the last call. */
  takeWritten(): PageImage[] {
    const written = new Map(this.touched);
    this.touched.clear();
    const note = (at: number, guestPhysical: number): void => void written.set(at, { at, guestPhysical });
    this.main.takeDirty(note);
    this.other.takeDirty(note);
    return [...written.values()];
  }

  /** Devices write before they tell; what was there the second memory still has. */
  private touch(at: number, guestPhysical: number, bytes: number): void {
    const { log, images, touched } = this;
    for (let page = at - (at % PAGE); page < at + bytes; page += PAGE) {
      const image = { at: page, guestPhysical: guestPhysical - (at - page) };
      if (!log.inCall) images.set(page, this.main.engine.bytes.slice(page, page + PAGE));
      else if (!images.has(page)) images.set(page, this.other.engine.bytes.slice(page, page + PAGE));
      if (log.inCall) touched.set(page, image);
    }
  }

  allocate(sizeBytes: number): number {
    const at = this.main.allocate(sizeBytes);
    if (this.other.allocate(sizeBytes) !== at)
      throw new Error('the two machines have their memory at different places');
    if (sizeBytes < SMALL_BYTES) this.small.push({ at, bytes: sizeBytes });
    return at;
  }

  setMemoryRegion(region: MemoryRegion): void {
    if (region.sizeBytes === 0) this.regions.delete(region.slot);
    else this.regions.set(region.slot, region);
    this.both((vm) => vm.setMemoryRegion({ ...region, logDirty: !region.readonly }));
  }

  memoryWritten(guestPhysical: number, sizeBytes: number): void {
    for (const { guestPhysical: start, sizeBytes: size, hostOffset } of this.regions.values()) {
      const from = Math.max(guestPhysical, start);
      const to = Math.min(guestPhysical + sizeBytes, start + size);
      if (from >= to) continue;
      const at = hostOffset + from - start;
      const bytes = this.main.engine.bytes.slice(at, at + to - from);
      this.touch(at, from, to - from);
      this.both((vm) => {
        vm.engine.bytes.set(bytes, at);
        vm.memoryWritten(from, to - from);
      });
    }
  }

  /** Contents of ROMs are put there behind everybody's back. */
  takeOverRoms(): void {
    for (const { at, bytes } of this.small)
      this.other.engine.bytes.set(this.main.engine.bytes.subarray(at, at + bytes), at);
  }

  setA20(enabled: boolean): void {
    this.both((vm) => vm.setA20(enabled));
  }

  createVcpu(bus: VcpuBus): Vcpu {
    return new VerifyVcpu(this, bus);
  }

  codeStatistics(): CodeStatistics {
    return this.main.codeStatistics();
  }

  close(): void {
    this.main.close();
    this.other.close();
  }
}

/** A page of guest memory: where it is in both memories. */
interface PageImage {
  readonly at: number;
  readonly guestPhysical: number;
}

const NO_PAGE = new Uint8Array(PAGE);

class VerifyVcpu implements Vcpu {
  readonly index: number;
  readonly registers: RegisterFile;
  private readonly vm: VerifyVm;
  private readonly main: WasmVcpu;
  private readonly other: WasmVcpu;
  private attention = false;
  private started = false;
  private replayingMain = false;

  constructor(vm: VerifyVm, bus: VcpuBus) {
    this.vm = vm;
    const { log } = vm;
    // A vCPU asks CPUID while it is being made.
    const vcpus: WasmVcpu[] = [];
    const count = (i: number) => (): number => vcpus[i]?.instructionCount ?? 0;
    const stop = (i: number) => (): void => vcpus[i]?.requestAttention();
    const recording = log.recording(bus, count(0));
    const again = log.replaying(bus, count(0), stop(0), true);
    // When it goes back, the first vCPU too gets what was noted.
    const either = Object.fromEntries(
      Object.entries(recording).map(([name, method]) => [
        name,
        (...args: unknown[]): unknown => {
          const chosen: unknown = this.replayingMain ? Reflect.get(again, name) : method;
          // INVARIANT: both have the same methods.
          return Reflect.apply(chosen as (...args: unknown[]) => unknown, undefined, args);
        },
      ]),
    ) as unknown as VcpuBus;
    this.main = vm.main.createVcpu(either);
    vcpus.push(this.main);
    this.other = vm.other.createVcpu(log.replaying(bus, count(1), stop(1)));
    vcpus.push(this.other);
    log.clear();
    this.index = this.main.index;
    this.registers = {
      get: (name) => this.main.registers.get(name),
      set: (name, value) => this.both((vcpu) => vcpu.registers.set(name, value)),
    };
  }

  private both(action: (vcpu: WasmVcpu) => void): void {
    const { log } = this.vm;
    action(this.main);
    if (log.inCall) log.change(() => action(log.forFirst ? this.main : this.other));
    else action(this.other);
  }

  run(instructions: number): VmExit {
    if (!this.started) {
      this.started = true;
      this.vm.takeOverRoms();
    }
    this.attention = false;
    for (let left = instructions; ;) {
      const begin = { main: this.main.snapshot(), other: this.other.snapshot() };
      const before = this.main.instructionCount;
      this.vm.log.clear();
      const exit = this.main.run(Math.min(left, SLICE));
      const executed = this.main.instructionCount - before;
      this.vm.log.rewind();
      const otherExit = this.runOther(executed);
      const written = this.vm.takeWritten();
      const wrong = this.difference(exit, otherExit, written);
      if (wrong !== undefined)
        return { reason: 'internal-error', message: this.locate(begin, executed, written, wrong) };
      this.vm.keep(written);
      left -= executed;
      if (exit.reason !== 'budget' || left <= 0 || this.attention) return exit;
    }
  }

  /** Up to the same instruction; a slice in which nothing was executed may have been left for an interrupt or because it is halted. */
  private runOther(instructions: number): VmExit {
    const before = this.other.instructionCount;
    let exit: VmExit;
    do exit = this.other.run(Math.max(1, instructions - (this.other.instructionCount - before)));
    while (
      exit.reason === 'budget' &&
      this.vm.log.mismatch === undefined &&
      this.other.instructionCount - before < instructions
    );
    return exit;
  }

  /** What the two do not agree on; undefined when they agree. */
  private difference(exit: VmExit, otherExit: VmExit, written: readonly PageImage[]): string | undefined {
    const { log, main, other } = this.vm;
    const lines: string[] = [];
    if (exit.reason !== otherExit.reason)
      lines.push(`  the JIT left because of ${exit.reason}, the interpreter of ${otherExit.reason}`);
    if (this.main.instructionCount !== this.other.instructionCount) {
      lines.push(
        `  the JIT counts ${this.main.instructionCount} instructions, the interpreter ${this.other.instructionCount}`,
      );
    }
    if (log.mismatch !== undefined) lines.push(`  of the devices the interpreter wanted ${log.mismatch}`);
    else if (!log.complete && !this.replayingMain) lines.push('  the interpreter wanted less of the devices');
    for (const { name, main: a, other: b } of stateDifferences(main.engine, other.engine, this.main.cpu).slice(
      0,
      MAX_SHOWN,
    )) {
      lines.push(`  ${name}: JIT ${a}, interpreter ${b}`);
    }
    let shown = 0;
    for (const { at, guestPhysical } of written) {
      const from = differenceIn(main.engine, other.engine, at);
      if (from === undefined || shown++ === MAX_SHOWN) continue;
      const bytes = (engine: Engine): string => hex(engine.bytes.slice(at + from, at + from + 16));
      const place = (guestPhysical + from).toString(16);
      lines.push(`  memory at physical 0x${place}: JIT ${bytes(main.engine)}, interpreter ${bytes(other.engine)}`);
    }
    return lines.length === 0 ? undefined : lines.join('\n');
  }

  // ---- going back ----

  private restore(
    begin: { readonly main: VcpuSnapshot; readonly other: VcpuSnapshot },
    written: readonly PageImage[],
  ): void {
    for (const vm of [this.vm.main, this.vm.other]) {
      for (const { at, guestPhysical } of written) {
        vm.engine.bytes.set(this.vm.image(at), at);
        vm.memoryWritten(guestPhysical, PAGE);
      }
    }
    this.main.restore(begin.main);
    this.other.restore(begin.other);
    this.vm.log.rewind();
  }

  /** Finds the first instruction after which the two differ, and describes it. */
  private locate(
    begin: { readonly main: VcpuSnapshot; readonly other: VcpuSnapshot },
    executed: number,
    written: readonly PageImage[],
    atEnd: string,
  ): string {
    const { log } = this.vm;
    this.replayingMain = true;
    const pass = (pace: 'pass' | 'step'): string | undefined => {
      const before = this.main.instructionCount;
      log.rewindTo(this.cursorAtPass);
      const exit = this.main.runPaced(pace);
      log.rewindTo(this.cursorAtPass);
      const otherExit = this.runOther(this.main.instructionCount - before);
      this.cursorAtPass = log.position;
      return this.difference(exit, otherExit, this.vm.takeWritten());
    };
    this.restore(begin, written);
    this.cursorAtPass = 0;
    const end = begin.main.executed + executed;
    let from = begin.main.executed;
    let wrong: string | undefined;
    while (wrong === undefined && this.main.instructionCount < end && !this.main.isHalted) {
      from = this.main.instructionCount;
      wrong = pass('pass');
    }
    const count = this.main.instructionCount - from;
    if (wrong === undefined) {
      this.replayingMain = false;
      return report(
        `within ${executed} instructions from ${begin.main.executed}, and not again when they were repeated`,
        atEnd,
      );
    }
    // Once more to the beginning of that pass, from there one by one.
    this.restore(begin, written);
    const run = (vcpu: WasmVcpu, to: number): void => {
      log.rewind();
      while (vcpu.instructionCount < to && vcpu.run(to - vcpu.instructionCount).reason === 'budget');
    };
    run(this.main, from);
    run(this.other, from);
    this.cursorAtPass = log.position;
    const insns: string[] = [];
    let alone: string | undefined;
    for (let i = 0; i < Math.max(count, 1) && alone === undefined; i++) {
      insns.push(this.listing());
      alone = pass('step');
    }
    const states = `JIT:\n${registersText(this.vm.main.engine, this.main.cpu)}\ninterpreter:\n${registersText(this.vm.other.engine, this.main.cpu)}`;
    this.replayingMain = false;
    const listing = insns
      .slice(-CONTEXT_INSNS)
      .map((line, i, all) => `${alone !== undefined && i === all.length - 1 ? '> ' : '  '}${line}`);
    if (alone !== undefined) {
      const at = from + insns.length;
      return `${report(`after instruction ${at}, ${(insns.at(-1) ?? '').replaceAll(/ +/g, ' ')}`, alone)}\n${listing.join('\n')}\n${states}`;
    }
    const where = `in instructions ${from + 1} to ${from + count}, each of which is right by itself`;
    return `${report(where, wrong)}\n${insns.map((line) => `  ${line}`).join('\n')}`;
  }

  private cursorAtPass = 0;

  /** The instruction at which the interpreter stands. */
  private listing(): string {
    const { rip, codeBits } = this.other.place();
    const bytes = new Uint8Array(16);
    const got = this.other.peek(rip, bytes);
    const insn = createInsn();
    const text =
      decode(bytes, 0, got, codeBits, insn) === 0
        ? formatInsn(insn, this.other.registers.get('rip'))
        : '(no instruction)';
    return `${this.other.registers.get('rip').toString(16)}  ${hex(bytes.subarray(0, insn.length)).padEnd(30)} ${text}`;
  }

  // ---- the rest of a vCPU ----

  requestAttention(): void {
    this.attention = true;
    this.both((vcpu) => vcpu.requestAttention());
  }

  setInterruptRequest(active: boolean): void {
    this.both((vcpu) => vcpu.setInterruptRequest(active));
  }

  raiseNmi(): void {
    this.both((vcpu) => vcpu.raiseNmi());
  }

  observe(observer: VcpuObserver): void {
    // Watched block by block or at exceptions, the vCPU would stop where the other one does not.
    this.main.observe({
      ...(observer.interrupt !== undefined && { interrupt: (vector) => observer.interrupt?.(vector) }),
      ...(observer.decoded !== undefined && { decoded: (insns) => observer.decoded?.(insns) }),
      ...(observer.mmu !== undefined && { mmu: (event) => observer.mmu?.(event) }),
      ...(observer.code !== undefined && { code: (event) => observer.code?.(event) }),
    });
  }

  reset(): void {
    this.started = false;
    this.both((vcpu) => vcpu.reset());
  }

  setInitialState(state: InitialState): void {
    this.both((vcpu) => vcpu.setInitialState(state));
  }

  faultAddress(): bigint {
    return this.main.faultAddress();
  }

  /** Asked from within a call it is that of the vCPU whose call it is. */
  get tscOffset(): number {
    return this.main.tscOffset;
  }

  get instructionCount(): number {
    return this.main.instructionCount;
  }

  exitCounts(): Readonly<Record<string, number>> {
    return this.main.exitCounts();
  }

  get interpretedCount(): number {
    return this.main.interpretedCount;
  }

  get stringIterations(): number {
    return this.main.stringIterations;
  }

  get codeNs(): number {
    return this.main.codeNs;
  }

  interruptCounts(): ReadonlyMap<number, number> {
    return this.main.interruptCounts();
  }

  place(): VcpuPlace {
    return this.main.place();
  }

  peek(linear: number, into: Uint8Array, pageTables?: number): number {
    return this.main.peek(linear, into, pageTables);
  }
}

function report(where: string, what: string): string {
  return `the JIT and the interpreter differ ${where}.\n${what}`;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

/** Where in the page the two memories differ first. */
function differenceIn(main: Engine, other: Engine, at: number): number | undefined {
  const from = at >> 2;
  for (let i = from; i < from + PAGE / 4; i++) if (main.i32[i] !== other.i32[i]) return (i - from) * 4;
  return undefined;
}
