/**
 * The 16550A UART (TL16C550 data sheet): 16-byte FIFOs, interrupts by priority, modem control and status, loopback,
 * break. A pure register machine over a character backend: one model serves ISA, PCI and memory-mapped ports.
 *
 * Characters leave at once, at whatever rate the divisor says; when the backend takes no more, the transmitter holds
 * them and THRE stays clear. The interrupt output is not gated by OUT2: boards that gate it do so outside.
 */
import type { Timer } from '../../base/clock.ts';
import type { Disposable } from '../../base/events.ts';
import type { CharBackend, CharEvent } from '../../chardev/chardev.ts';
import { type SavedState, StateReader } from '../../state/state.ts';
import { defineEvents, type TracePoints } from '../../trace/trace.ts';
import type { Device, DeviceContext } from '../device.ts';
import type { IrqLine } from '../irq/irq-line.ts';

const EVENTS = defineEvents({
  serial_read: ['offset', 'value'],
  serial_write: ['offset', 'value'],
});

const IER_ERBFI = 0x01; // received data available
const IER_ETBEI = 0x02; // transmitter holding register empty
const IER_ELSI = 0x04; // receiver line status
const IER_EDSSI = 0x08; // modem status
const IIR_NONE = 0x01;
const IIR_MODEM = 0x00;
const IIR_THRE = 0x02;
const IIR_DATA = 0x04;
const IIR_LINE = 0x06;
const IIR_TIMEOUT = 0x0c;
const IIR_FIFOS = 0xc0;
const FCR_ENABLE = 0x01;
const FCR_CLEAR_RX = 0x02;
const FCR_CLEAR_TX = 0x04;
const LCR_BREAK = 0x40;
const LCR_DLAB = 0x80;
const MCR_DTR = 0x01;
const MCR_RTS = 0x02;
const MCR_OUT1 = 0x04;
const MCR_OUT2 = 0x08;
const MCR_LOOP = 0x10;
const MCR_WRITABLE = 0x1f;
const LSR_DR = 0x01;
const LSR_OE = 0x02;
const LSR_BI = 0x10;
const LSR_ERRORS = 0x1e; // OE PE FE BI
const LSR_THRE = 0x20;
const LSR_TEMT = 0x40;
const LSR_FIFO_ERROR = 0x80;
const MSR_DELTAS = 0x0f;
const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;

const FIFO_SIZE = 16;
const TRIGGER_LEVELS = [1, 4, 8, 14] as const;
const BREAK_MARK = 0x100; // on a received character: it is a break

export interface Uart16550Options extends Pick<DeviceContext, 'clock' | 'tracer'> {
  readonly irq: IrqLine;
  readonly backend: CharBackend;
  /** Input clock divided by 16. */
  readonly baudBase?: number;
}

export class Uart16550 implements Device {
  readonly kind: string = 'uart16550';
  private ier: number = 0;
  private lcr: number = 0;
  private mcr: number = 0;
  private scr: number = 0;
  private fcr: number = 0;
  private divisor: number = 12;
  private lineErrors: number = 0;
  private msr: number = 0;
  private received: number[] = [];
  private unsent: number[] = [];
  private threInterrupt: boolean = false;
  private timeout: boolean = false;

  private readonly irq: IrqLine;
  private readonly backend: CharBackend;
  private readonly clock: DeviceContext['clock'];
  private readonly baudBase: number;
  private readonly timeoutTimer: Timer;
  private readonly connection: Disposable;
  private readonly trace: TracePoints<typeof EVENTS>;
  private readonly oneByte: Uint8Array = new Uint8Array(1);

  constructor(options: Uart16550Options) {
    this.irq = options.irq;
    this.backend = options.backend;
    this.clock = options.clock;
    this.baudBase = options.baudBase ?? 115_200;
    this.trace = options.tracer.attach(EVENTS);
    this.timeoutTimer = this.clock.createTimer(() => {
      this.timeout = this.received.length > 0;
      this.update();
    });
    this.reset();
    this.connection = this.backend.attach({
      canReceive: () => this.roomForInput(),
      receive: (bytes) => bytes.forEach((byte) => this.accept(byte)),
      event: (event) => this.backendEvent(event),
      writable: () => this.transmit(),
    });
  }

  dispose(): void {
    this.timeoutTimer.cancel();
    this.connection.dispose();
  }

  reset(): void {
    this.ier = 0;
    this.lcr = 0;
    this.mcr = 0;
    this.fcr = 0;
    this.divisor = 12;
    this.lineErrors = 0;
    this.msr = MSR_DCD | MSR_DSR | MSR_CTS;
    this.received = [];
    this.unsent = [];
    this.threInterrupt = false;
    this.timeout = false;
    this.timeoutTimer.cancel();
    this.update();
  }

  read(offset: number): number {
    const value = this.readRegister(offset & 7);
    if (this.trace.serial_read.on) this.trace.serial_read.emit(offset, value);
    return value;
  }

  write(offset: number, _size: number, value: number): void {
    if (this.trace.serial_write.on) this.trace.serial_write.emit(offset, value);
    this.writeRegister(offset & 7, value & 0xff);
  }

  save(): SavedState {
    const { ier, lcr, mcr, scr, fcr, divisor, lineErrors, msr, threInterrupt, timeout } = this;
    const fields = {
      ier,
      lcr,
      mcr,
      scr,
      fcr,
      divisor,
      lineErrors,
      msr,
      threInterrupt,
      timeout,
      received: [...this.received],
      unsent: [...this.unsent],
    };
    return { kind: this.kind, version: 1, fields };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.ier = reader.u8('ier') & 0x0f;
    this.lcr = reader.u8('lcr');
    this.mcr = reader.u8('mcr') & MCR_WRITABLE;
    this.scr = reader.u8('scr');
    this.fcr = reader.u8('fcr');
    this.divisor = reader.u16('divisor');
    this.lineErrors = reader.u8('lineErrors') & LSR_ERRORS;
    this.msr = reader.u8('msr');
    this.received = reader.numbers('received', 0xff | BREAK_MARK).slice(0, FIFO_SIZE);
    this.unsent = reader.numbers('unsent', 0xff).slice(0, FIFO_SIZE);
    this.threInterrupt = reader.bool('threInterrupt');
    this.timeout = reader.bool('timeout');
    if (this.received.length > 0) this.armTimeout();
    this.transmit();
  }

  private get fifosOn(): boolean {
    return (this.fcr & FCR_ENABLE) !== 0;
  }

  private get loopback(): boolean {
    return (this.mcr & MCR_LOOP) !== 0;
  }

  private readRegister(register: number): number {
    const dlab = (this.lcr & LCR_DLAB) !== 0;
    switch (register) {
      case 0:
        return dlab ? this.divisor & 0xff : this.takeCharacter();
      case 1:
        return dlab ? this.divisor >> 8 : this.ier;
      case 2: {
        const iir = this.interruptId();
        if (iir === IIR_THRE) {
          this.threInterrupt = false;
          this.update();
        }
        return iir | (this.fifosOn ? IIR_FIFOS : 0);
      }
      case 3:
        return this.lcr;
      case 4:
        return this.mcr;
      case 5: {
        const value = this.lineStatus();
        this.lineErrors = 0;
        this.update();
        return value;
      }
      case 6: {
        const value = this.modemStatus() | (this.msr & MSR_DELTAS);
        this.msr &= ~MSR_DELTAS;
        this.update();
        return value;
      }
      default:
        return this.scr;
    }
  }

  private writeRegister(register: number, value: number): void {
    const dlab = (this.lcr & LCR_DLAB) !== 0;
    switch (register) {
      case 0:
        if (dlab) this.divisor = (this.divisor & 0xff00) | value;
        else this.send(value);
        break;
      case 1:
        if (dlab) {
          this.divisor = (this.divisor & 0xff) | (value << 8);
          break;
        }
        // Enabling the interrupt while the register is empty asks at once.
        if (value & IER_ETBEI && !(this.ier & IER_ETBEI) && this.unsent.length === 0) this.threInterrupt = true;
        this.ier = value & 0x0f;
        this.update();
        break;
      case 2:
        this.writeFifoControl(value);
        break;
      case 3: {
        const breakChanged = ((this.lcr ^ value) & LCR_BREAK) !== 0;
        this.lcr = value;
        if (breakChanged) this.backend.setBreak?.((value & LCR_BREAK) !== 0);
        break;
      }
      case 4: {
        const before = this.modemStatus();
        this.mcr = value & MCR_WRITABLE;
        this.noteModemChange(before);
        if (!this.loopback) this.backend.acceptInput();
        break;
      }
      case 7:
        this.scr = value;
        break;
      default: // LSR and MSR: writes are for factory tests
    }
  }

  private writeFifoControl(value: number): void {
    const toggled = ((this.fcr ^ value) & FCR_ENABLE) !== 0;
    if (toggled || value & FCR_CLEAR_RX) {
      this.received = [];
      this.timeout = false;
      this.timeoutTimer.cancel();
    }
    if (toggled || value & FCR_CLEAR_TX) {
      this.unsent = [];
      this.threInterrupt = true;
    }
    this.fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
    this.update();
    this.backend.acceptInput();
  }

  private send(byte: number): void {
    this.threInterrupt = false;
    if (this.loopback) {
      this.accept(byte);
      this.threInterrupt = true;
      this.update();
      return;
    }
    if (this.unsent.length === 0) {
      this.oneByte[0] = byte;
      if (this.backend.write(this.oneByte) === 1) {
        this.threInterrupt = true;
        this.update();
        return;
      }
    }
    // GUEST: software that ignores THRE overwrites the last character, as the hardware does.
    if (this.unsent.length >= (this.fifosOn ? FIFO_SIZE : 1)) this.unsent.pop();
    this.unsent.push(byte);
    this.update();
  }

  /** Gives the backend what it did not take before. */
  private transmit(): void {
    if (this.unsent.length > 0) {
      this.unsent.splice(0, this.backend.write(Uint8Array.from(this.unsent)));
      if (this.unsent.length === 0) this.threInterrupt = true;
    }
    this.update();
  }

  private roomForInput(): number {
    if (this.loopback) return 0;
    return Math.max(0, (this.fifosOn ? FIFO_SIZE : 1) - this.received.length);
  }

  private accept(character: number): void {
    if (this.received.length >= (this.fifosOn ? FIFO_SIZE : 1)) {
      this.lineErrors |= LSR_OE;
      if (!this.fifosOn) this.received[0] = character;
    } else this.received.push(character);
    if (character & BREAK_MARK && this.received.length === 1) this.lineErrors |= LSR_BI;
    this.armTimeout();
    this.update();
  }

  private takeCharacter(): number {
    const character = this.received.shift() ?? 0;
    this.timeout = false;
    if (this.received.length === 0) this.timeoutTimer.cancel();
    else this.armTimeout();
    if ((this.received[0] ?? 0) & BREAK_MARK) this.lineErrors |= LSR_BI;
    this.update();
    this.backend.acceptInput();
    return character & 0xff;
  }

  /** Fewer characters than the trigger level interrupt after four character times. */
  private armTimeout(): void {
    if (!this.fifosOn) return;
    const bitsPerCharacter = 10;
    const baud = this.baudBase / Math.max(1, this.divisor);
    this.timeoutTimer.arm(this.clock.now() + (4 * bitsPerCharacter * 1e9) / baud);
  }

  private backendEvent(event: CharEvent): void {
    if (event === 'break') {
      this.accept(BREAK_MARK);
      return;
    }
    const before = this.modemStatus();
    const connected = MSR_DCD | MSR_DSR | MSR_CTS;
    this.msr = event === 'opened' ? this.msr | connected : this.msr & ~connected;
    this.noteModemChange(before);
  }

  private lineStatus(): number {
    const idle = this.unsent.length === 0;
    const fifoError = this.fifosOn && this.received.some((character) => character & BREAK_MARK);
    return (
      (this.received.length > 0 ? LSR_DR : 0) |
      this.lineErrors |
      (idle ? LSR_THRE | LSR_TEMT : 0) |
      (fifoError ? LSR_FIFO_ERROR : 0)
    );
  }

  /** In loopback the modem inputs are wired to the modem outputs. */
  private loopedModemStatus(): number {
    const { mcr } = this;
    return (
      (mcr & MCR_RTS ? MSR_CTS : 0) |
      (mcr & MCR_DTR ? MSR_DSR : 0) |
      (mcr & MCR_OUT1 ? MSR_RI : 0) |
      (mcr & MCR_OUT2 ? MSR_DCD : 0)
    );
  }

  private modemStatus(): number {
    return this.loopback ? this.loopedModemStatus() : this.msr & ~MSR_DELTAS;
  }

  private noteModemChange(before: number): void {
    const now = this.modemStatus();
    const changed = (before ^ now) >> 4;
    // The ring indicator's delta bit is for its trailing edge only.
    this.msr |= (changed & 0x0b) | (before & MSR_RI && !(now & MSR_RI) ? 0x04 : 0);
    this.update();
  }

  private interruptId(): number {
    if (this.ier & IER_ELSI && this.lineErrors !== 0) return IIR_LINE;
    if (this.ier & IER_ERBFI && this.received.length > 0) {
      // INVARIANT: two bits index four levels.
      const trigger = this.fifosOn ? TRIGGER_LEVELS[(this.fcr >> 6) as 0 | 1 | 2 | 3] : 1;
      if (this.received.length >= trigger) return IIR_DATA;
      if (this.timeout) return IIR_TIMEOUT;
    }
    if (this.ier & IER_ETBEI && this.threInterrupt) return IIR_THRE;
    if (this.ier & IER_EDSSI && this.msr & MSR_DELTAS) return IIR_MODEM;
    return IIR_NONE;
  }

  private update(): void {
    this.irq.set(this.interruptId() !== IIR_NONE);
  }
}
