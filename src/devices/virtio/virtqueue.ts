/**
 * Virtqueues (Virtio 1.2, 2.6 to 2.8): what the two formats, split and packed, have in common. A queue hands out the driver's buffers
 * as views of guest memory and takes them back when the device has used them.
 */
import type { DmaMemory } from '../../memory/address-space.ts';
import { viewOf } from '../../base/bytes.ts';
import type { StateFields } from '../../state/state.ts';

/** A stretch of guest memory. */
export interface Segment {
  readonly address: number;
  readonly bytes: number;
}

/** One buffer of the driver: what the device reads (`out`) and what it writes (`into`). */
export interface QueueElement {
  readonly id: number;
  /** Places that it takes in a packed ring. */
  readonly places: number;
  readonly out: readonly Uint8Array[];
  readonly into: readonly Uint8Array[];
  readonly outSegments: readonly Segment[];
  readonly intoSegments: readonly Segment[];
}

/** Where the driver put the three parts of a queue. */
export interface QueueAddresses {
  readonly size: number;
  readonly descriptors: number;
  /** Available ring, or the driver's event suppression. */
  readonly driver: number;
  /** Used ring, or the device's event suppression. */
  readonly device: number;
  readonly eventIndex: boolean;
}

export interface VirtQueue {
  /** The next buffer, undefined when there is none. Throws RingError. */
  pop(): QueueElement | undefined;
  /** Gives a buffer back, `written` bytes of which are new. True: the driver wants to be interrupted for it. */
  push(element: QueueElement, written: number): boolean;
  save(): StateFields;
  load(fields: StateFields): void;
}

/** The driver broke the rules: the device stops until it is reset. */
export class RingError extends Error {
  override readonly name: string = 'RingError';
}

/** Places in a queue at most: what is allocated for one buffer is bounded by it, whatever the rings say. */
export const MAX_QUEUE_SIZE = 1024;

export const DESCRIPTOR_BYTES = 16;
export const DESC_NEXT = 1;
export const DESC_WRITE = 2; // the device writes
export const DESC_INDIRECT = 4;

/** Physical addresses have 52 bits; 20 of them are in the upper half. */
const MAX_ADDRESS_HIGH = 1 << 20;

/** Reads the address field of a descriptor or register. */
export function readAddress(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  if (high >= MAX_ADDRESS_HIGH) throw new RingError(`address 0x${high.toString(16)}_xxxxxxxx has more than 52 bits`);
  return high * 0x1_0000_0000 + view.getUint32(at, true);
}

/** A part of a queue as one view. Host memory keeps its place, so it stays good whatever is mapped over it later. */
export function mapRing(memory: DmaMemory, what: string, address: number, bytes: number, writable: boolean): DataView {
  const pieces: Uint8Array[] = [];
  const mapped = memory.map(address, bytes, writable, pieces);
  const [piece] = pieces;
  // GUEST: the address is any number; what is not RAM in one piece is refused.
  if (!mapped || piece === undefined || pieces.length > 1)
    throw new RingError(`the ${what} at 0x${address.toString(16)} is not in RAM`);
  return viewOf(piece);
}

/** Collects the descriptors of one buffer. */
export class ElementBuilder {
  private readonly memory: DmaMemory;
  private readonly out: Uint8Array[] = [];
  private readonly into: Uint8Array[] = [];
  private readonly outSegments: Segment[] = [];
  private readonly intoSegments: Segment[] = [];
  private count = 0;

  constructor(memory: DmaMemory) {
    this.memory = memory;
  }

  add(address: number, bytes: number, write: boolean): void {
    // GUEST: chains may be loops; no buffer has more descriptors than the largest queue.
    if (++this.count > MAX_QUEUE_SIZE) throw new RingError(`a buffer has more than ${MAX_QUEUE_SIZE} descriptors`);
    if (!write && this.intoSegments.length > 0)
      throw new RingError('a part that the device reads follows one that it writes');
    if (bytes === 0) return;
    if (!this.memory.map(address, bytes, write, write ? this.into : this.out))
      throw new RingError(`a buffer at 0x${address.toString(16)} of ${bytes} bytes is not in RAM`);
    (write ? this.intoSegments : this.outSegments).push({ address, bytes });
  }

  finish(id: number, places: number): QueueElement {
    const { out, into, outSegments, intoSegments } = this;
    return { id, places, out, into, outSegments, intoSegments };
  }
}

/** Adds the descriptors of an indirect table. In a split queue they are a list, in a packed one a plain sequence. */
export function addIndirect(
  memory: DmaMemory,
  builder: ElementBuilder,
  address: number,
  bytes: number,
  linked: boolean,
): void {
  const count = bytes / DESCRIPTOR_BYTES;
  // GUEST: the length is any number; a table larger than the largest queue is refused before it is looked at.
  if (!Number.isInteger(count) || count < 1 || count > MAX_QUEUE_SIZE)
    throw new RingError(`an indirect table has ${bytes} bytes`);
  const table = mapRing(memory, 'indirect table', address, bytes, false);
  for (let at = 0, index = 0; index < count; index++) {
    const offset = at * DESCRIPTOR_BYTES;
    const flags = table.getUint16(offset + (linked ? 12 : 14), true);
    if ((flags & DESC_INDIRECT) !== 0) throw new RingError('an indirect table names another one');
    builder.add(readAddress(table, offset), table.getUint32(offset + 8, true), (flags & DESC_WRITE) !== 0);
    if (!linked) {
      at++;
      continue;
    }
    if ((flags & DESC_NEXT) === 0) return;
    at = table.getUint16(offset + 14, true);
    if (at >= count) throw new RingError(`an indirect descriptor is followed by number ${at} of ${count}`);
  }
  if (linked) throw new RingError('an indirect table is a loop');
}

/** Whether moving an index from `before` to `now` passes `event` (2.7.7.2; all of 16 bits). */
export function passes(event: number, now: number, before: number): boolean {
  return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
}
