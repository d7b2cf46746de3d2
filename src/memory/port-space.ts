/**
 * The I/O port space: 64 Ki byte addresses. A device registers the widths its registers have; a wider access falls
 * apart into narrower ones (as the bus did), so that 0xCF8 as a doubleword register and 0xCF9 as a byte register
 * live side by side. Nothing there reads as all ones.
 */
import { allOnes, hex, truncate } from '../base/bits.ts';
import { type Disposable, toDisposable } from '../base/events.ts';
import type { Log } from '../base/log.ts';
import { defineEvents, type TracePoints, type Tracer } from '../trace/trace.ts';

const EVENTS = defineEvents({
  port_read: ['device', 'port', 'size', 'value'],
  port_write: ['device', 'port', 'size', 'value'],
  port_unassigned_read: ['port', 'size'],
  port_unassigned_write: ['port', 'size', 'value'],
});

/** A device's registers in port space; see MmioHandler for the rules. */
export interface PortHandler {
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

export type AccessSize = 1 | 2 | 4;

export interface PortRange {
  readonly name: string;
  readonly first: number;
  readonly count: number;
  /** Widths that reach the handler whole; default byte registers only. */
  readonly sizes?: readonly AccessSize[];
  /** Offset that `first` has for the handler, default 0. */
  readonly handlerOffset?: number;
}

interface Registration extends PortRange {
  readonly handler: PortHandler;
  readonly id: number;
  reads: number;
  writes: number;
}

/** How often a device's registers, or a place where there is no device, were accessed. */
export interface AccessCount {
  readonly name: string;
  readonly reads: number;
  readonly writes: number;
}

const PORT_COUNT = 0x10000;

/** Ports that software touches for a reason and that need no device. */
export const IGNORED_PORTS: readonly { readonly first: number; readonly count: number; readonly reason: string }[] = [
  { first: 0x80, count: 1, reason: 'POST code; Linux writes it for a short delay' },
  { first: 0xcf8, count: 4, reason: 'byte writes that probe for PCI configuration mechanism #1' },
  { first: 0xed, count: 1, reason: "Linux's delay port on machines where 0x80 hangs" },
  {
    first: 0xf0,
    count: 2,
    reason: 'coprocessor busy latch and reset of the 80387; the exception is reported inside the CPU',
  },
  { first: 0x22, count: 2, reason: 'IMCR and Cyrix configuration, probed by Linux' },
  { first: 0x2e, count: 2, reason: 'super I/O configuration, probed' },
  { first: 0x4e, count: 2, reason: 'super I/O configuration, probed' },
  { first: 0x170, count: 8, reason: 'secondary ATA channel, probed when the machine has none' },
  { first: 0x1f0, count: 8, reason: 'primary ATA channel, probed when the machine has none' },
  { first: 0x278, count: 8, reason: 'LPT2, probed' },
  { first: 0x279, count: 1, reason: 'ISA plug and play address' },
  { first: 0x2e8, count: 8, reason: 'COM4, probed' },
  { first: 0x2f8, count: 8, reason: 'COM2, probed when the machine has none' },
  { first: 0x376, count: 1, reason: 'secondary ATA control, probed' },
  { first: 0x378, count: 8, reason: 'LPT1, probed' },
  { first: 0x3bc, count: 4, reason: 'LPT3, probed' },
  { first: 0x3c0, count: 0x20, reason: 'VGA, probed when the machine has none' },
  { first: 0x3e8, count: 8, reason: 'COM3, probed' },
  { first: 0x3f0, count: 8, reason: 'floppy controller, probed' },
  { first: 0xa79, count: 1, reason: 'ISA plug and play data' },
  { first: 0xc000, count: 0x1000, reason: 'PCI configuration mechanism #2, probed' },
];

export class PortSpace {
  /** For each width, the id of the registration that takes an access starting at the port; 0 = none. */
  private readonly owners: Readonly<Record<AccessSize, Uint16Array>> = {
    1: new Uint16Array(PORT_COUNT),
    2: new Uint16Array(PORT_COUNT),
    4: new Uint16Array(PORT_COUNT),
  };
  private readonly registrations: (Registration | undefined)[] = [undefined];
  private readonly quiet = new Uint8Array(PORT_COUNT);
  private readonly log: Log;
  private readonly trace: TracePoints<typeof EVENTS>;

  constructor(options: { readonly tracer: Tracer; readonly log: Log }) {
    this.log = options.log;
    this.trace = options.tracer.attach(EVENTS);
    for (const { first, count } of IGNORED_PORTS) this.quiet.fill(1, first, first + count);
  }

  /** Registers a device. Where ranges overlap the last one registered wins, until it is disposed. */
  register(range: PortRange, handler: PortHandler): Disposable {
    const free = this.registrations.indexOf(undefined, 1);
    const id = free < 0 ? this.registrations.length : free;
    const registration: Registration = { ...range, handler, id, reads: 0, writes: 0 };
    this.registrations[id] = registration;
    this.order.push(registration);
    this.claim(registration);
    return toDisposable(() => {
      this.registrations[id] = undefined;
      this.order.splice(this.order.indexOf(registration), 1);
      this.reclaim(range.first, range.first + range.count);
    });
  }

  read(port: number, size: number): number {
    // INVARIANT: ports are 16 bits wide and sizes 1, 2 or 4, so table and entry exist.
    const id = this.owners[size as AccessSize][port & 0xffff]!;
    if (id !== 0) {
      const owner = this.registrations[id]!;
      owner.reads++;
      const value = truncate(owner.handler.read(port - owner.first + (owner.handlerOffset ?? 0), size), size);
      if (this.trace.port_read.on) this.trace.port_read.emit(owner.name, port, size, value);
      return value;
    }
    if (size === 1) return this.readUnassigned(port, size);
    const half = size / 2;
    const low = this.read(port, half);
    const high = this.read((port + half) & 0xffff, half);
    return ((high << (half * 8)) | low) >>> 0;
  }

  write(port: number, size: number, value: number): void {
    // INVARIANT: as in read.
    const id = this.owners[size as AccessSize][port & 0xffff]!;
    if (id !== 0) {
      const owner = this.registrations[id]!;
      owner.writes++;
      if (this.trace.port_write.on) this.trace.port_write.emit(owner.name, port, size, truncate(value, size));
      owner.handler.write(port - owner.first + (owner.handlerOffset ?? 0), size, truncate(value, size));
      return;
    }
    if (size === 1) {
      this.writeUnassigned(port, size, value & 0xff);
      return;
    }
    const half = size / 2;
    this.write(port, half, truncate(value, half));
    this.write((port + half) & 0xffff, half, truncate(value >>> (half * 8), half));
  }

  /** What is registered, in the order of port numbers. */
  list(): readonly PortRange[] {
    return [...this.order].sort((a, b) => a.first - b.first);
  }

  /** Accesses by device, and under `unassigned` those that none took; only what was accessed. */
  accessCounts(): AccessCount[] {
    const counts = this.order.map(({ name, reads, writes }) => ({ name, reads, writes }));
    return [...counts, { name: 'unassigned', ...this.unassigned }].filter(({ reads, writes }) => reads + writes > 0);
  }

  private readonly unassigned = { reads: 0, writes: 0 };
  private readonly order: Registration[] = [];

  private claim(registration: Registration, from: number = 0, to: number = PORT_COUNT): void {
    const end = Math.min(registration.first + registration.count, PORT_COUNT);
    for (const size of registration.sizes ?? ([1] as const)) {
      const first = Math.max(registration.first, from - size + 1);
      for (let port = first; port + size <= end && port < to; port++) this.owners[size][port] = registration.id;
    }
  }

  private reclaim(from: number, to: number): void {
    for (const size of [1, 2, 4] as const) this.owners[size].fill(0, Math.max(0, from - size + 1), to);
    for (const registration of this.order) this.claim(registration, from, to);
  }

  private readUnassigned(port: number, size: number): number {
    this.unassigned.reads++;
    if (this.trace.port_unassigned_read.on) this.trace.port_unassigned_read.emit(port, size);
    if (this.log.on.unimp && this.quiet[port] === 0) this.log.unimplemented(`port: read at unassigned ${hex(port)}`);
    return allOnes(size);
  }

  private writeUnassigned(port: number, size: number, value: number): void {
    this.unassigned.writes++;
    if (this.trace.port_unassigned_write.on) this.trace.port_unassigned_write.emit(port, size, value);
    if (this.log.on.unimp && this.quiet[port] === 0)
      this.log.unimplemented(`port: write of ${hex(value)} at unassigned ${hex(port)}`);
  }
}
