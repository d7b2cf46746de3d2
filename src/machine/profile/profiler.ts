/**
 * Takes samples of where the guest is while it runs. The run loop ends an instruction budget when a sample is due and calls; the
 * guest's code is not touched, and without a profiler nothing is spent.
 */
import type { Vcpu } from '../../accel/contract.ts';
import type { RunLoop, RunSampler } from '../run-loop.ts';
import { type ProfileFrame, type RawSample, resolveStack } from './call-stacks.ts';
import type { GuestSymbols } from './guest-symbols.ts';
import { processName } from './process-name.ts';
import { Profile, type ProfileSample } from './profile.ts';
import { StackScan } from './stack-scan.ts';

/** Samples that wait for names until there are so many. */
const MAX_WAITING = 20_000;
/** More samples are counted but not kept: over an hour at the usual rate. */
const MAX_SAMPLES = 4_000_000;
/** Programs whose names are remembered by their page tables. */
const MAX_NAMES = 4096;

export interface ProfilerOptions {
  readonly rateHz: number;
  /** Look for callers. */
  readonly stacks: boolean;
}

/** A profile in the making. */
export class Profiler implements RunSampler {
  private readonly vcpu: Vcpu;
  private readonly loop: RunLoop;
  private readonly symbols: GuestSymbols;
  private readonly options: ProfilerOptions;
  private readonly scanner: StackScan;
  private readonly waiting: { readonly raw: RawSample; readonly weightNs: number }[] = [];
  private readonly frames = new Map<string, ProfileFrame>();
  private readonly stacks = new Map<string, readonly ProfileFrame[]>();
  private readonly samples: ProfileSample[] = [];
  private readonly processes = new Map<number, string>();
  private readonly intervalNs: number;
  private kernelTables: number | undefined;
  /** Running time since the last sample, and since the last one was due. */
  private sinceNs = 0;
  private lateNs = 0;
  private lost = 0;

  constructor(vcpu: Vcpu, loop: RunLoop, symbols: GuestSymbols, options: ProfilerOptions) {
    this.vcpu = vcpu;
    this.loop = loop;
    this.symbols = symbols;
    this.options = options;
    this.intervalNs = 1e9 / options.rateHz;
    this.scanner = new StackScan(vcpu);
    loop.samplers.add(this);
  }

  get untilDueNs(): number {
    return Math.max(0, this.intervalNs - this.lateNs);
  }

  ran(ns: number, interrupted: boolean): void {
    this.sinceNs += ns;
    this.lateNs += ns;
    if (!interrupted || this.lateNs < this.intervalNs) return;
    this.take(this.sinceNs);
    this.sinceNs = 0;
    this.lateNs = this.lateNs < 2 * this.intervalNs ? this.lateNs - this.intervalNs : 0;
  }

  /** What was seen so far. */
  snapshot(): Profile {
    this.settle();
    return new Profile({ rateHz: this.options.rateHz, samples: [...this.samples], lost: this.lost });
  }

  /** Ends sampling; gives what was seen. */
  stop(): Profile {
    this.loop.samplers.delete(this);
    return this.snapshot();
  }

  /** The machine is about to be reset: what was seen gets its names while the kernel is still there. */
  beforeReset(): void {
    this.settle();
    this.scanner.forget();
    this.processes.clear();
    this.kernelTables = undefined;
  }

  private take(weightNs: number): void {
    if (this.samples.length + this.waiting.length >= MAX_SAMPLES) {
      this.lost++;
      return;
    }
    const place = this.vcpu.place();
    const user = place.privilegeLevel === 3;
    if (!user) this.kernelTables = place.pageTables;
    const stack = this.options.stacks ? this.scanner.scan(place) : undefined;
    const process = user ? this.process(place.pageTables) : undefined;
    this.waiting.push({ raw: { place, stack, process }, weightNs });
    if (this.waiting.length >= MAX_WAITING) this.settle();
  }

  /** Name of the program that runs now; page tables are known by the name last seen in them. */
  private process(pageTables: number): string | undefined {
    const name = processName(this.vcpu, this.vcpu.place());
    if (name === undefined) return this.processes.get(pageTables);
    if (this.processes.size >= MAX_NAMES) this.processes.clear();
    this.processes.set(pageTables, name);
    return name;
  }

  /** Gives names to what waits for them. */
  private settle(): void {
    if (this.waiting.length === 0) return;
    this.symbols.locate(this.kernelTables ?? this.vcpu.place().pageTables);
    const { symbols, scanner } = this;
    const code = {
      find: (address: number) => symbols.find(address),
      callBefore: (place: RawSample['place'], address: number) => scanner.callBefore(place, address),
    };
    for (const { raw, weightNs } of this.waiting.splice(0)) {
      this.samples.push({ stack: this.intern(resolveStack(raw, code)), weightNs });
    }
  }

  /** Equal stacks, and equal frames, are one object. */
  private intern(stack: readonly ProfileFrame[]): readonly ProfileFrame[] {
    const key = stack.map(({ kind, name }) => `${kind[0]}${name}`).join('\n');
    const known = this.stacks.get(key);
    if (known !== undefined) return known;
    const shared = stack.map((frame) => {
      const frameKey = `${frame.kind} ${frame.name}`;
      const same = this.frames.get(frameKey) ?? frame;
      this.frames.set(frameKey, same);
      return same;
    });
    this.stacks.set(key, shared);
    return shared;
  }
}
