/**
 * The 8254 programmable interval timer (Intel 231164): three counters at 1.193182 MHz, modes 0 to 5, binary and BCD,
 * counter latch and read-back commands. Counter values follow from the clock; only counter 0's output drives a line, and
 * only while something happens there does the model hold a timer.
 *
 * Left out: the clock cycle between writing a count and its being loaded (counts take effect at once), and that a
 * counter in mode 0 stops between the two bytes of its count.
 */
import { nsToTicks, type Timer, ticksToNs } from '../../base/clock.ts';
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import { defineEvents, type TracePoints } from '../../trace/trace.ts';
import type { Device, DeviceContext } from '../device.ts';
import type { IrqLine } from '../irq/irq-line.ts';

const EVENTS = defineEvents({
  pit_control: ['counter', 'access', 'mode', 'bcd'],
  pit_load: ['counter', 'count'],
});

export const PIT_HZ = 1_193_182;

const CONTROL = 3; // register offset
const READ_BACK = 3; // counter number that means the read-back command
const ACCESS_LATCH = 0;
const ACCESS_LOW = 1;
const ACCESS_HIGH = 2;
const ACCESS_BOTH = 3;
const STATUS_OUT = 0x80;

class Counter {
  mode: number = 0;
  access: number = ACCESS_BOTH;
  bcd: boolean = false;
  gate: boolean = true;
  /** The count as loaded: 1 to 65536 (10000 in BCD). */
  count: number = 0x10000;
  /** Tick of the clock at which counting from `count` began. */
  start: number = 0;
  /** A one-shot mode that waits for its gate (modes 1 and 5) has not begun. */
  started: boolean = false;
  writeLow: number = -1; // low byte that waits for its high byte
  readHighNext: boolean = false;
  latched: number = -1;
  latchedStatus: number = -1;

  /** What the counting element shows, 0 to 0xffff as read. */
  value(tick: number): number {
    const elapsed = this.elapsed(tick);
    let value: number;
    if (this.mode === 2) value = this.count - (elapsed % this.count);
    else if (this.mode === 3) value = this.count - ((2 * elapsed) % this.count);
    else value = this.modulus() + ((this.count - elapsed) % this.modulus());
    value %= this.modulus();
    return this.bcd ? toBcd(value) : value;
  }

  output(tick: number): boolean {
    const elapsed = this.elapsed(tick);
    switch (this.mode) {
      case 0:
        return elapsed >= this.count;
      case 1:
        return !this.started || elapsed >= this.count;
      case 2:
        return !this.gate || elapsed % this.count !== this.count - 1;
      case 3:
        return !this.gate || elapsed % this.count < Math.ceil(this.count / 2);
      default: // 4 and 5: low for one tick at the end
        return !this.started || elapsed !== this.count;
    }
  }

  /** The first tick after `tick` at which the output rises; Infinity when it never does. */
  nextRise(tick: number): number {
    const elapsed = this.elapsed(tick);
    switch (this.mode) {
      case 0:
      case 1:
        return this.started && elapsed < this.count ? this.start + this.count : Infinity;
      case 2:
      case 3:
        return this.gate ? this.start + (Math.floor(elapsed / this.count) + 1) * this.count : Infinity;
      default:
        return this.started && elapsed <= this.count ? this.start + this.count + 1 : Infinity;
    }
  }

  setCount(written: number, tick: number): void {
    const value = this.bcd ? fromBcd(written) : written;
    this.count = value === 0 ? this.modulus() : value;
    // Mode 2 and 3 counts of 1 are not allowed; the chip then counts as from 65537 in effect. Take 2.
    if ((this.mode === 2 || this.mode === 3) && this.count === 1) this.count = 2;
    if (this.mode === 1 || this.mode === 5) return; // waits for the gate to rise
    this.start = tick;
    this.started = true;
  }

  setGate(gate: boolean, tick: number): void {
    const rises = gate && !this.gate;
    if (this.mode === 0 || this.mode === 4) {
      // Counting is suspended while the gate is low: keep what has elapsed.
      if (!gate && this.gate) this.suspended = Math.max(0, tick - this.start);
      else if (rises && this.suspended >= 0) this.start = tick - this.suspended;
      if (rises) this.suspended = -1;
    } else if (rises) {
      this.start = tick;
      this.started = true;
    }
    this.gate = gate;
  }

  /** Ticks counted when the gate fell in mode 0 or 4, -1 while counting. */
  suspended: number = -1;

  status(tick: number): number {
    return (this.output(tick) ? STATUS_OUT : 0) | (this.access << 4) | (this.mode << 1) | (this.bcd ? 1 : 0);
  }

  save(): SavedState {
    const {
      mode,
      access,
      bcd,
      gate,
      count,
      start,
      started,
      writeLow,
      readHighNext,
      latched,
      latchedStatus,
      suspended,
    } = this;
    return {
      kind: 'i8254-counter',
      version: 1,
      fields: {
        mode,
        access,
        bcd,
        gate,
        count,
        start,
        started,
        writeLow,
        readHighNext,
        latched,
        latchedStatus,
        suspended,
      },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, 'i8254-counter', 1);
    this.mode = reader.integer('mode', 5);
    this.access = reader.integer('access', 3);
    this.bcd = reader.bool('bcd');
    this.gate = reader.bool('gate');
    this.count = reader.number('count', 1, 0x10000);
    this.start = reader.number('start');
    this.started = reader.bool('started');
    this.writeLow = reader.number('writeLow', -1, 0xff);
    this.readHighNext = reader.bool('readHighNext');
    this.latched = reader.number('latched', -1, 0xffff);
    this.latchedStatus = reader.number('latchedStatus', -1, 0xff);
    this.suspended = reader.number('suspended', -1);
  }

  private elapsed(tick: number): number {
    return this.suspended >= 0 ? this.suspended : tick - this.start;
  }

  private modulus(): number {
    return this.bcd ? 10000 : 0x10000;
  }
}

export class I8254 implements Device {
  readonly kind: string = 'i8254';
  private readonly counters: readonly [Counter, Counter, Counter] = [new Counter(), new Counter(), new Counter()];
  private readonly clock: DeviceContext['clock'];
  private readonly irq: IrqLine;
  private readonly timer: Timer;
  private readonly trace: TracePoints<typeof EVENTS>;

  /** @param irq counter 0's output */
  constructor(context: Pick<DeviceContext, 'clock' | 'tracer'>, irq: IrqLine) {
    this.clock = context.clock;
    this.irq = irq;
    this.trace = context.tracer.attach(EVENTS);
    this.timer = this.clock.createTimer(() => this.outputRises());
  }

  reset(): void {
    this.counters.forEach((counter, i) => {
      Object.assign(counter, new Counter());
      counter.mode = 3;
      counter.gate = i !== 2;
      counter.start = this.tick();
      counter.started = true;
    });
    this.update();
  }

  read(offset: number): number {
    if (offset === CONTROL) return 0xff; // write only: the data bus floats
    const counter = this.counter(offset);
    if (counter.latchedStatus >= 0) {
      const status = counter.latchedStatus;
      counter.latchedStatus = -1;
      return status;
    }
    const value = counter.latched >= 0 ? counter.latched : counter.value(this.tick());
    if (counter.access === ACCESS_BOTH && !counter.readHighNext) {
      counter.readHighNext = true;
      return value & 0xff;
    }
    counter.readHighNext = false;
    counter.latched = -1;
    return counter.access === ACCESS_LOW ? value & 0xff : value >> 8;
  }

  write(offset: number, value: number): void {
    if (offset === CONTROL) this.writeControl(value);
    else this.writeCount(offset, value);
  }

  /** Counter 2's gate, from port 0x61. */
  setGate(index: number, gate: boolean): void {
    const counter = this.counter(index);
    if (counter.gate === gate) return;
    counter.setGate(gate, this.tick());
    this.update();
  }

  output(index: number): boolean {
    return this.counter(index).output(this.tick());
  }

  save(): SavedState {
    const list = this.counters.map((counter) => nested(counter.save()));
    return { kind: this.kind, version: 1, fields: { counters: list } };
  }

  load(state: SavedState): void {
    const states = new StateReader(state, this.kind, 1).states('counters');
    this.counters.forEach((counter, i) => counter.load(states[i] ?? state));
    this.update();
  }

  private tick(): number {
    return nsToTicks(this.clock.now(), PIT_HZ);
  }

  private counter(index: number): Counter {
    // INVARIANT: callers pass 0 to 2: register 3 and counter number 3 are handled before.
    return this.counters[index as 0 | 1 | 2];
  }

  private writeControl(value: number): void {
    const index = value >> 6;
    if (index === READ_BACK) {
      for (let i = 0; i < 3; i++) {
        if ((value & (2 << i)) === 0) continue;
        const counter = this.counter(i);
        if ((value & 0x20) === 0) this.latch(counter);
        if ((value & 0x10) === 0 && counter.latchedStatus < 0) counter.latchedStatus = counter.status(this.tick());
      }
      return;
    }
    const counter = this.counter(index);
    const access = (value >> 4) & 3;
    if (access === ACCESS_LATCH) {
      this.latch(counter);
      return;
    }
    const mode = (value >> 1) & 7;
    counter.access = access;
    counter.mode = mode > 5 ? mode - 4 : mode; // bit 2 does not matter for modes 2 and 3
    counter.bcd = (value & 1) !== 0;
    counter.writeLow = -1;
    counter.readHighNext = false;
    counter.latched = -1;
    counter.latchedStatus = -1;
    counter.suspended = counter.gate || (counter.mode !== 0 && counter.mode !== 4) ? -1 : 0;
    counter.started = false;
    counter.start = this.tick();
    counter.count = counter.bcd ? 10000 : 0x10000;
    if (this.trace.pit_control.on) this.trace.pit_control.emit(index, access, counter.mode, counter.bcd);
    if (index === 0) {
      // The output takes the mode's initial level: low in mode 0, high in all others. No count, no transitions.
      this.timer.cancel();
      this.irq.set(counter.mode !== 0);
    }
  }

  private latch(counter: Counter): void {
    if (counter.latched < 0) counter.latched = counter.value(this.tick());
  }

  private writeCount(index: number, value: number): void {
    const counter = this.counter(index);
    let count: number;
    if (counter.access === ACCESS_LOW) count = value;
    else if (counter.access === ACCESS_HIGH) count = value << 8;
    else if (counter.writeLow < 0) {
      counter.writeLow = value;
      return;
    } else {
      count = counter.writeLow | (value << 8);
      counter.writeLow = -1;
    }
    counter.setCount(count, this.tick());
    if (!counter.gate && (counter.mode === 0 || counter.mode === 4)) counter.suspended = 0;
    if (this.trace.pit_load.on) this.trace.pit_load.emit(index, counter.count);
    if (index === 0) {
      this.irq.set(counter.output(this.tick()));
      this.update();
    }
  }

  private update(): void {
    const rise = this.counters[0].nextRise(this.tick());
    if (rise === Infinity) this.timer.cancel();
    else this.timer.arm(ticksToNs(rise, PIT_HZ));
  }

  /** The low phase before a rise is at most half a period and nothing looks at the line then: make it an edge here. */
  private outputRises(): void {
    this.irq.set(false);
    this.irq.set(true);
    this.update();
  }
}

function toBcd(value: number): number {
  return (
    (value % 10) |
    ((Math.floor(value / 10) % 10) << 4) |
    ((Math.floor(value / 100) % 10) << 8) |
    ((Math.floor(value / 1000) % 10) << 12)
  );
}

function fromBcd(value: number): number {
  return (value & 0xf) + 10 * ((value >> 4) & 0xf) + 100 * ((value >> 8) & 0xf) + 1000 * (value >> 12);
}
