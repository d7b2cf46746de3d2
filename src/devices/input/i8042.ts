/**
 * The 8042 keyboard controller of a PC/AT and PS/2: command and data ports, two PS/2 ports, translation of scan codes,
 * the output port with A20 gate and CPU reset.
 */
import type { PortSpace } from '../../memory/port-space.ts';
import { type Disposable, DisposableStore } from '../../base/events.ts';
import { type SavedState, StateReader } from '../../state/state.ts';
import { defineEvents, type TracePoints } from '../../trace/trace.ts';
import type { Device, DeviceContext } from '../device.ts';
import type { IrqLine } from '../irq/irq-line.ts';
import { translateScanCode } from './scan-codes.ts';

const EVENTS = defineEvents({
  i8042_command: ['value'],
  i8042_data_write: ['value'],
  i8042_data_read: ['value'],
});

const STATUS_OUTPUT_FULL = 0x01;
const STATUS_SYSTEM = 0x04; // self test passed
const STATUS_COMMAND = 0x08; // the last write was a command
const STATUS_UNLOCKED = 0x10;
const STATUS_AUX_FULL = 0x20; // the byte is the mouse's

const MODE_KEYBOARD_INTERRUPT = 0x01;
const MODE_AUX_INTERRUPT = 0x02;
const MODE_SYSTEM = 0x04;
const MODE_KEYBOARD_OFF = 0x10;
const MODE_AUX_OFF = 0x20;
const MODE_TRANSLATE = 0x40;

const OUTPUT_RESET_N = 0x01; // low resets the CPU
const OUTPUT_A20 = 0x02;
const OUTPUT_KEYBOARD_FULL = 0x10;
const OUTPUT_AUX_FULL = 0x20;

/** What hangs on one of the two PS/2 ports. */
export interface Ps2Device {
  /** A byte from the controller. */
  write(value: number): void;
  /** The next byte for the controller, undefined when there is none. */
  read(): number | undefined;
  /** Set by the controller: called when a byte became available. */
  onData: (() => void) | undefined;
  reset(): void;
}

export interface I8042Options extends Pick<DeviceContext, 'tracer'> {
  readonly keyboardIrq: IrqLine;
  readonly mouseIrq: IrqLine;
  readonly keyboard?: Ps2Device;
  readonly mouse?: Ps2Device;
  readonly onA20: (enabled: boolean) => void;
  readonly onReset: () => void;
}

export class I8042 implements Device {
  readonly kind: string = 'i8042';
  private mode: number = 0;
  private outputPort: number = 0;
  /** The byte in the output buffer, -1 when empty. */
  private output: number = -1;
  private outputIsAux: boolean = false;
  /** Answers of the controller itself that wait for the buffer. */
  private answers: number[] = [];
  private lastWasCommand: boolean = false;
  /** The command whose parameter the next data write is, 0 when it is for the keyboard. */
  private pendingCommand: number = 0;
  private readonly memory: Uint8Array = new Uint8Array(32);
  private breakPrefix: boolean = false;
  private readonly options: I8042Options;
  private readonly trace: TracePoints<typeof EVENTS>;

  constructor(options: I8042Options) {
    this.options = options;
    this.trace = options.tracer.attach(EVENTS);
    if (options.keyboard) options.keyboard.onData = (): void => this.fill();
    if (options.mouse) options.mouse.onData = (): void => this.fill();
    this.setDefaults();
  }

  attach(ports: PortSpace): Disposable {
    const registrations = new DisposableStore();
    registrations.add(
      ports.register(
        { name: 'i8042-data', first: 0x60, count: 1 },
        { read: () => this.readData(), write: (_o, _s, value) => this.writeData(value) },
      ),
    );
    registrations.add(
      ports.register(
        { name: 'i8042-command', first: 0x64, count: 1 },
        { read: () => this.status(), write: (_o, _s, value) => this.command(value) },
      ),
    );
    return registrations;
  }

  reset(): void {
    this.setDefaults();
    this.options.keyboard?.reset();
    this.options.mouse?.reset();
    this.updateInterrupts();
    this.options.onA20(true);
  }

  save(): SavedState {
    const { mode, outputPort, output, outputIsAux, lastWasCommand, pendingCommand, breakPrefix } = this;
    return {
      kind: this.kind,
      version: 1,
      fields: {
        mode,
        outputPort,
        output,
        outputIsAux,
        lastWasCommand,
        pendingCommand,
        breakPrefix,
        answers: [...this.answers],
        memory: this.memory.slice(),
      },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.mode = reader.u8('mode');
    this.outputPort = reader.u8('outputPort');
    this.output = reader.number('output', -1, 0xff);
    this.outputIsAux = reader.bool('outputIsAux');
    this.lastWasCommand = reader.bool('lastWasCommand');
    this.pendingCommand = reader.u8('pendingCommand');
    this.breakPrefix = reader.bool('breakPrefix');
    this.answers = reader.numbers('answers', 0xff);
    this.memory.set(reader.bytes('memory', 32));
    this.updateInterrupts();
  }

  private setDefaults(): void {
    this.mode = MODE_KEYBOARD_INTERRUPT | MODE_AUX_INTERRUPT | MODE_TRANSLATE | MODE_SYSTEM;
    this.outputPort = OUTPUT_RESET_N | OUTPUT_A20;
    this.output = -1;
    this.outputIsAux = false;
    this.answers = [];
    this.lastWasCommand = true;
    this.pendingCommand = 0;
    this.breakPrefix = false;
  }

  private status(): number {
    const full = this.output >= 0 ? STATUS_OUTPUT_FULL | (this.outputIsAux ? STATUS_AUX_FULL : 0) : 0;
    return (
      full |
      (this.mode & MODE_SYSTEM ? STATUS_SYSTEM : 0) |
      (this.lastWasCommand ? STATUS_COMMAND : 0) |
      STATUS_UNLOCKED
    );
  }

  private readData(): number {
    const value = Math.max(0, this.output);
    if (this.trace.i8042_data_read.on) this.trace.i8042_data_read.emit(value);
    this.output = -1;
    this.updateInterrupts();
    this.fill();
    return value;
  }

  private command(value: number): void {
    if (this.trace.i8042_command.on) this.trace.i8042_command.emit(value);
    this.lastWasCommand = true;
    this.pendingCommand = 0;
    if (value >= 0x20 && value < 0x40) this.answer(value === 0x20 ? this.mode : (this.memory[value & 0x1f] ?? 0));
    else if (value >= 0x60 && value < 0x80) this.pendingCommand = value;
    else if (value >= 0xf0) this.pulseOutputs(value & 0xf);
    else this.otherCommand(value);
  }

  private otherCommand(value: number): void {
    switch (value) {
      case 0xa7:
        this.setMode(this.mode | MODE_AUX_OFF);
        break;
      case 0xa8:
        this.setMode(this.mode & ~MODE_AUX_OFF);
        break;
      case 0xa9: // test the mouse port: passed
        this.answer(0x00);
        break;
      case 0xaa: // self test: passed
        this.setMode(this.mode | MODE_SYSTEM);
        this.answer(0x55);
        break;
      case 0xab: // test the keyboard port: passed
        this.answer(0x00);
        break;
      case 0xad:
        this.setMode(this.mode | MODE_KEYBOARD_OFF);
        break;
      case 0xae:
        this.setMode(this.mode & ~MODE_KEYBOARD_OFF);
        break;
      case 0xc0: // input port: keyboard not inhibited
        this.answer(0x80);
        break;
      case 0xd0:
        this.answer(
          this.outputPort | (this.output >= 0 ? (this.outputIsAux ? OUTPUT_AUX_FULL : OUTPUT_KEYBOARD_FULL) : 0),
        );
        break;
      case 0xd1:
      case 0xd2:
      case 0xd3:
      case 0xd4:
        this.pendingCommand = value;
        break;
      case 0xdd:
        this.setOutputPort(this.outputPort & ~OUTPUT_A20);
        break;
      case 0xdf:
        this.setOutputPort(this.outputPort | OUTPUT_A20);
        break;
      default: // unknown commands are ignored, as the chip's firmware did
    }
  }

  private writeData(value: number): void {
    if (this.trace.i8042_data_write.on) this.trace.i8042_data_write.emit(value);
    this.lastWasCommand = false;
    const command = this.pendingCommand;
    this.pendingCommand = 0;
    if (command === 0x60) this.setMode(value);
    else if (command > 0x60 && command < 0x80) this.memory[command & 0x1f] = value;
    else if (command === 0xd1) this.setOutputPort(value);
    else if (command === 0xd2) this.put(value, false);
    else if (command === 0xd3) this.put(value, true);
    else if (command === 0xd4) this.options.mouse?.write(value);
    else {
      // Writing to the keyboard also switches it on.
      this.setMode(this.mode & ~MODE_KEYBOARD_OFF);
      this.options.keyboard?.write(value);
    }
  }

  private answer(value: number): void {
    this.answers.push(value);
    if (this.answers.length > 16) this.answers.shift(); // GUEST: commands without reading the answers
    this.fill();
  }

  private put(value: number, aux: boolean): void {
    this.output = value;
    this.outputIsAux = aux;
    this.updateInterrupts();
  }

  /** Moves the next byte into the output buffer when that is empty: the controller's own first, then keyboard, then mouse. */
  private fill(): void {
    while (this.output < 0) {
      const answer = this.answers.shift();
      if (answer !== undefined) {
        this.put(answer, false);
        return;
      }
      const key = this.mode & MODE_KEYBOARD_OFF ? undefined : this.options.keyboard?.read();
      if (key !== undefined) {
        const code = this.translate(key);
        if (code === undefined) continue;
        this.put(code, false);
        return;
      }
      const movement = this.mode & MODE_AUX_OFF ? undefined : this.options.mouse?.read();
      if (movement === undefined) return;
      this.put(movement, true);
    }
  }

  /** Scan code set 2 to set 1: a break prefix becomes the top bit of the code after it. */
  private translate(code: number): number | undefined {
    if (!(this.mode & MODE_TRANSLATE)) return code;
    if (code === 0xf0) {
      this.breakPrefix = true;
      return undefined;
    }
    const translated = translateScanCode(code) | (this.breakPrefix ? 0x80 : 0);
    if (code !== 0xe0) this.breakPrefix = false;
    return translated;
  }

  private setMode(mode: number): void {
    this.mode = mode;
    this.updateInterrupts();
    this.fill();
  }

  private setOutputPort(value: number): void {
    this.outputPort = value;
    this.options.onA20((value & OUTPUT_A20) !== 0);
    if (!(value & OUTPUT_RESET_N)) this.options.onReset();
  }

  /** Commands 0xF0–0xFF pulse the output port's low bits that are 0; bit 0 is the CPU's reset. */
  private pulseOutputs(bits: number): void {
    if (!(bits & OUTPUT_RESET_N)) this.options.onReset();
  }

  private updateInterrupts(): void {
    const full = this.output >= 0;
    this.options.keyboardIrq.set(full && !this.outputIsAux && (this.mode & MODE_KEYBOARD_INTERRUPT) !== 0);
    this.options.mouseIrq.set(full && this.outputIsAux && (this.mode & MODE_AUX_INTERRUPT) !== 0);
  }
}
