/**
 * The PC's two 8237A DMA controllers (Intel 231466) with their page registers: registers as software probes and programs
 * them. No device here asks for ISA DMA, so no transfer ever starts.
 */
import { type Disposable, DisposableStore } from '../../base/events.ts';
import type { PortSpace } from '../../memory/port-space.ts';
import { nested, type SavedState, StateReader } from '../../state/state.ts';
import type { Device } from '../device.ts';

const STATUS_COMMAND = 8;
const REQUEST = 9;
const SINGLE_MASK = 10;
const MODE = 11;
const CLEAR_FLIP_FLOP = 12;
const MASTER_CLEAR = 13; // read: temporary register
const CLEAR_MASK = 14;
const ALL_MASK = 15;

/** One chip: four channels of 16-bit address and count, read and written a byte at a time. */
class I8237 {
  private readonly base: Uint16Array = new Uint16Array(8); // address and count of channels 0 to 3, in turn
  private readonly current: Uint16Array = new Uint16Array(8);
  private readonly modes: Uint8Array = new Uint8Array(4);
  private command: number = 0;
  private request: number = 0;
  private mask: number = 0xf;
  private highByte: boolean = false;

  reset(): void {
    this.command = 0;
    this.request = 0;
    this.mask = 0xf;
    this.highByte = false;
  }

  read(register: number): number {
    if (register < 8) {
      const value = this.current[register] ?? 0;
      const byte = this.highByte ? value >> 8 : value & 0xff;
      this.highByte = !this.highByte;
      return byte;
    }
    if (register === STATUS_COMMAND) return this.request << 4;
    return register === ALL_MASK ? 0xf0 | this.mask : 0;
  }

  write(register: number, value: number): void {
    if (register < 8) {
      const old = this.base[register] ?? 0;
      const next = this.highByte ? (old & 0xff) | (value << 8) : (old & 0xff00) | value;
      this.base[register] = next;
      this.current[register] = next;
      this.highByte = !this.highByte;
      return;
    }
    const bit = 1 << (value & 3);
    switch (register) {
      case STATUS_COMMAND:
        this.command = value;
        break;
      case REQUEST:
        this.request = value & 4 ? this.request | bit : this.request & ~bit;
        break;
      case SINGLE_MASK:
        this.mask = value & 4 ? this.mask | bit : this.mask & ~bit;
        break;
      case MODE:
        this.modes[value & 3] = value;
        break;
      case CLEAR_FLIP_FLOP:
        this.highByte = false;
        break;
      case MASTER_CLEAR:
        this.reset();
        break;
      case CLEAR_MASK:
        this.mask = 0;
        break;
      default:
        this.mask = value & 0xf;
    }
  }

  save(): SavedState {
    const { command, request, mask, highByte } = this;
    return {
      kind: 'i8237',
      version: 1,
      fields: {
        base: [...this.base],
        current: [...this.current],
        modes: [...this.modes],
        command,
        request,
        mask,
        highByte,
      },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, 'i8237', 1);
    this.base.set(reader.numbers('base', 0xffff, 8));
    this.current.set(reader.numbers('current', 0xffff, 8));
    this.modes.set(reader.numbers('modes', 0xff, 4));
    this.command = reader.u8('command');
    this.request = reader.integer('request', 0xf);
    this.mask = reader.integer('mask', 0xf);
    this.highByte = reader.bool('highByte');
  }
}

export class DmaControllers implements Device {
  readonly kind: string = 'i8237-pair';
  private readonly chips: readonly [I8237, I8237] = [new I8237(), new I8237()];
  /** Page registers at 0x81–0x8F; those without a channel only keep a byte. 0x80 is the POST code port. */
  private readonly pages: Uint8Array = new Uint8Array(16);

  reset(): void {
    for (const chip of this.chips) chip.reset();
    this.pages.fill(0);
  }

  attach(ports: PortSpace): Disposable {
    const registrations = new DisposableStore();
    const [byteChip, wordChip] = this.chips;
    registrations.add(
      ports.register(
        { name: 'dma1', first: 0x00, count: 16 },
        { read: (o) => byteChip.read(o), write: (o, _s, v) => byteChip.write(o, v) },
      ),
    );
    registrations.add(
      ports.register(
        { name: 'dma2', first: 0xc0, count: 32 },
        { read: (o) => wordChip.read(o >> 1), write: (o, _s, v) => wordChip.write(o >> 1, v) },
      ),
    );
    registrations.add(
      ports.register(
        { name: 'dma-page', first: 0x81, count: 15, handlerOffset: 1 },
        { read: (o) => this.pages[o] ?? 0, write: (o, _s, v) => void (this.pages[o] = v) },
      ),
    );
    return registrations;
  }

  save(): SavedState {
    return {
      kind: this.kind,
      version: 1,
      fields: { byte: nested(this.chips[0].save()), word: nested(this.chips[1].save()), pages: this.pages.slice() },
    };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.chips[0].load(reader.state('byte'));
    this.chips[1].load(reader.state('word'));
    this.pages.set(reader.bytes('pages', 16));
  }
}
