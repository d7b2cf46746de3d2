/**
 * Clocks: where a device gets the time and its timers. Times are nanoseconds in a number; virtual time starts at 0, so
 * a fraction of a nanosecond survives the first 52 days and whole ones 104.
 *
 * A clock runs no host timer. Whoever drives the machine asks `nextDeadline()` how long the guest may run or sleep and
 * calls `runExpired()` afterwards.
 */

/** One alarm of a clock. Arming replaces the earlier deadline; the callback runs once an arming. */
export interface Timer {
  readonly armed: boolean;
  /** When it fires, in the clock's nanoseconds; Infinity when not armed. */
  readonly deadlineNs: number;
  arm(deadlineNs: number): void;
  cancel(): void;
}

export interface Clock {
  /** Nanoseconds. */
  now(): number;
  createTimer(callback: () => void): Timer;
  /** The earliest deadline of all armed timers, Infinity when there is none. */
  nextDeadline(): number;
  /** Runs the callbacks of all timers that are due. */
  runExpired(): void;
}

/** A timer that re-arms itself into the past is called this often in one runExpired, then waits for the next. */
const MAX_CALLBACKS_PER_RUN = 256;

class QueuedTimer implements Timer {
  deadlineNs: number = Infinity;
  private readonly queue: TimerQueue;
  readonly callback: () => void;

  constructor(queue: TimerQueue, callback: () => void) {
    this.queue = queue;
    this.callback = callback;
  }

  get armed(): boolean {
    return this.deadlineNs !== Infinity;
  }

  arm(deadlineNs: number): void {
    if (this.armed) this.queue.remove(this);
    if (Number.isNaN(deadlineNs) || deadlineNs === Infinity) {
      this.deadlineNs = Infinity;
      return;
    }
    this.deadlineNs = deadlineNs;
    this.queue.insert(this);
  }

  cancel(): void {
    if (!this.armed) return;
    this.queue.remove(this);
    this.deadlineNs = Infinity;
  }
}

/** Armed timers, the earliest first. A machine has a few dozen, so a sorted array beats a heap. */
class TimerQueue {
  private readonly timers: QueuedTimer[] = [];
  /** Called when the earliest deadline moved to an earlier time. */
  onEarlier: (() => void) | undefined;

  insert(timer: QueuedTimer): void {
    let at = this.timers.length;
    // INVARIANT: at - 1 is at least 0 inside the loop.
    while (at > 0 && this.timers[at - 1]!.deadlineNs > timer.deadlineNs) at--;
    this.timers.splice(at, 0, timer);
    if (at === 0) this.onEarlier?.();
  }

  remove(timer: QueuedTimer): void {
    const at = this.timers.indexOf(timer);
    if (at >= 0) this.timers.splice(at, 1);
  }

  next(): number {
    return this.timers[0]?.deadlineNs ?? Infinity;
  }

  runUntil(nowNs: number): void {
    for (let calls = 0; calls < MAX_CALLBACKS_PER_RUN; calls++) {
      const timer = this.timers[0];
      if (!timer || timer.deadlineNs > nowNs) return;
      this.timers.shift();
      timer.deadlineNs = Infinity;
      timer.callback();
    }
  }
}

abstract class QueueClock implements Clock {
  protected readonly queue: TimerQueue = new TimerQueue();

  abstract now(): number;

  createTimer(callback: () => void): Timer {
    return new QueuedTimer(this.queue, callback);
  }

  nextDeadline(): number {
    return this.queue.next();
  }

  runExpired(): void {
    if (this.queue.next() !== Infinity) this.queue.runUntil(this.now());
  }

  /** Called whenever a timer is armed before all others: a running vCPU's budget may have to shrink. */
  set onEarlierDeadline(callback: (() => void) | undefined) {
    this.queue.onEarlier = callback;
  }
}

/** A clock that is whatever its source says: the host's wall clock (ns since 1970) or its monotonic clock. */
export class SourceClock extends QueueClock {
  private readonly source: () => number;

  constructor(sourceNs: () => number) {
    super();
    this.source = sourceNs;
  }

  now(): number {
    return this.source();
  }
}

/** The time the guest lives in: starts at 0, stands still while the machine is stopped, can be set when restored. */
export class VirtualClock extends QueueClock {
  private readonly source: () => number;
  /** Virtual time at the moment `startedAt` of the source, or the time it stands at when stopped. */
  private base: number = 0;
  private startedAt: number | undefined;

  /** @param sourceNs a monotonic time in nanoseconds, of the host or of InstructionTime */
  constructor(sourceNs: () => number) {
    super();
    this.source = sourceNs;
  }

  get running(): boolean {
    return this.startedAt !== undefined;
  }

  now(): number {
    return this.startedAt === undefined ? this.base : this.base + (this.source() - this.startedAt);
  }

  start(): void {
    this.startedAt ??= this.source();
  }

  stop(): void {
    this.base = this.now();
    this.startedAt = undefined;
  }

  /** Sets the time, for a restored machine. Armed timers keep their deadlines. */
  set(nowNs: number): void {
    this.base = nowNs;
    if (this.startedAt !== undefined) this.startedAt = this.source();
  }
}

/**
 * The source of deterministic virtual time: instructions executed, at a fixed length, plus the time the guest slept.
 * The same instructions then see the same times on every run.
 */
export class InstructionTime {
  readonly nsPerInstruction: number;
  private readonly instructionCount: () => number;
  private skippedNs: number = 0;

  constructor(instructionCount: () => number, nsPerInstruction: number) {
    this.instructionCount = instructionCount;
    this.nsPerInstruction = nsPerInstruction;
  }

  now(): number {
    return this.instructionCount() * this.nsPerInstruction + this.skippedNs;
  }

  /** How many instructions fit before `clock`'s next deadline (at least 1, at most `limit`). */
  instructionsUntilDeadline(clock: Clock, limit: number): number {
    const leftNs = clock.nextDeadline() - clock.now();
    return Math.max(1, Math.min(limit, Math.ceil(leftNs / this.nsPerInstruction)));
  }

  /** The guest idles: moves time to `clock`'s next deadline. Returns false when there is none to wait for. */
  skipToDeadline(clock: Clock): boolean {
    const deadlineNs = clock.nextDeadline();
    if (deadlineNs === Infinity) return false;
    this.skippedNs += Math.max(0, deadlineNs - clock.now());
    return true;
  }
}

/** A clock that tests move by hand: every timer that comes due on the way runs at its own time. */
export class MockClock extends QueueClock {
  private time: number;

  constructor(startNs: number = 0) {
    super();
    this.time = startNs;
  }

  now(): number {
    return this.time;
  }

  advance(ns: number): void {
    this.advanceTo(this.time + ns);
  }

  advanceTo(timeNs: number): void {
    for (let next = this.queue.next(); next <= timeNs; next = this.queue.next()) {
      this.time = Math.max(this.time, next);
      this.runExpired();
    }
    this.time = timeNs;
  }
}

export const NS_PER_SECOND = 1_000_000_000;

/** floor(valueNs * hz / 1e9) without losing bits where the product passes 2^53. */
export function nsToTicks(valueNs: number, hz: number): number {
  const seconds = Math.floor(valueNs / NS_PER_SECOND);
  return seconds * hz + Math.floor(((valueNs - seconds * NS_PER_SECOND) * hz) / NS_PER_SECOND);
}

/** The first nanosecond at which nsToTicks gives `ticks`. */
export function ticksToNs(ticks: number, hz: number): number {
  const seconds = Math.floor(ticks / hz);
  return seconds * NS_PER_SECOND + Math.ceil(((ticks - seconds * hz) * NS_PER_SECOND) / hz);
}
