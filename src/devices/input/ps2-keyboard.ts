/** A PS/2 keyboard (MF II, scan code set 2): answers the commands of the controller and sends keys. */
import { type SavedState, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';
import type { Ps2Device } from './i8042.ts';
import { untranslateScanCode } from './scan-codes.ts';

const ACK = 0xfa;
const RESEND = 0xfe;
const SELF_TEST_PASSED = 0xaa;
const ID = [0xab, 0x83] as const;
const QUEUE_LIMIT = 64;
const SET_LEDS = 0xed;
const ECHO = 0xee;
const SCAN_CODE_SET = 0xf0;
const IDENTIFY = 0xf2;
const SET_RATE = 0xf3;
const ENABLE = 0xf4;
const DISABLE = 0xf5;
const DEFAULTS = 0xf6;
const RESEND_LAST = 0xfe;
const RESET = 0xff;

export class Ps2Keyboard implements Device, Ps2Device {
  readonly kind: string = 'ps2-keyboard';
  onData: (() => void) | undefined;
  /** Scroll, Num and Caps Lock lights, bits 0 to 2. */
  leds: number = 0;
  private queue: number[] = [];
  private enabled: boolean = true;
  private scanCodeSet: number = 2;
  private pendingCommand: number = 0;
  private lastSent: number = 0;

  reset(): void {
    this.queue = [];
    this.enabled = true;
    this.scanCodeSet = 2;
    this.pendingCommand = 0;
    this.leds = 0;
  }

  /** A key by its set 1 code (as in Linux's and PC software's tables); `extended` for those with an E0 prefix. */
  key(set1Code: number, pressed: boolean, extended: boolean = false): void {
    const code = this.scanCodeSet === 1 ? set1Code | (pressed ? 0 : 0x80) : untranslateScanCode(set1Code);
    if (!this.enabled || code === 0 || this.queue.length + 3 > QUEUE_LIMIT) return;
    if (extended) this.queue.push(0xe0);
    if (!pressed && this.scanCodeSet !== 1) this.queue.push(0xf0);
    this.queue.push(code);
    this.onData?.();
  }

  read(): number | undefined {
    const value = this.queue.shift();
    if (value !== undefined) this.lastSent = value;
    return value;
  }

  write(value: number): void {
    const command = this.pendingCommand;
    this.pendingCommand = 0;
    if (command === SET_LEDS) {
      this.leds = value & 7;
      this.send(ACK);
    } else if (command === SCAN_CODE_SET) {
      if (value === 0) this.send(ACK, this.scanCodeSet);
      else {
        if (value <= 2) this.scanCodeSet = value;
        this.send(value <= 2 ? ACK : RESEND);
      }
    } else if (command === SET_RATE) this.send(ACK);
    else this.command(value);
  }

  save(): SavedState {
    const { leds, enabled, scanCodeSet, pendingCommand, lastSent } = this;
    return {
      kind: this.kind,
      version: 1,
      fields: { leds, enabled, scanCodeSet, pendingCommand, lastSent, queue: [...this.queue] },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.leds = reader.integer('leds', 7);
    this.enabled = reader.bool('enabled');
    this.scanCodeSet = reader.integer('scanCodeSet', 2);
    this.pendingCommand = reader.u8('pendingCommand');
    this.lastSent = reader.u8('lastSent');
    this.queue = reader.numbers('queue', 0xff).slice(0, QUEUE_LIMIT);
  }

  private command(value: number): void {
    switch (value) {
      case SET_LEDS:
      case SCAN_CODE_SET:
      case SET_RATE:
        this.pendingCommand = value;
        this.send(ACK);
        break;
      case ECHO:
        this.send(ECHO);
        break;
      case IDENTIFY:
        this.send(ACK, ...ID);
        break;
      case ENABLE:
      case DISABLE:
        this.enabled = value === ENABLE;
        this.queue = [];
        this.send(ACK);
        break;
      case DEFAULTS:
        this.enabled = true;
        this.scanCodeSet = 2;
        this.send(ACK);
        break;
      case RESEND_LAST:
        this.send(this.lastSent);
        break;
      case RESET:
        this.reset();
        this.send(ACK, SELF_TEST_PASSED);
        break;
      default:
        this.send(RESEND);
    }
  }

  private send(...bytes: number[]): void {
    // GUEST: commands without reading; the oldest answers are lost.
    this.queue = [...this.queue, ...bytes].slice(-QUEUE_LIMIT);
    this.onData?.();
  }
}
