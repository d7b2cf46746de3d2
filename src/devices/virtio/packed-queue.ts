/**
 * A packed virtqueue (Virtio 1.2, 2.8): one ring of descriptors that driver and device both write, with a wrap counter on each side, and
 * an event suppression structure for each.
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

const DESC_AVAIL = 0x80;
const DESC_USED = 0x8000;
const EVENT_BYTES = 4; // offset and wrap counter u16, flags u16
const EVENT_FLAGS = 2;
const EVENT_DISABLE = 1;
const EVENT_AT_DESCRIPTOR = 2;
const WRAP_BIT = 15;

export class PackedQueue implements VirtQueue {
  private readonly memory: DmaMemory;
  private readonly size: number;
  private readonly ringAddress: number;
  private readonly deviceAddress: number;
  private readonly eventIndex: boolean;
  private readonly ring: DataView;
  private readonly driverEvent: DataView;
  private readonly deviceEvent: DataView;
  private next = 0;
  private nextWrap = true;
  private used = 0;
  private usedWrap = true;

  /** Throws RingError when the parts are not in RAM. */
  constructor(memory: DmaMemory, { size, descriptors, driver, device, eventIndex }: QueueAddresses) {
    this.memory = memory;
    this.size = size;
    this.ringAddress = descriptors;
    this.deviceAddress = device;
    this.eventIndex = eventIndex;
    this.ring = mapRing(memory, 'descriptor ring', descriptors, size * DESCRIPTOR_BYTES, true);
    this.driverEvent = mapRing(memory, "driver's event suppression", driver, EVENT_BYTES, false);
    this.deviceEvent = mapRing(memory, "device's event suppression", device, EVENT_BYTES, true);
  }

  pop(): QueueElement | undefined {
    if (!this.available()) {
      if (!this.eventIndex) return undefined;
      this.setEvent();
      if (!this.available()) return undefined;
    }
    const { ring, size } = this;
    const builder = new ElementBuilder(this.memory);
    let index = this.next;
    for (let places = 1; places <= size; places++) {
      const at = index * DESCRIPTOR_BYTES;
      const flags = ring.getUint16(at + 14, true);
      const [address, bytes] = [readAddress(ring, at), ring.getUint32(at + 8, true)];
      const id = ring.getUint16(at + 12, true);
      if ((flags & DESC_INDIRECT) !== 0) {
        if ((flags & DESC_NEXT) !== 0) throw new RingError('a descriptor is both indirect and followed by another');
        addIndirect(this.memory, builder, address, bytes, false);
      } else builder.add(address, bytes, (flags & DESC_WRITE) !== 0);
      index = (index + 1) % size;
      if ((flags & DESC_NEXT) !== 0) continue;
      if (index <= this.next) this.nextWrap = !this.nextWrap;
      this.next = index;
      return builder.finish(id, places);
    }
    throw new RingError('a buffer takes more places than the ring has');
  }

  push(element: QueueElement, written: number): boolean {
    const at = this.used * DESCRIPTOR_BYTES;
    this.ring.setUint32(at + 8, written, true);
    this.ring.setUint16(at + 12, element.id, true);
    const flags = (this.usedWrap ? DESC_AVAIL | DESC_USED : 0) | (written > 0 ? DESC_WRITE : 0);
    this.ring.setUint16(at + 14, flags, true);
    this.memory.written(this.ringAddress + at, DESCRIPTOR_BYTES);
    const before = this.used;
    this.used += element.places;
    const wrapped = this.used >= this.size;
    if (wrapped) {
      this.used -= this.size;
      this.usedWrap = !this.usedWrap;
    }
    const suppression = this.driverEvent.getUint16(EVENT_FLAGS, true);
    if (suppression === EVENT_DISABLE) return false;
    if (suppression !== EVENT_AT_DESCRIPTOR || !this.eventIndex || wrapped) return true;
    const offset = this.driverEvent.getUint16(0, true);
    const sameRound = offset >> WRAP_BIT === Number(this.usedWrap);
    return passes((offset & ~(1 << WRAP_BIT)) - (sameRound ? 0 : this.size), this.used, before);
  }

  save(): StateFields {
    return { next: this.next, nextWrap: this.nextWrap, used: this.used, usedWrap: this.usedWrap };
  }

  load(fields: StateFields): void {
    const reader = new StateReader({ kind: 'packed-queue', version: 1, fields }, 'packed-queue', 1);
    this.next = reader.integer('next', this.size - 1);
    this.nextWrap = reader.bool('nextWrap');
    this.used = reader.integer('used', this.size - 1);
    this.usedWrap = reader.bool('usedWrap');
  }

  private available(): boolean {
    const flags = this.ring.getUint16(this.next * DESCRIPTOR_BYTES + 14, true);
    return ((flags & DESC_AVAIL) !== 0) === this.nextWrap && ((flags & DESC_USED) !== 0) !== this.nextWrap;
  }

  /** Asks for a notification as soon as there is one more. */
  private setEvent(): void {
    this.deviceEvent.setUint16(0, this.next | (Number(this.nextWrap) << WRAP_BIT), true);
    this.deviceEvent.setUint16(EVENT_FLAGS, EVENT_AT_DESCRIPTOR, true);
    this.memory.written(this.deviceAddress, EVENT_BYTES);
  }
}
