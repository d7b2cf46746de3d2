/**
 * KVM's paravirtual clock (Documentation/virt/kvm/x86/msr.rst and cpuid.rst): structures in guest memory that turn the
 * guest's TSC into nanoseconds, and the wall clock at which that count began. The vCPU's TSC runs at one fixed rate, so a
 * structure is written once, when the guest registers it, and stays true.
 *
 * Left out: steal time, asynchronous page faults, paravirtual EOI.
 */
import type { Clock } from '../base/clock.ts';
import { ByteBuilder } from '../base/bytes.ts';
import type { Device } from '../devices/device.ts';
import type { GuestTsc } from '../devices/irq/apic-timer.ts';
import type { DmaMemory } from '../memory/address-space.ts';
import { type SavedState, StateReader } from '../state/state.ts';

const MSR_WALL_CLOCK = 0x11;
const MSR_SYSTEM_TIME = 0x12;
const MSR_WALL_CLOCK_NEW = 0x4b564d00;
const MSR_SYSTEM_TIME_NEW = 0x4b564d01;

const SYSTEM_TIME_ENABLE = 1;
const FLAG_TSC_STABLE = 0x01;
/** Upper half of the first address past 52 bits. */
const ADDRESS_HIGH_LIMIT = 0x100000;
const ZERO: Halves = { low: 0, high: 0 };

/** A 64-bit register. */
export interface Halves {
  readonly low: number;
  readonly high: number;
}

export interface ParavirtClockOptions {
  readonly clock: Clock;
  readonly memory: DmaMemory;
  readonly tsc: GuestTsc;
  readonly wallClockNs: () => number;
}

/** How TSC ticks become nanoseconds: ((ticks << shift) * multiplier) >> 32, shift negative for a right shift. */
export function tscScale(hz: number): { multiplier: number; shift: number } {
  let shift = 0;
  let ticksPerSecond = hz;
  // The multiplier is a 32-bit fraction of 2^32: bring 10^9 / hz into [0.5, 1).
  while (ticksPerSecond <= 1e9) {
    ticksPerSecond *= 2;
    shift++;
  }
  while (ticksPerSecond > 2e9) {
    ticksPerSecond /= 2;
    shift--;
  }
  return { multiplier: Math.min(0xffffffff, Math.floor((1e9 / ticksPerSecond) * 0x1_0000_0000)), shift };
}

export class ParavirtClock implements Device {
  readonly kind: string = 'paravirt-clock';
  /** Each vCPU's MSR_SYSTEM_TIME as written. */
  private readonly systemTime: Map<number, Halves> = new Map();
  private wallClock: Halves = ZERO;
  private version: number = 0;
  private readonly options: ParavirtClockOptions;

  constructor(options: ParavirtClockOptions) {
    this.options = options;
  }

  reset(): void {
    this.systemTime.clear();
    this.wallClock = ZERO;
  }

  /** Undefined: not one of this clock's registers. */
  readMsr(cpu: number, msr: number): Halves | undefined {
    if (msr === MSR_SYSTEM_TIME || msr === MSR_SYSTEM_TIME_NEW) return this.systemTime.get(cpu) ?? ZERO;
    if (msr === MSR_WALL_CLOCK || msr === MSR_WALL_CLOCK_NEW) return this.wallClock;
    return undefined;
  }

  writeMsr(cpu: number, msr: number, low: number, high: number): boolean {
    const value = { low: low >>> 0, high: high >>> 0 };
    if (msr === MSR_SYSTEM_TIME || msr === MSR_SYSTEM_TIME_NEW) {
      this.systemTime.set(cpu, value);
      this.writeTimeInfo(value);
      return true;
    }
    if (msr === MSR_WALL_CLOCK || msr === MSR_WALL_CLOCK_NEW) {
      this.wallClock = value;
      this.writeWallClock(value);
      return true;
    }
    return false;
  }

  /** The guest's TSC or the virtual clock was set: the relation between them is another one now. */
  timeChanged(): void {
    for (const value of this.systemTime.values()) this.writeTimeInfo(value);
  }

  save(): SavedState {
    const { wallClock, version } = this;
    return {
      kind: this.kind,
      version: 1,
      fields: {
        cpus: [...this.systemTime.keys()],
        systemTimeLow: [...this.systemTime.values()].map(({ low }) => low),
        systemTimeHigh: [...this.systemTime.values()].map(({ high }) => high),
        wallClockLow: wallClock.low,
        wallClockHigh: wallClock.high,
        version,
      },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    const cpus = reader.numbers('cpus', 0xffff);
    const low = reader.numbers('systemTimeLow', 0xffffffff, cpus.length);
    const high = reader.numbers('systemTimeHigh', 0xffffffff, cpus.length);
    this.systemTime.clear();
    cpus.forEach((cpu, i) => this.systemTime.set(cpu, { low: low[i] ?? 0, high: high[i] ?? 0 }));
    this.wallClock = { low: reader.u32('wallClockLow'), high: reader.u32('wallClockHigh') };
    this.version = reader.u32('version');
    this.timeChanged();
  }

  private writeTimeInfo(value: Halves): void {
    if ((value.low & SYSTEM_TIME_ENABLE) === 0) return;
    // GUEST: the address is any number; what is not RAM there takes no harm, and past the address space nothing is.
    if (value.high >= ADDRESS_HIGH_LIMIT) return;
    const address = value.high * 0x1_0000_0000 + value.low - SYSTEM_TIME_ENABLE;
    const { multiplier, shift } = tscScale(this.options.tsc.hz);
    const info = new ByteBuilder()
      .u32(this.nextVersion())
      .u32(0)
      .u64(this.options.tsc.read())
      .u64(Math.floor(this.options.clock.now()))
      .u32(multiplier)
      .u8(shift & 0xff)
      .u8(FLAG_TSC_STABLE)
      .u16(0)
      .build();
    this.options.memory.writeBytes(address, info);
  }

  /** The wall clock when system time was 0. */
  private writeWallClock({ low, high }: Halves): void {
    const address = high * 0x1_0000_0000 + low;
    // GUEST: as in writeTimeInfo.
    if (address === 0 || high >= ADDRESS_HIGH_LIMIT) return;
    const bootNs = this.options.wallClockNs() - this.options.clock.now();
    const seconds = Math.floor(bootNs / 1e9);
    const info = new ByteBuilder()
      .u32(this.nextVersion())
      .u32(seconds)
      .u32(Math.floor(bootNs - seconds * 1e9))
      .build();
    this.options.memory.writeBytes(address, info);
  }

  /** Even: the structure is whole. */
  private nextVersion(): number {
    this.version = (this.version + 2) % 0x1_0000_0000;
    return this.version;
  }
}
