/**
 * The I/O APIC (Intel 82093AA, with the EOI register of version 0x20): 24 pins, each with a redirection entry, edge or
 * level. Pins take the level after polarity: devices say "asserted", the entry's polarity bit is only kept.
 */
import { type SavedState, StateReader } from '../../state/state.ts';
import { defineEvents, type TracePoints } from '../../trace/trace.ts';
import type { Device, DeviceContext } from '../device.ts';
import { type ApicBus, BROADCAST, DELIVERY_EXTINT, type EoiListener } from './apic-bus.ts';

const EVENTS = defineEvents({
  ioapic_read: ['register', 'value'],
  ioapic_write: ['register', 'value'],
  ioapic_set_irq: ['pin', 'level'],
  ioapic_deliver: ['pin', 'vector', 'accepted'],
  ioapic_eoi: ['vector'],
});

export const IOAPIC_DEFAULT_BASE = 0xfec00000;
export const IOAPIC_PINS = 24;
export const IOAPIC_SIZE = 0x1000;

const IOREGSEL = 0x00;
const IOWIN = 0x10;
const EOIR = 0x40;
const REG_ID = 0x00;
const REG_VERSION = 0x01;
const REG_ARBITRATION = 0x02;
const REG_REDIRECTION = 0x10;

const VERSION = 0x20;
const ENTRY_LOGICAL = 0x800;
const ENTRY_REMOTE_IRR = 0x4000;
const ENTRY_LEVEL = 0x8000;
const ENTRY_MASKED = 0x10000;
const ENTRY_READ_ONLY = 0x5000; // remote IRR and delivery status
const ENTRY_WRITABLE = 0x1ffff;

export class Ioapic implements Device, EoiListener {
  readonly kind: string = 'ioapic';
  private select: number = 0;
  private id: number = 0;
  private readonly low: Uint32Array = new Uint32Array(IOAPIC_PINS);
  private readonly high: Uint32Array = new Uint32Array(IOAPIC_PINS);
  /** Pins that are asserted, one bit each. */
  private lines: number = 0;
  private readonly bus: ApicBus;
  private readonly trace: TracePoints<typeof EVENTS>;

  constructor(context: Pick<DeviceContext, 'tracer'>, bus: ApicBus) {
    this.bus = bus;
    this.trace = context.tracer.attach(EVENTS);
    bus.addEoiListener(this);
    this.reset();
  }

  reset(): void {
    this.select = 0;
    this.id = 0;
    this.low.fill(ENTRY_MASKED);
    this.high.fill(0);
    // The lines belong to the devices, which reset themselves.
  }

  setLine(pin: number, level: boolean): void {
    if (this.trace.ioapic_set_irq.on) this.trace.ioapic_set_irq.emit(pin, level);
    const bit = 1 << pin;
    const rises = level && (this.lines & bit) === 0;
    this.lines = level ? this.lines | bit : this.lines & ~bit;
    const entry = this.entry(pin);
    if (entry & ENTRY_LEVEL ? level : rises) this.deliver(pin);
  }

  endOfInterrupt(vector: number): void {
    if (this.trace.ioapic_eoi.on) this.trace.ioapic_eoi.emit(vector);
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const entry = this.entry(pin);
      if ((entry & 0xff) !== vector || !(entry & ENTRY_LEVEL) || !(entry & ENTRY_REMOTE_IRR)) continue;
      this.low[pin] = entry & ~ENTRY_REMOTE_IRR;
      if (this.lines & (1 << pin)) this.deliver(pin);
    }
  }

  read(offset: number): number {
    if (offset === IOREGSEL) return this.select;
    if (offset !== IOWIN) return 0;
    const value = this.readRegister();
    if (this.trace.ioapic_read.on) this.trace.ioapic_read.emit(this.select, value);
    return value;
  }

  write(offset: number, _size: number, value: number): void {
    if (offset === IOREGSEL) this.select = value & 0xff;
    else if (offset === IOWIN) {
      if (this.trace.ioapic_write.on) this.trace.ioapic_write.emit(this.select, value);
      this.writeRegister(value >>> 0);
    } else if (offset === EOIR) this.endOfInterrupt(value & 0xff);
  }

  save(): SavedState {
    const { select, id, lines } = this;
    return { kind: this.kind, version: 1, fields: { select, id, lines, low: [...this.low], high: [...this.high] } };
  }

  load(state: SavedState): void {
    const reader = new StateReader(state, this.kind, 1);
    this.select = reader.u8('select');
    this.id = reader.u8('id');
    this.lines = reader.u32('lines');
    this.low.set(reader.numbers('low', 0xffffffff, IOAPIC_PINS));
    this.high.set(reader.numbers('high', 0xffffffff, IOAPIC_PINS));
  }

  private entry(pin: number): number {
    // INVARIANT: pins are 0 to 23, checked where a guest chooses one and constant where a board does.
    return this.low[pin]!;
  }

  private readRegister(): number {
    const { select } = this;
    if (select === REG_ID || select === REG_ARBITRATION) return this.id << 24;
    if (select === REG_VERSION) return ((IOAPIC_PINS - 1) << 16) | VERSION;
    // GUEST: the register number is 8 bits of the guest's; entries past the last pin do not exist and read 0.
    const pin = (select - REG_REDIRECTION) >> 1;
    if (select < REG_REDIRECTION || pin >= IOAPIC_PINS) return 0;
    return select & 1 ? (this.high[pin] ?? 0) : this.entry(pin);
  }

  private writeRegister(value: number): void {
    const { select } = this;
    if (select === REG_ID) {
      this.id = (value >> 24) & 0xf;
      return;
    }
    // GUEST: as in readRegister.
    const pin = (select - REG_REDIRECTION) >> 1;
    if (select < REG_REDIRECTION || pin >= IOAPIC_PINS) return;
    if (select & 1) {
      this.high[pin] = value;
      return;
    }
    let entry = (value & ENTRY_WRITABLE & ~ENTRY_READ_ONLY) | (this.entry(pin) & ENTRY_READ_ONLY);
    // Software clears a stuck remote IRR by switching the pin to edge and back.
    if (!(entry & ENTRY_LEVEL)) entry &= ~ENTRY_REMOTE_IRR;
    this.low[pin] = entry;
    if (entry & ENTRY_LEVEL && this.lines & (1 << pin)) this.deliver(pin);
  }

  private deliver(pin: number): void {
    const entry = this.entry(pin);
    // An edge that arrives while masked is lost; a level waits in `lines`.
    if (entry & ENTRY_MASKED) return;
    const levelTriggered = (entry & ENTRY_LEVEL) !== 0;
    if (levelTriggered && entry & ENTRY_REMOTE_IRR) return;
    const delivery = (entry >> 8) & 7;
    if (delivery === DELIVERY_EXTINT) return; // the 8259 has its own way, through LINT0
    const logical = (entry & ENTRY_LOGICAL) !== 0;
    const destination = (this.high[pin] ?? 0) >>> 24;
    const accepted = this.bus.deliver({
      destination: destination === 0xff && !logical ? BROADCAST : destination,
      logical,
      delivery,
      vector: entry & 0xff,
      levelTriggered,
    });
    if (levelTriggered && accepted) this.low[pin] = entry | ENTRY_REMOTE_IRR;
    if (this.trace.ioapic_deliver.on) this.trace.ioapic_deliver.emit(pin, entry & 0xff, accepted);
  }
}
