/**
 * Guest physical memory as a whole: keeps the flat view of a region tree, tells the accelerator its slots, dispatches
 * the accesses that are not plain RAM, and serves devices that read and write memory themselves (DMA).
 */
import { allOnes, hex, truncate } from '../base/bits.ts';
import type { Log } from '../base/log.ts';
import { defineEvents, type TracePoints, type Tracer } from '../trace/trace.ts';
import { type FlatRange, firstEndingAfter, flatten } from './flat-view.ts';
import type { AccessCount } from './port-space.ts';
import { MemoryRegion } from './region.ts';
import { type MemorySlotListener, SlotTable } from './slots.ts';

const EVENTS = defineEvents({
  memory_unassigned_read: ['address', 'size'],
  memory_unassigned_write: ['address', 'size', 'value'],
  memory_rom_write: ['region', 'offset', 'size', 'value'],
  memory_region_read: ['region', 'offset', 'size', 'value'],
  memory_region_write: ['region', 'offset', 'size', 'value'],
});

/** Anything with a buffer that may be replaced by a longer one: a WebAssembly.Memory. */
export interface HostMemory {
  readonly buffer: ArrayBufferLike;
}

/** What a device that masters the bus gets: memory by guest physical address, never the machine. */
export interface DmaMemory {
  /** Fills `into` from guest memory; what is not RAM reads as the device there says, byte by byte. */
  readBytes(address: number, into: Uint8Array): void;
  writeBytes(address: number, bytes: Uint8Array): void;
  /** Reads 1, 2 or 4 bytes. */
  read(address: number, size: number): number;
  write(address: number, size: number, value: number): void;
  /**
   * Adds views of the RAM at [address, address + sizeBytes) to `pieces`, for transfers without a copy; false, with nothing added, when
   * some of it is not RAM (writable RAM, if `writable`). Whoever writes through them says so with `written` afterwards.
   */
  map(address: number, sizeBytes: number, writable: boolean, pieces: Uint8Array[]): boolean;
  /** RAM was written through a view. */
  written(address: number, sizeBytes: number): void;
}

export interface AddressSpaceOptions {
  readonly sizeBytes?: number;
  readonly memory: HostMemory;
  readonly tracer: Tracer;
  readonly log: Log;
}

/** x86-64's architectural limit for physical addresses, and so far below 2^53. */
const PHYSICAL_ADDRESS_LIMIT = 2 ** 52;

export class AddressSpace implements DmaMemory {
  readonly root: MemoryRegion;
  /**
   * Called after a device wrote guest RAM, so that the accelerator drops code decoded from there and marks dirty pages.
   * The guest's own stores never pass here.
   */
  onDeviceWrite: ((guestPhysical: number, sizeBytes: number) => void) | undefined;

  private readonly memory: HostMemory;
  private readonly log: Log;
  private readonly trace: TracePoints<typeof EVENTS>;
  private ranges: readonly FlatRange[] = [];
  private stale: boolean = false;
  private transactionDepth: number = 0;
  private slots: SlotTable | undefined;
  private bytes: Uint8Array;
  private view: DataView;

  constructor(options: AddressSpaceOptions) {
    this.memory = options.memory;
    this.log = options.log;
    this.trace = options.tracer.attach(EVENTS);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.root = MemoryRegion.container('system', options.sizeBytes ?? PHYSICAL_ADDRESS_LIMIT);
    this.root.observe(() => this.changed());
  }

  /** Publishes the RAM and ROM parts to an accelerator, now and at each change. */
  connect(listener: MemorySlotListener, slotCount: number): void {
    this.slots = new SlotTable(listener, slotCount);
    this.slots.update(this.ranges);
  }

  /** Several changes that become visible together. */
  transaction(change: () => void): void {
    this.transactionDepth++;
    try {
      change();
    } finally {
      this.transactionDepth--;
      if (this.stale) this.changed();
    }
  }

  /** The flat view, sorted by address. */
  get flatView(): readonly FlatRange[] {
    return this.ranges;
  }

  /** Answers a guest's read of 1, 2 or 4 bytes that the accelerator could not serve from a slot. */
  read(address: number, size: number): number {
    const range = this.find(address);
    if (!range || address + size > range.end) return this.readAcross(address, size, range);
    const offset = address - range.start + range.offset;
    const { region } = range;
    if (region.kind === 'mmio') {
      this.counted(region).reads++;
      // INVARIANT: a region of kind mmio was made with a handler.
      const value = truncate(region.handler!.read(offset, size), size);
      if (this.trace.memory_region_read.on) this.trace.memory_region_read.emit(region.name, offset, size, value);
      return value;
    }
    return this.readHost(region.hostOffset + offset, size);
  }

  /** Performs a guest's write of 1, 2 or 4 bytes that the accelerator could not serve from a slot. */
  write(address: number, size: number, value: number): void {
    const range = this.find(address);
    if (!range || address + size > range.end) {
      this.writeAcross(address, size, value, range);
      return;
    }
    const offset = address - range.start + range.offset;
    const { region } = range;
    if (region.kind === 'mmio' || (range.readonly && region.handler)) {
      this.counted(region).writes++;
      if (this.trace.memory_region_write.on)
        this.trace.memory_region_write.emit(region.name, offset, size, truncate(value, size));
      // INVARIANT: tested by this branch's condition or by the region's kind.
      region.handler!.write(offset, size, truncate(value, size));
    } else if (range.readonly) {
      if (this.trace.memory_rom_write.on) this.trace.memory_rom_write.emit(region.name, offset, size, value);
      this.log.guestError(`memory: write to ROM '${region.name}' at ${hex(address)}`);
    } else {
      this.writeHost(region.hostOffset + offset, size, value);
      this.onDeviceWrite?.(address, size);
    }
  }

  /** Accesses by region of registers; only what was accessed. Regions of one name are added up. */
  accessCounts(): AccessCount[] {
    const byName = new Map<string, { name: string; reads: number; writes: number }>();
    for (const [{ name }, { reads, writes }] of this.counts) {
      const sum = byName.get(name) ?? { name, reads: 0, writes: 0 };
      byName.set(name, { name, reads: sum.reads + reads, writes: sum.writes + writes });
    }
    return [...byName.values()];
  }

  private readonly counts = new Map<MemoryRegion, { reads: number; writes: number }>();

  private counted(region: MemoryRegion): { reads: number; writes: number } {
    let count = this.counts.get(region);
    if (count === undefined) {
      count = { reads: 0, writes: 0 };
      this.counts.set(region, count);
    }
    return count;
  }

  readBytes(address: number, into: Uint8Array): void {
    let done = 0;
    while (done < into.length) {
      const range = this.find(address + done);
      if (range && range.region.kind !== 'mmio') {
        const count = Math.min(into.length - done, range.end - (address + done));
        const host = range.region.hostOffset + range.offset + (address + done - range.start);
        this.ensure(host + count);
        into.set(this.bytes.subarray(host, host + count), done);
        done += count;
      } else if (range) {
        into[done] = this.read(address + done, 1);
        done++;
      } else {
        const end = Math.min(into.length, done + this.gapAfter(address + done));
        into.fill(0xff, done, end);
        done = end;
      }
    }
  }

  writeBytes(address: number, bytes: Uint8Array): void {
    let done = 0;
    while (done < bytes.length) {
      const range = this.find(address + done);
      if (range && range.region.kind === 'ram' && !range.readonly) {
        const count = Math.min(bytes.length - done, range.end - (address + done));
        const host = range.region.hostOffset + range.offset + (address + done - range.start);
        this.ensure(host + count);
        this.bytes.set(bytes.subarray(done, done + count), host);
        this.onDeviceWrite?.(address + done, count);
        done += count;
      } else if (range && !(range.readonly && !range.region.handler)) {
        // INVARIANT: done < bytes.length.
        this.write(address + done, 1, bytes[done]!);
        done++;
      } else {
        // GUEST: transfers may be gigabytes long and aim at nothing, or at ROM.
        done += range ? range.end - (address + done) : this.gapAfter(address + done);
      }
    }
  }

  /**
   * Where in the host memory `sizeBytes` of guest RAM lie, -1 when they are not all writable RAM in one piece. For
   * devices with rings; the answer holds until the memory map changes.
   */
  hostOffset(address: number, sizeBytes: number): number {
    const range = this.find(address);
    if (!range || range.region.kind !== 'ram' || range.readonly || address + sizeBytes > range.end) return -1;
    return range.region.hostOffset + range.offset + (address - range.start);
  }

  map(address: number, sizeBytes: number, writable: boolean, pieces: Uint8Array[]): boolean {
    const before = pieces.length;
    for (let done = 0; done < sizeBytes;) {
      const range = this.find(address + done);
      if (!range || range.region.kind === 'mmio' || (writable && (range.readonly || range.region.kind !== 'ram'))) {
        pieces.length = before;
        return false;
      }
      const count = Math.min(sizeBytes - done, range.end - (address + done));
      const host = range.region.hostOffset + range.offset + (address + done - range.start);
      this.ensure(host + count);
      pieces.push(this.bytes.subarray(host, host + count));
      done += count;
    }
    return true;
  }

  written(address: number, sizeBytes: number): void {
    this.onDeviceWrite?.(address, sizeBytes);
  }

  /** How far nothing is mapped from an unassigned address on. */
  private gapAfter(address: number): number {
    const next = this.ranges[firstEndingAfter(this.ranges, address)];
    return next ? next.start - address : Infinity;
  }

  private lastRange: FlatRange | undefined;

  private find(address: number): FlatRange | undefined {
    const last = this.lastRange;
    if (last && address >= last.start && address < last.end) return last;
    const range = this.ranges[firstEndingAfter(this.ranges, address)];
    if (!range || address < range.start) return undefined;
    this.lastRange = range;
    return range;
  }

  private changed(): void {
    this.stale = true;
    if (this.transactionDepth > 0) return;
    this.stale = false;
    this.ranges = flatten(this.root);
    this.lastRange = undefined;
    this.slots?.update(this.ranges);
  }

  private readAcross(address: number, size: number, range: FlatRange | undefined): number {
    if (range && size > 1) {
      let value = 0;
      for (let i = 0; i < size; i++) value += this.read(address + i, 1) * 2 ** (8 * i);
      return value;
    }
    if (this.trace.memory_unassigned_read.on) this.trace.memory_unassigned_read.emit(address, size);
    if (this.log.on.guest_errors) this.log.guestError(`memory: read of ${size} bytes at unassigned ${hex(address)}`);
    return allOnes(size);
  }

  private writeAcross(address: number, size: number, value: number, range: FlatRange | undefined): void {
    if (range && size > 1) {
      for (let i = 0; i < size; i++) this.write(address + i, 1, (value >>> (8 * i)) & 0xff);
      return;
    }
    if (this.trace.memory_unassigned_write.on) this.trace.memory_unassigned_write.emit(address, size, value);
    if (this.log.on.guest_errors)
      this.log.guestError(`memory: write of ${hex(value)} (${size} bytes) at unassigned ${hex(address)}`);
  }

  private readHost(host: number, size: number): number {
    this.ensure(host + size);
    if (size === 4) return this.view.getUint32(host, true);
    return size === 2 ? this.view.getUint16(host, true) : this.view.getUint8(host);
  }

  private writeHost(host: number, size: number, value: number): void {
    this.ensure(host + size);
    if (size === 4) this.view.setUint32(host, value, true);
    else if (size === 2) this.view.setUint16(host, value, true);
    else this.view.setUint8(host, value);
  }

  /** A shared memory that grew has a new buffer; the old one keeps its length. */
  private ensure(hostEnd: number): void {
    if (hostEnd <= this.bytes.length) return;
    this.bytes = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
  }
}
