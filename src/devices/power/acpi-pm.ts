/**
 * ACPI fixed hardware (ACPI 6.4, 4.8): PM1 event and control registers, the 24-bit power management timer, one general
 * purpose event block. A pure register machine; piix4-pm.ts puts it on the PC's chipset.
 */
import { nsToTicks, type Timer, ticksToNs } from '../../base/clock.ts';
import { type SavedState, StateReader } from '../../state/state.ts';
import { defineEvents, type TracePoints } from '../../trace/trace.ts';
import type { Device, DeviceContext } from '../device.ts';
import type { IrqLine } from '../irq/irq-line.ts';

const EVENTS = defineEvents({
  acpi_pm1_control: ['value'],
  acpi_sleep: ['type'],
  acpi_sci: ['level'],
});

export const PM_TIMER_HZ = 3_579_545;
const TIMER_BITS = 24;

export const PM1_STATUS = 0x00;
const PM1_ENABLE = 0x02;
export const PM1_CONTROL = 0x04;
export const PM_TIMER = 0x08;
export const GPE0_STATUS = 0x0c;
const GPE0_ENABLE = 0x0e;
/** Bytes the block takes in port space. */
export const ACPI_PM_SIZE = 0x40;

const STS_TIMER = 0x0001;
const STS_BUS_MASTER = 0x0010;
const STS_GLOBAL = 0x0020;
const STS_POWER_BUTTON = 0x0100;
const STS_SLEEP_BUTTON = 0x0200;
const STS_RTC = 0x0400;
const STS_WAKE = 0x8000;
const STS_ALL = STS_TIMER | STS_BUS_MASTER | STS_GLOBAL | STS_POWER_BUTTON | STS_SLEEP_BUTTON | STS_RTC | STS_WAKE;
const ENABLE_ALL = STS_TIMER | STS_GLOBAL | STS_POWER_BUTTON | STS_SLEEP_BUTTON | STS_RTC;
const CONTROL_SCI_EN = 0x0001;
const CONTROL_WRITABLE = 0x1c07;
const CONTROL_SLP_EN = 0x2000;

/** Sleep types of the \_Sx packages in the DSDT. */
export const SLEEP_TYPE_S5 = 0;

export interface AcpiPmOptions extends Pick<DeviceContext, 'clock' | 'tracer'> {
  /** System control interrupt. */
  readonly sci: IrqLine;
  /** The guest asked for a sleep state by its type. */
  readonly onSleep: (type: number) => void;
}

export class AcpiPm implements Device {
  readonly kind: string = 'acpi-pm';
  private status: number = 0;
  private enable: number = 0;
  private control: number = 0;
  private gpeStatus: number = 0;
  private gpeEnable: number = 0;
  /** Half-turns of the timer (its top bit toggles) whose status bit has been set. */
  private halfTurnsSeen: number = 0;
  private readonly clock: DeviceContext['clock'];
  private readonly options: AcpiPmOptions;
  private readonly timer: Timer;
  private readonly trace: TracePoints<typeof EVENTS>;

  constructor(options: AcpiPmOptions) {
    this.options = options;
    this.clock = options.clock;
    this.trace = options.tracer.attach(EVENTS);
    this.timer = this.clock.createTimer(() => this.update());
  }

  reset(): void {
    this.status = 0;
    this.enable = 0;
    this.control = 0;
    this.gpeStatus = 0;
    this.gpeEnable = 0;
    this.halfTurnsSeen = this.halfTurns();
    this.update();
  }

  /** Legacy or ACPI mode: whether events raise the SCI. */
  setAcpiEnabled(enabled: boolean): void {
    this.control = enabled ? this.control | CONTROL_SCI_EN : this.control & ~CONTROL_SCI_EN;
    this.update();
  }

  /** The user pressed the power button. */
  pressPowerButton(): void {
    this.status |= STS_POWER_BUTTON;
    this.update();
  }

  /** Raises general purpose event 0 to 15. */
  raiseGpe(event: number): void {
    this.gpeStatus |= 1 << event;
    this.update();
  }

  read(offset: number, size: number): number {
    // Registers are 16 bits wide, the timer 32; a byte is a part of its register.
    if (offset >= PM_TIMER && offset < PM_TIMER + 4) return this.timerValue() >>> ((offset & 3) * 8);
    const low = this.register(offset & ~1) >> ((offset & 1) * 8);
    return size === 4 ? low | (this.register((offset & ~1) + 2) << 16) : low;
  }

  write(offset: number, size: number, value: number): void {
    if (size === 4) {
      this.write(offset, 2, value & 0xffff);
      this.write(offset + 2, 2, value >>> 16);
      return;
    }
    const register = offset & ~1;
    if (size === 2 && offset === register) {
      this.writeRegister(register, value);
      return;
    }
    // A byte: the other half keeps its value, and writes no ones where ones clear.
    const other = register === PM1_STATUS || register === GPE0_STATUS ? 0 : this.register(register);
    const shift = (offset & 1) * 8;
    this.writeRegister(register, (other & ~(0xff << shift)) | ((value & 0xff) << shift));
  }

  save(): SavedState {
    const { status, enable, control, gpeStatus, gpeEnable } = this;
    return { kind: this.kind, version: 1, fields: { status, enable, control, gpeStatus, gpeEnable } };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.status = reader.u16('status');
    this.enable = reader.u16('enable');
    this.control = reader.u16('control') & CONTROL_WRITABLE;
    this.gpeStatus = reader.u16('gpeStatus');
    this.gpeEnable = reader.u16('gpeEnable');
    this.halfTurnsSeen = this.halfTurns();
    this.update();
  }

  private ticks(): number {
    return nsToTicks(this.clock.now(), PM_TIMER_HZ);
  }

  private timerValue(): number {
    return this.ticks() % 2 ** TIMER_BITS;
  }

  private halfTurns(): number {
    return Math.floor(this.ticks() / 2 ** (TIMER_BITS - 1));
  }

  private register(offset: number): number {
    switch (offset) {
      case PM1_STATUS:
        this.noteTimer();
        return this.status;
      case PM1_ENABLE:
        return this.enable;
      case PM1_CONTROL:
        return this.control;
      case GPE0_STATUS:
        return this.gpeStatus;
      case GPE0_ENABLE:
        return this.gpeEnable;
      default:
        return 0;
    }
  }

  private writeRegister(offset: number, value: number): void {
    switch (offset) {
      case PM1_STATUS:
        this.noteTimer();
        this.status &= ~(value & STS_ALL);
        break;
      case PM1_ENABLE:
        this.enable = value & ENABLE_ALL;
        break;
      case PM1_CONTROL:
        if (this.trace.acpi_pm1_control.on) this.trace.acpi_pm1_control.emit(value);
        // SCI_EN belongs to the firmware: the SMI command port changes it.
        this.control = (value & CONTROL_WRITABLE & ~CONTROL_SCI_EN) | (this.control & CONTROL_SCI_EN);
        if (value & CONTROL_SLP_EN) this.sleep((value >> 10) & 7);
        break;
      case GPE0_STATUS:
        this.gpeStatus &= ~value;
        break;
      case GPE0_ENABLE:
        this.gpeEnable = value & 0xffff;
        break;
      default:
        return;
    }
    this.update();
  }

  private sleep(type: number): void {
    if (this.trace.acpi_sleep.on) this.trace.acpi_sleep.emit(type);
    this.options.onSleep(type);
  }

  private noteTimer(): void {
    const turns = this.halfTurns();
    if (turns !== this.halfTurnsSeen) this.status |= STS_TIMER;
    this.halfTurnsSeen = turns;
  }

  private update(): void {
    this.noteTimer();
    const event = (this.status & this.enable) !== 0 || (this.gpeStatus & this.gpeEnable) !== 0;
    const level = event && (this.control & CONTROL_SCI_EN) !== 0;
    if (this.trace.acpi_sci.on) this.trace.acpi_sci.emit(level);
    this.options.sci.set(level);
    // Someone waits for the timer's top bit only while its enable bit is set and its status bit is not.
    const waits = (this.enable & STS_TIMER) !== 0 && (this.status & STS_TIMER) === 0;
    if (waits) this.timer.arm(ticksToNs((this.halfTurnsSeen + 1) * 2 ** (TIMER_BITS - 1), PM_TIMER_HZ));
    else this.timer.cancel();
  }
}
