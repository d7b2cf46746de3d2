/**
 * A split virtqueue (Virtio 1.2, 2.7): descriptor table, available ring written by the driver, used ring written by the device.
 */
import type { DmaMemory } from '../../memory/address-space.ts';
import { type StateFields, StateReader } from '../../state/state.ts';
import {
  addIndirect,
  DESC_INDIRECT,
  DESC_NEXT,
  DESC_WRITE,
  DESCRIPTOR_BYTES,
  ElementBuilder,
  mapRing,
  passes,
  type QueueAddresses,
  type QueueElement,
  readAddress,
  RingError,
  type VirtQueue,
} from './virtqueue.ts';

const RING_FLAGS = 0; // u16
const RING_INDEX = 2; // u16
const RING_ENTRIES = 4;
const AVAIL_ENTRY = 2;
const USED_ENTRY = 8; // id u32, length u32
const AVAIL_NO_INTERRUPT = 1;

export class SplitQueue implements VirtQueue {
  private readonly memory: DmaMemory;
  private readonly size: number;
  private readonly usedAddress: number;
  private readonly eventIndex: boolean;
  private readonly table: DataView;
  private readonly avail: DataView;
  private readonly used: DataView;
  /** Buffers taken and given back so far, modulo 2^16. */
  private taken = 0;
  private given = 0;

  /** Throws RingError when the parts are not in RAM. */
  constructor(memory: DmaMemory, { size, descriptors, driver, device, eventIndex }: QueueAddresses) {
    this.memory = memory;
    this.size = size;
    this.usedAddress = device;
    this.eventIndex = eventIndex;
    this.table = mapRing(memory, 'descriptor table', descriptors, size * DESCRIPTOR_BYTES, false);
    this.avail = mapRing(memory, 'available ring', driver, RING_ENTRIES + size * AVAIL_ENTRY + 2, false);
    this.used = mapRing(memory, 'used ring', device, RING_ENTRIES + size * USED_ENTRY + 2, true);
  }

  pop(): QueueElement | undefined {
    if (this.available() === 0) {
      if (!this.eventIndex) return undefined;
      this.setEvent();
      if (this.available() === 0) return undefined;
    }
    // GUEST: the head is any 16 bits; it indexes the table.
    const head = this.avail.getUint16(RING_ENTRIES + (this.taken % this.size) * AVAIL_ENTRY, true);
    const element = this.element(head);
    this.taken = (this.taken + 1) & 0xffff;
    return element;
  }

  push(element: QueueElement, written: number): boolean {
    const before = this.given;
    const at = RING_ENTRIES + (before % this.size) * USED_ENTRY;
    this.used.setUint32(at, element.id, true);
    this.used.setUint32(at + 4, written, true);
    this.given = (before + 1) & 0xffff;
    this.used.setUint16(RING_INDEX, this.given, true);
    this.memory.written(this.usedAddress + at, USED_ENTRY);
    this.memory.written(this.usedAddress + RING_INDEX, 2);
    if (!this.eventIndex) return (this.avail.getUint16(RING_FLAGS, true) & AVAIL_NO_INTERRUPT) === 0;
    return passes(this.avail.getUint16(RING_ENTRIES + this.size * AVAIL_ENTRY, true), this.given, before);
  }

  save(): StateFields {
    return { taken: this.taken, given: this.given };
  }

  load(fields: StateFields): void {
    const reader = new StateReader({ kind: 'split-queue', version: 1, fields }, 'split-queue', 1);
    this.taken = reader.u16('taken');
    this.given = reader.u16('given');
  }

  private available(): number {
    const count = (this.avail.getUint16(RING_INDEX, true) - this.taken) & 0xffff;
    // GUEST: the index is any 16 bits; a driver has no more buffers than places.
    if (count > this.size) throw new RingError(`the available ring has ${count} buffers in ${this.size} places`);
    return count;
  }

  /** Asks for a notification as soon as there is one more. */
  private setEvent(): void {
    const at = RING_ENTRIES + this.size * USED_ENTRY;
    this.used.setUint16(at, this.taken, true);
    this.memory.written(this.usedAddress + at, 2);
  }

  private element(head: number): QueueElement {
    const { table, size } = this;
    const builder = new ElementBuilder(this.memory);
    let index = head;
    // A chain that is longer than the table is a loop.
    for (let left = size; left > 0; left--) {
      if (index >= size) throw new RingError(`descriptor ${index} of ${size}`);
      const at = index * DESCRIPTOR_BYTES;
      const flags = table.getUint16(at + 12, true);
      const [address, bytes] = [readAddress(table, at), table.getUint32(at + 8, true)];
      if ((flags & DESC_INDIRECT) !== 0) {
        if ((flags & DESC_NEXT) !== 0) throw new RingError('a descriptor is both indirect and followed by another');
        addIndirect(this.memory, builder, address, bytes, true);
        return builder.finish(head, 1);
      }
      builder.add(address, bytes, (flags & DESC_WRITE) !== 0);
      if ((flags & DESC_NEXT) === 0) return builder.finish(head, 1);
      index = table.getUint16(at + 14, true);
    }
    throw new RingError('a chain of descriptors is a loop');
  }
}
