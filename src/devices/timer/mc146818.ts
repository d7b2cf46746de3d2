/**
 * The MC146818A real-time clock with its CMOS memory, as in a PC: index at port 0x70, data at 0x71, interrupt 8.
 * Date and time follow the host's clock plus whatever the guest set; flags that nobody waits for are worked out when
 * register C is read, so an idle clock holds no timer.
 *
 * Left out: daylight saving, the divider chain's other time bases (only the 32,768 Hz one runs), the square wave pin.
 */
import { NS_PER_SECOND, nsToTicks, type Timer, ticksToNs } from '../../base/clock.ts';
import { type SavedState, StateReader } from '../../state/state.ts';
import { defineEvents, type TracePoints } from '../../trace/trace.ts';
import type { Device, DeviceContext } from '../device.ts';
import type { IrqLine } from '../irq/irq-line.ts';

const EVENTS = defineEvents({
  rtc_read: ['index', 'value'],
  rtc_write: ['index', 'value'],
});

const SECONDS = 0x00;
const SECONDS_ALARM = 0x01;
const MINUTES = 0x02;
const MINUTES_ALARM = 0x03;
const HOURS = 0x04;
const HOURS_ALARM = 0x05;
const DAY_OF_WEEK = 0x06;
const DAY_OF_MONTH = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const REG_A = 0x0a;
const REG_B = 0x0b;
const REG_C = 0x0c;
const REG_D = 0x0d;
const CENTURY = 0x32;

const A_UIP = 0x80; // update in progress
const A_DIVIDER = 0x70;
const A_DIVIDER_32KHZ = 0x20;
const A_RATE = 0x0f;
const B_SET = 0x80; // no updates while set
const B_PIE = 0x40;
const B_AIE = 0x20;
const B_UIE = 0x10;
const B_DM = 0x04; // binary, else BCD
const B_24H = 0x02;
const C_IRQF = 0x80;
const C_PF = 0x40;
const C_AF = 0x20;
const C_UF = 0x10;
const D_VRT = 0x80; // battery good

const ALARM_ANY = 0xc0; // an alarm byte with both bits set matches all values
const CRYSTAL_HZ = 32768;
/** UIP is up this long before an update. */
const UPDATE_NS = 244_000;
const SECONDS_A_DAY = 86_400;

export interface Mc146818Options extends Pick<DeviceContext, 'clock' | 'tracer'> {
  readonly irq: IrqLine;
  /** Wall clock: nanoseconds since 1970 in the zone the guest expects (UTC or local time). */
  readonly wallClockNs: () => number;
}

export class Mc146818 implements Device {
  readonly kind: string = 'mc146818';
  private readonly cmos: Uint8Array = new Uint8Array(128);
  private index: number = 0;
  /** Guest's time minus wallClockNs. */
  private offsetNs: number = 0;
  /** Guest time at which it stands while B_SET is up. */
  private heldNs: number = 0;
  /** Up to where register C's flags have been worked out, in guest time and in crystal ticks. */
  private flagsSeenNs: number = 0;
  private periodSeen: number = 0;
  private readonly clock: DeviceContext['clock'];
  private readonly irq: IrqLine;
  private readonly wallClockNs: () => number;
  private readonly periodicTimer: Timer;
  private readonly updateTimer: Timer;
  private readonly trace: TracePoints<typeof EVENTS>;

  constructor(options: Mc146818Options) {
    this.clock = options.clock;
    this.irq = options.irq;
    this.wallClockNs = options.wallClockNs;
    this.trace = options.tracer.attach(EVENTS);
    this.periodicTimer = this.clock.createTimer(() => this.update());
    this.updateTimer = this.clock.createTimer(() => this.update());
    this.cmos[REG_A] = A_DIVIDER_32KHZ | 6;
    this.cmos[REG_B] = B_24H;
    this.cmos[REG_D] = D_VRT;
    this.flagsSeenNs = this.guestNs();
  }

  /** The battery keeps time and memory over a reset; only interrupts go. */
  reset(): void {
    this.setRegister(REG_B, this.register(REG_B) & ~(B_PIE | B_AIE | B_UIE));
    this.setRegister(REG_C, 0);
    this.update();
  }

  /** Sets a byte of CMOS memory: what a BIOS would find there. */
  setMemory(index: number, value: number): void {
    this.cmos[index & 0x7f] = value;
  }

  memory(index: number): number {
    return this.register(index & 0x7f);
  }

  read(offset: number): number {
    if (offset === 0) return 0xff; // the index register is write only
    const value = this.readRegister(this.index);
    if (this.trace.rtc_read.on) this.trace.rtc_read.emit(this.index, value);
    return value;
  }

  write(offset: number, _size: number, value: number): void {
    if (offset === 0) {
      this.index = value & 0x7f; // bit 7 masks NMI on a PC
      return;
    }
    if (this.trace.rtc_write.on) this.trace.rtc_write.emit(this.index, value);
    this.writeRegister(this.index, value);
  }

  save(): SavedState {
    this.workOutFlags();
    const { index, offsetNs, heldNs } = this;
    return { kind: this.kind, version: 1, fields: { cmos: this.cmos.slice(), index, offsetNs, heldNs } };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.cmos.set(reader.bytes('cmos', this.cmos.length));
    this.index = reader.u8('index') & 0x7f;
    this.offsetNs = reader.number('offsetNs');
    this.heldNs = reader.number('heldNs');
    this.flagsSeenNs = this.guestNs();
    this.periodSeen = this.periods();
    this.update();
  }

  private register(index: number): number {
    // INVARIANT: every index is masked to 7 bits before it gets here.
    return this.cmos[index]!;
  }

  private setRegister(index: number, value: number): void {
    this.cmos[index] = value;
  }

  /** Whether time goes on with these values of registers A and B. */
  private runsWith(a: number, b: number): boolean {
    return (a & A_DIVIDER) === A_DIVIDER_32KHZ && (b & B_SET) === 0;
  }

  private get held(): boolean {
    return !this.runsWith(this.register(REG_A), this.register(REG_B));
  }

  private guestNs(): number {
    return this.held ? this.heldNs : this.wallClockNs() + this.offsetNs;
  }

  private readRegister(index: number): number {
    if (index <= YEAR && index !== SECONDS_ALARM && index !== MINUTES_ALARM && index !== HOURS_ALARM)
      return this.timeRegister(index);
    if (index === CENTURY) return this.timeRegister(index);
    if (index === REG_A) {
      const beforeUpdate = NS_PER_SECOND - (((this.guestNs() % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND);
      return (this.register(REG_A) & ~A_UIP) | (!this.held && beforeUpdate < UPDATE_NS ? A_UIP : 0);
    }
    if (index === REG_C) {
      this.workOutFlags();
      const flags = this.register(REG_C);
      this.setRegister(REG_C, 0);
      this.update();
      return flags;
    }
    return this.register(index);
  }

  private timeRegister(index: number): number {
    if (this.held) return this.register(index);
    const date = new Date(Math.floor(this.guestNs() / 1e6));
    switch (index) {
      case SECONDS:
        return this.encode(date.getUTCSeconds());
      case MINUTES:
        return this.encode(date.getUTCMinutes());
      case HOURS:
        return this.encodeHour(date.getUTCHours());
      case DAY_OF_WEEK:
        return this.encode(date.getUTCDay() + 1);
      case DAY_OF_MONTH:
        return this.encode(date.getUTCDate());
      case MONTH:
        return this.encode(date.getUTCMonth() + 1);
      case YEAR:
        return this.encode(date.getUTCFullYear() % 100);
      default:
        return this.encode(Math.floor(date.getUTCFullYear() / 100));
    }
  }

  private writeRegister(index: number, value: number): void {
    switch (index) {
      case SECONDS_ALARM:
      case MINUTES_ALARM:
      case HOURS_ALARM:
        this.workOutFlags();
        this.setRegister(index, value);
        this.update();
        break;
      case SECONDS:
      case MINUTES:
      case HOURS:
      case DAY_OF_WEEK:
      case DAY_OF_MONTH:
      case MONTH:
      case YEAR:
      case CENTURY:
        if (this.held) this.setRegister(index, value);
        else {
          this.hold();
          this.setRegister(index, value);
          this.resume();
        }
        this.update();
        break;
      case REG_A:
      case REG_B: {
        this.workOutFlags();
        // SET also clears UIE.
        const next = index === REG_A ? value & ~A_UIP : value & B_SET ? value & ~B_UIE : value;
        const runsNow = !this.held;
        const runsThen =
          index === REG_A ? this.runsWith(next, this.register(REG_B)) : this.runsWith(this.register(REG_A), next);
        if (runsNow && !runsThen) this.hold();
        this.setRegister(index, next);
        if (!runsNow && runsThen) this.resume();
        this.periodSeen = this.periods();
        this.update();
        break;
      }
      case REG_C:
      case REG_D:
        break; // read only
      default:
        this.setRegister(index, value);
    }
  }

  /** Time stops: its registers take the current values. */
  private hold(): void {
    const nowNs = this.guestNs();
    for (const index of [SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DAY_OF_MONTH, MONTH, YEAR, CENTURY])
      this.setRegister(index, this.timeRegister(index));
    this.heldNs = nowNs;
  }

  /** Time goes on from what its registers hold; a date that does not exist rolls over as Date.UTC has it. */
  private resume(): void {
    const register = (index: number): number => this.decode(this.register(index));
    const year = register(CENTURY) * 100 + register(YEAR);
    const ms = Date.UTC(
      year,
      register(MONTH) - 1,
      register(DAY_OF_MONTH),
      this.decodeHour(this.register(HOURS)),
      register(MINUTES),
      register(SECONDS),
    );
    const fraction = ((this.heldNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
    this.offsetNs = ms * 1e6 + fraction - this.wallClockNs();
    this.flagsSeenNs = this.guestNs();
  }

  private encode(value: number): number {
    return this.register(REG_B) & B_DM ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  private decode(value: number): number {
    return this.register(REG_B) & B_DM ? value : (value >> 4) * 10 + (value & 0xf);
  }

  private encodeHour(hour: number): number {
    if (this.register(REG_B) & B_24H) return this.encode(hour);
    return this.encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0);
  }

  private decodeHour(value: number): number {
    if (this.register(REG_B) & B_24H) return this.decode(value);
    return (this.decode(value & 0x7f) % 12) + (value & 0x80 ? 12 : 0);
  }

  /** The periodic rate in crystal ticks, 0 when off. */
  private periodTicks(): number {
    const rate = this.register(REG_A) & A_RATE;
    if (rate === 0 || (this.register(REG_A) & A_DIVIDER) !== A_DIVIDER_32KHZ) return 0;
    return 1 << ((rate <= 2 ? rate + 7 : rate) - 1);
  }

  /** How many periods have ended since the machine's clock began. */
  private periods(): number {
    const ticks = this.periodTicks();
    return ticks === 0 ? 0 : Math.floor(nsToTicks(this.clock.now(), CRYSTAL_HZ) / ticks);
  }

  /** Brings register C up to date with the time that has passed. */
  private workOutFlags(): void {
    let flags = this.register(REG_C) & ~C_IRQF;
    const periods = this.periods();
    if (periods > this.periodSeen) flags |= C_PF;
    this.periodSeen = periods;
    if (!this.held) {
      const nowNs = this.guestNs();
      const last = Math.floor(this.flagsSeenNs / NS_PER_SECOND);
      const now = Math.floor(nowNs / NS_PER_SECOND);
      if (now > last) flags |= C_UF;
      if (now > last && this.nextAlarm(last) <= now) flags |= C_AF;
      this.flagsSeenNs = nowNs;
    }
    if (flags & this.register(REG_B) & (B_PIE | B_AIE | B_UIE)) flags |= C_IRQF;
    this.setRegister(REG_C, flags);
  }

  /** The first second after `second` (since 1970) that matches the alarm registers, Infinity when none does. */
  private nextAlarm(second: number): number {
    const wanted = (index: number, decode: (value: number) => number): number => {
      const value = this.register(index);
      return (value & ALARM_ANY) === ALARM_ANY ? -1 : decode(value);
    };
    const s = wanted(SECONDS_ALARM, (value) => this.decode(value));
    const m = wanted(MINUTES_ALARM, (value) => this.decode(value));
    const h = wanted(HOURS_ALARM, (value) => this.decodeHour(value));
    if (s > 59 || m > 59 || h > 23) return Infinity;
    // Skip by hours and minutes that do not match; at most 24 + 60 + 60 steps, twice.
    let t = second + 1;
    for (const end = second + 2 * SECONDS_A_DAY; t < end;) {
      if (h >= 0 && Math.floor(t / 3600) % 24 !== h) t = (Math.floor(t / 3600) + 1) * 3600;
      else if (m >= 0 && Math.floor(t / 60) % 60 !== m) t = (Math.floor(t / 60) + 1) * 60;
      else if (s >= 0 && t % 60 !== s) t++;
      else return t;
    }
    return Infinity;
  }

  /** Flags, interrupt line and the timers that will change them. */
  private update(): void {
    this.workOutFlags();
    const enables = this.register(REG_B);
    const flags = this.register(REG_C);
    this.irq.set((flags & C_IRQF) !== 0);

    const ticks = this.periodTicks();
    if (ticks > 0 && enables & B_PIE && !(flags & C_PF))
      this.periodicTimer.arm(ticksToNs((this.periodSeen + 1) * ticks, CRYSTAL_HZ));
    else this.periodicTimer.cancel();

    const now = Math.floor(this.flagsSeenNs / NS_PER_SECOND);
    let next = Infinity;
    if (!this.held && enables & B_UIE && !(flags & C_UF)) next = now + 1;
    if (!this.held && enables & B_AIE && !(flags & C_AF)) next = Math.min(next, this.nextAlarm(now));
    // A wall clock in nanoseconds since 1970 is exact to 256 ns only: wake a little late rather than early.
    if (next === Infinity) this.updateTimer.cancel();
    else this.updateTimer.arm(this.clock.now() + Math.max(0, next * NS_PER_SECOND - this.flagsSeenNs) + 1000);
  }
}
