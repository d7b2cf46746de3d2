/**
 * The local APIC's timer (SDM volume 3, 12.5.4): one-shot, periodic and TSC-deadline. It counts at 1 GHz before its
 * divider. Going from one-shot to periodic and back keeps the current count, as the hardware does.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import { type SavedState, StateReader } from '../../state/state.ts';

export const APIC_TIMER_HZ = 1_000_000_000;

export type ApicTimerMode = 'one-shot' | 'periodic' | 'deadline';

/** GUEST: a period may be a nanosecond; what is shorter than this is stretched to it, so that the guest gets to run. */
const MIN_PERIOD_NS = 10_000;

export class ApicTimer {
  private mode: ApicTimerMode = 'one-shot';
  private initialCount_: number = 0;
  /** Values of the divide configuration register and what it divides by. */
  private divideConfiguration_: number = 0;
  private divider: number = 2;
  /** When the count reaches 0; Infinity while it stands at 0. */
  private expiryNs: number = Infinity;
  /** The IA32_TSC_DEADLINE register, in ticks of the guest's TSC; 0 = not armed. */
  private deadlineTicks: number = 0;

  private readonly clock: Clock;
  private readonly timer: Timer;
  private readonly tsc: GuestTsc;
  private readonly onExpiry: () => void;

  constructor(clock: Clock, tsc: GuestTsc, onExpiry: () => void) {
    this.clock = clock;
    this.tsc = tsc;
    this.onExpiry = onExpiry;
    this.timer = clock.createTimer(() => this.expired());
  }

  reset(): void {
    this.mode = 'one-shot';
    this.initialCount_ = 0;
    this.divideConfiguration = 0;
    this.stop();
    this.deadlineTicks = 0;
  }

  setMode(mode: ApicTimerMode): void {
    if (mode === this.mode) return;
    const deadlineInvolved = mode === 'deadline' || this.mode === 'deadline';
    this.mode = mode;
    if (!deadlineInvolved) return;
    // Entering or leaving TSC-deadline mode disarms the timer.
    this.deadlineTicks = 0;
    this.initialCount_ = 0;
    this.stop();
  }

  get initialCount(): number {
    return this.initialCount_;
  }

  /** Starts the count; 0 stops it. Ignored in TSC-deadline mode. */
  set initialCount(count: number) {
    if (this.mode === 'deadline') return;
    this.initialCount_ = count;
    if (count === 0) this.stop();
    else this.startAt(this.clock.now());
  }

  get currentCount(): number {
    if (this.mode === 'deadline' || this.expiryNs === Infinity) return 0;
    const left = Math.ceil(Math.max(0, this.expiryNs - this.clock.now()) / this.divider);
    return Math.min(left, this.initialCount_);
  }

  get divideConfiguration(): number {
    return this.divideConfiguration_;
  }

  set divideConfiguration(value: number) {
    const left = this.currentCount;
    this.divideConfiguration_ = value & 0x0b;
    const shift = ((value & 3) | ((value >> 1) & 4)) + 1;
    this.divider = 1 << (shift & 7);
    if (this.mode !== 'deadline' && this.expiryNs !== Infinity) this.armAt(this.clock.now() + left * this.divider);
  }

  /** IA32_TSC_DEADLINE: reads 0 once it has fired. */
  get tscDeadline(): number {
    return this.mode === 'deadline' ? this.deadlineTicks : 0;
  }

  set tscDeadline(ticks: number) {
    if (this.mode !== 'deadline') return;
    this.deadlineTicks = ticks;
    this.armDeadline();
  }

  /** The guest's TSC was set: a deadline is now at another time. */
  tscChanged(): void {
    if (this.mode === 'deadline') this.armDeadline();
  }

  save(): SavedState {
    const { mode, initialCount_, divideConfiguration_, expiryNs, deadlineTicks } = this;
    return {
      kind: 'apic-timer',
      version: 1,
      fields: {
        mode,
        initialCount: initialCount_,
        divideConfiguration: divideConfiguration_,
        expiryNs: expiryNs === Infinity ? -1 : expiryNs,
        deadlineTicks,
      },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, 'apic-timer', 1);
    const mode = reader.string('mode');
    this.mode = mode === 'periodic' || mode === 'deadline' ? mode : 'one-shot';
    this.stop();
    this.divideConfiguration = reader.u8('divideConfiguration');
    this.initialCount_ = reader.u32('initialCount');
    this.deadlineTicks = reader.number('deadlineTicks', 0);
    const expiryNs = reader.number('expiryNs');
    if (this.mode === 'deadline') this.armDeadline();
    else if (expiryNs >= 0) this.armAt(expiryNs);
  }

  private stop(): void {
    this.expiryNs = Infinity;
    this.timer.cancel();
  }

  private get periodNs(): number {
    const periodNs = this.initialCount_ * this.divider;
    return this.mode === 'periodic' ? Math.max(periodNs, MIN_PERIOD_NS) : periodNs;
  }

  private startAt(startNs: number): void {
    this.armAt(startNs + this.periodNs);
  }

  private armAt(expiryNs: number): void {
    this.expiryNs = expiryNs;
    this.timer.arm(expiryNs);
  }

  private armDeadline(): void {
    if (this.deadlineTicks === 0) {
      this.stop();
      return;
    }
    const ticksLeft = this.deadlineTicks - this.tsc.read();
    if (ticksLeft > 0) {
      this.armAt(this.clock.now() + Math.ceil((ticksLeft * 1e9) / this.tsc.hz));
    } else {
      // A deadline that has passed fires with the write, before the next instruction.
      this.timer.cancel();
      this.expired();
    }
  }

  private expired(): void {
    if (this.mode === 'deadline') {
      // GUEST: the TSC may have been set back since; the interrupt must never come before the deadline.
      if (this.tsc.read() < this.deadlineTicks) {
        this.armDeadline();
        return;
      }
      this.deadlineTicks = 0;
      this.expiryNs = Infinity;
    } else if (this.mode === 'periodic' && this.initialCount_ > 0) {
      const missed = Math.floor(Math.max(0, this.clock.now() - this.expiryNs) / this.periodNs);
      this.armAt(this.expiryNs + (missed + 1) * this.periodNs);
    } else {
      this.expiryNs = Infinity;
    }
    this.onExpiry();
  }
}

/** The guest's time stamp counter, as RDTSC gives it, as a number below 2^53. */
export interface GuestTsc {
  read(): number;
  readonly hz: number;
}
