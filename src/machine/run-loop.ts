/**
 * The loop that drives a vCPU: grants budgets, runs due timers, sleeps while the guest is halted, and gives the host's event loop
 * its turns.
 *
 * Two kinds of time: the host's (budgets are slices of about SLICE_NS, learned from the speed seen so far), and instruction
 * time (deterministic: budgets end exactly at the next deadline, and idle time is skipped).
 */
import type { Vcpu, VmExit } from '../accel/contract.ts';
import type { InstructionTime, VirtualClock } from '../base/clock.ts';
import type { HostServices } from './host-services.ts';
import { TierTimes } from './tier-times.ts';

/** Longest the guest runs before timers are looked at. */
const SLICE_NS = 500_000;
/** Longest the loop keeps the thread before the host's event loop has a turn. */
const TURN_NS = 8_000_000;
const MIN_BUDGET = 2_000;
const MAX_BUDGET = 4_000_000;
/** The same while devices wait for the host's files. */
const IO_TURN_NS = 400_000;
/** How long a halted guest's requests are waited for in turns of the event loop: waking up from sleep takes longer than most of them. */
const IO_SPIN_NS = 150_000;
/** Deadlines nearer than this are waited for by blocking, or by turns of the event loop: its timers count milliseconds. */
const SPIN_NS = 1_200_000;

/**
 * Looks at the guest in regular intervals of the time it runs: the host's, or virtual time where that counts instructions. Budgets are
 * made to end when a sample is due, but not in instruction time, where that would change what the guest does.
 */
export interface RunSampler {
  /** Running time until the next sample, nanoseconds. */
  readonly untilDueNs: number;
  /** The guest ran so long; `interrupted`: in the midst of its work, not because it halted. */
  ran(ns: number, interrupted: boolean): void;
}

export class RunLoop {
  private readonly vcpu: Vcpu;
  private readonly clock: VirtualClock;
  private readonly host: HostServices;
  private readonly time: InstructionTime | undefined;
  private wakeUp: (() => void) | undefined;
  private stopRequested = false;
  private running: Promise<VmExit | undefined> | undefined;
  /** Instructions a nanosecond, as measured. */
  private speed = 0.05;
  readonly tierTimes: TierTimes = new TierTimes();
  /** Host time in which the guest ran, and in which it was halted. */
  runNs = 0;
  idleNs = 0;
  /** Who takes samples of where the guest is. */
  readonly samplers: Set<RunSampler> = new Set();

  private readonly io: { readonly pending: number };

  /** `io.pending`: requests of devices that the host is at work on. */
  constructor(
    vcpu: Vcpu,
    clock: VirtualClock,
    host: HostServices,
    time: InstructionTime | undefined,
    io: { readonly pending: number } = { pending: 0 },
  ) {
    this.io = io;
    this.vcpu = vcpu;
    this.clock = clock;
    this.host = host;
    this.time = time;
    // The guest armed a timer that is due before the present slice ends: look again when its block is done.
    clock.onEarlierDeadline = (): void => {
      if (clock.nextDeadline() < this.sliceEndNs) vcpu.requestAttention();
    };
  }

  get isRunning(): boolean {
    return this.running !== undefined;
  }

  /** Something happened that a sleeping guest must see: an interrupt, input. */
  wake(): void {
    this.wakeUp?.();
  }

  /** Runs until the vCPU leaves for good (the exit) or `stop` is called (undefined). */
  run(): Promise<VmExit | undefined> {
    if (this.running === undefined) {
      this.stopRequested = false;
      this.running = this.loop().finally(() => {
        this.running = undefined;
      });
    }
    return this.running;
  }

  /** Ends the run at the next block boundary; resolves when it has ended. */
  async stop(): Promise<void> {
    this.requestStop();
    await this.running;
  }

  /** The same from within a device, without waiting. */
  requestStop(): void {
    this.stopRequested = true;
    this.vcpu.requestAttention();
    this.wake();
  }

  private async loop(): Promise<VmExit | undefined> {
    let turnEndsNs = this.host.monotonicNs() + TURN_NS;
    while (!this.stopRequested) {
      this.clock.runExpired();
      const exit = this.runSlice(this.budget());
      if (exit.reason === 'halted') {
        if (this.stopRequested) break;
        const haltedNs = this.host.monotonicNs();
        await this.idle();
        this.idleNs += this.host.monotonicNs() - haltedNs;
        turnEndsNs = this.host.monotonicNs() + TURN_NS;
      } else if (exit.reason !== 'budget') {
        return exit;
      } else if (this.host.monotonicNs() >= turnEndsNs - (this.io.pending > 0 ? TURN_NS - IO_TURN_NS : 0)) {
        await this.host.yield();
        turnEndsNs = this.host.monotonicNs() + TURN_NS;
      }
    }
    return undefined;
  }

  /** Runs the guest, and keeps the books. */
  private runSlice(instructions: number): VmExit {
    const { vcpu } = this;
    const executed = vcpu.instructionCount;
    const interpreted = vcpu.interpretedCount;
    const iterations = vcpu.stringIterations;
    const codeNs = vcpu.codeNs;
    const startNs = this.host.monotonicNs();
    const exit = vcpu.run(instructions);
    const ns = this.host.monotonicNs() - startNs;
    this.runNs += ns;
    const done = vcpu.instructionCount - executed;
    const doneInterpreted = vcpu.interpretedCount - interpreted;
    const doneTranslated = done - doneInterpreted - (vcpu.stringIterations - iterations);
    this.tierTimes.add(Math.max(0, ns - (vcpu.codeNs - codeNs)), doneInterpreted, doneTranslated);
    if (this.samplers.size > 0) {
      const sampledNs = this.time === undefined ? ns : done * this.time.nsPerInstruction;
      for (const sampler of this.samplers) sampler.ran(sampledNs, exit.reason === 'budget');
    }
    return exit;
  }

  /** Virtual time at which the present slice should end. */
  private sliceEndNs = 0;
  private startedNs = 0;
  private startedAt = 0;

  private budget(): number {
    if (this.time !== undefined) {
      const instructions = this.time.instructionsUntilDeadline(this.clock, MAX_BUDGET);
      this.sliceEndNs = this.clock.now() + instructions * this.time.nsPerInstruction;
      return instructions;
    }
    const nowNs = this.host.monotonicNs();
    const executed = this.vcpu.instructionCount - this.startedAt;
    const elapsedNs = nowNs - this.startedNs;
    if (executed > MIN_BUDGET && elapsedNs > 0) this.speed += (executed / elapsedNs - this.speed) / 8;
    this.startedNs = nowNs;
    this.startedAt = this.vcpu.instructionCount;
    let sliceNs = Math.min(SLICE_NS, Math.max(0, this.clock.nextDeadline() - this.clock.now()));
    for (const { untilDueNs } of this.samplers) sliceNs = Math.min(sliceNs, untilDueNs);
    this.sliceEndNs = this.clock.now() + sliceNs;
    return Math.min(MAX_BUDGET, Math.max(MIN_BUDGET, Math.floor(sliceNs * this.speed)));
  }

  /** A turn for the event loop; when nothing came of it, the rest of the wait costs no processor time. */
  private async waitClosely(): Promise<void> {
    let woken = false;
    this.wakeUp = (): void => {
      woken = true;
    };
    await this.host.yield();
    this.wakeUp = undefined;
    if (woken || this.host.block === undefined || this.io.pending > 0) return;
    const leftNs = this.clock.nextDeadline() - this.clock.now();
    if (leftNs > 0 && leftNs < SPIN_NS) this.host.block(leftNs / 1e6);
  }

  /** True when a request of a device came to its end, or something else woke the guest. */
  private async waitForIo(): Promise<boolean> {
    if (this.io.pending === 0) return false;
    let woken = false;
    this.wakeUp = (): void => {
      woken = true;
    };
    const endNs = this.host.monotonicNs() + IO_SPIN_NS;
    while (!woken && this.io.pending > 0 && this.host.monotonicNs() < endNs) await this.host.yield();
    this.wakeUp = undefined;
    return woken;
  }

  /** The guest waits for an interrupt. */
  private async idle(): Promise<void> {
    // Time that is counted in instructions stands still while the host works for the guest.
    if (this.time !== undefined && (this.io.pending > 0 || this.time.skipToDeadline(this.clock))) {
      await this.host.yield();
      return;
    }
    if (this.time === undefined && (await this.waitForIo())) return;
    const leftNs = this.clock.nextDeadline() - this.clock.now();
    if (leftNs <= 0) return;
    if (leftNs < SPIN_NS) {
      await this.waitClosely();
    } else {
      const woken = new Promise<void>((resolve) => {
        this.wakeUp = resolve;
      });
      await this.host.sleep(Math.min(leftNs / 1e6 - 1, 0x7fffffff), woken);
      this.wakeUp = undefined;
    }
    this.startedNs = this.host.monotonicNs();
    this.startedAt = this.vcpu.instructionCount;
  }
}
