/** The driver's side of virtqueues, split and packed, in plain memory: for tests that play the guest. */
import type { DmaMemory } from '../../src/memory/address-space.ts';
import { viewOf } from '../../src/base/bytes.ts';

/** Flat RAM from address 0 on. */
export class FlatMemory implements DmaMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.view = viewOf(this.bytes);
  }

  readBytes(address: number, into: Uint8Array): void {
    into.set(this.bytes.subarray(address, address + into.length));
  }

  writeBytes(address: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, address);
  }

  read(address: number): number {
    return this.bytes[address] ?? 0xff;
  }

  write(address: number, _size: number, value: number): void {
    this.bytes[address] = value;
  }

  map(address: number, sizeBytes: number, _writable: boolean, pieces: Uint8Array[]): boolean {
    if (address + sizeBytes > this.bytes.length) return false;
    pieces.push(this.bytes.subarray(address, address + sizeBytes));
    return true;
  }

  written(): void {
    // Nothing is derived from this memory.
  }
}

export interface Piece {
  readonly address: number;
  readonly bytes: number;
  readonly write?: boolean;
}

export interface DriverLayout {
  readonly size: number;
  readonly descriptors: number;
  readonly driver: number;
  readonly device: number;
}

export interface QueueDriver {
  /** Makes a buffer available; returns what the device will call it by. */
  offer(pieces: readonly Piece[]): number;
  /** A buffer as an indirect table at `table`. */
  offerIndirect(table: number, pieces: readonly Piece[]): number;
  /** The next used buffer. */
  collect(): { readonly id: number; readonly written: number } | undefined;
}

export class SplitDriver implements QueueDriver {
  private readonly view: DataView;
  private readonly at: DriverLayout;
  private free: number[];
  private readonly chains = new Map<number, number[]>();
  private seen = 0;

  constructor(memory: FlatMemory, at: DriverLayout) {
    this.view = memory.view;
    this.at = at;
    this.free = Array.from({ length: at.size }, (_, i) => i);
  }

  descriptor(index: number, { address, bytes }: Piece, flags: number, next: number, table = this.at.descriptors): void {
    const at = table + index * 16;
    this.view.setUint32(at, address, true);
    this.view.setUint32(at + 4, 0, true);
    this.view.setUint32(at + 8, bytes, true);
    this.view.setUint16(at + 12, flags, true);
    this.view.setUint16(at + 14, next, true);
  }

  publish(head: number): void {
    const index = this.view.getUint16(this.at.driver + 2, true);
    this.view.setUint16(this.at.driver + 4 + (index % this.at.size) * 2, head, true);
    this.view.setUint16(this.at.driver + 2, (index + 1) & 0xffff, true);
  }

  offer(pieces: readonly Piece[]): number {
    const chain = this.free.splice(0, pieces.length);
    if (chain.length < pieces.length) throw new Error('no free descriptors');
    pieces.forEach((piece, i) => {
      const next = chain[i + 1];
      this.descriptor(chain[i] ?? 0, piece, (piece.write ? 2 : 0) | (next === undefined ? 0 : 1), next ?? 0);
    });
    const head = chain[0] ?? 0;
    this.chains.set(head, chain);
    this.publish(head);
    return head;
  }

  offerIndirect(table: number, pieces: readonly Piece[]): number {
    pieces.forEach((piece, i) =>
      this.descriptor(i, piece, (piece.write ? 2 : 0) | (i + 1 < pieces.length ? 1 : 0), i + 1, table),
    );
    const [head = 0] = this.free.splice(0, 1);
    this.descriptor(head, { address: table, bytes: pieces.length * 16 }, 4, 0);
    this.chains.set(head, [head]);
    this.publish(head);
    return head;
  }

  collect(): { readonly id: number; readonly written: number } | undefined {
    if (this.view.getUint16(this.at.device + 2, true) === this.seen) return undefined;
    const at = this.at.device + 4 + (this.seen % this.at.size) * 8;
    this.seen = (this.seen + 1) & 0xffff;
    const id = this.view.getUint32(at, true);
    this.free.push(...(this.chains.get(id) ?? []));
    this.chains.delete(id);
    return { id, written: this.view.getUint32(at + 4, true) };
  }

  set usedEvent(index: number) {
    this.view.setUint16(this.at.driver + 4 + this.at.size * 2, index, true);
  }

  get availEvent(): number {
    return this.view.getUint16(this.at.device + 4 + this.at.size * 8, true);
  }
}

export class PackedDriver implements QueueDriver {
  private readonly view: DataView;
  private readonly at: DriverLayout;
  private next = 0;
  private wrap = true;
  private used = 0;
  private usedWrap = true;
  private nextId = 0;
  private readonly places = new Map<number, number>();

  constructor(memory: FlatMemory, at: DriverLayout) {
    this.view = memory.view;
    this.at = at;
  }

  offer(pieces: readonly Piece[]): number {
    const id = this.nextId++ % this.at.size;
    const places = pieces.map((piece, i) => {
      const flags = (piece.write ? 2 : 0) | (i + 1 < pieces.length ? 1 : 0);
      return this.place(piece, id, flags);
    });
    // The first one last: that makes all of them available.
    for (const { at, flags } of places.reverse()) this.view.setUint16(at + 14, flags, true);
    this.places.set(id, pieces.length);
    return id;
  }

  offerIndirect(table: number, pieces: readonly Piece[]): number {
    pieces.forEach((piece, i) => this.fill(table + i * 16, piece, 0, piece.write ? 2 : 0));
    const id = this.nextId++ % this.at.size;
    const { at, flags } = this.place({ address: table, bytes: pieces.length * 16 }, id, 4);
    this.view.setUint16(at + 14, flags, true);
    this.places.set(id, 1);
    return id;
  }

  collect(): { readonly id: number; readonly written: number } | undefined {
    const at = this.at.descriptors + this.used * 16;
    const flags = this.view.getUint16(at + 14, true);
    if (((flags & 0x8000) !== 0) !== this.usedWrap || ((flags & 0x80) !== 0) !== this.usedWrap) return undefined;
    const id = this.view.getUint16(at + 12, true);
    this.used += this.places.get(id) ?? 1;
    if (this.used >= this.at.size) {
      this.used -= this.at.size;
      this.usedWrap = !this.usedWrap;
    }
    return { id, written: this.view.getUint32(at + 8, true) };
  }

  private place(piece: Piece, id: number, flags: number): { at: number; flags: number } {
    const at = this.at.descriptors + this.next * 16;
    const both = flags | (this.wrap ? 0x80 : 0x8000);
    this.fill(at, piece, id, undefined);
    if (++this.next === this.at.size) {
      this.next = 0;
      this.wrap = !this.wrap;
    }
    return { at, flags: both };
  }

  private fill(at: number, { address, bytes }: Piece, id: number, flags: number | undefined): void {
    this.view.setUint32(at, address, true);
    this.view.setUint32(at + 4, 0, true);
    this.view.setUint32(at + 8, bytes, true);
    this.view.setUint16(at + 12, id, true);
    if (flags !== undefined) this.view.setUint16(at + 14, flags, true);
  }
}
