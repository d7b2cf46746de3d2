/** A refcount block in memory, and the counts in its bytes: entry `entry` has 2^order bits. */
import { readU64, viewOf, writeU64 } from './layout.ts';
import { Dirty } from './metadata-file.ts';

/** Raw as in the file. */
export class RefcountBlock {
  readonly index: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly dirty: Dirty = new Dirty();
  /** Never written yet. */
  isNew = false;

  constructor(index: number, offset: number, bytes: Uint8Array) {
    this.index = index;
    this.offset = offset;
    this.bytes = bytes;
    this.view = viewOf(bytes);
  }
}

export function decodeCount(view: DataView, order: number, entry: number): number {
  switch (order) {
    case 4:
      return view.getUint16(entry * 2);
    case 3:
      return view.getUint8(entry);
    case 5:
      return view.getUint32(entry * 4);
    case 6:
      return readU64(view, entry * 8);
    default: {
      const width = 1 << order;
      const perByte = 8 / width;
      const byte = view.getUint8(Math.floor(entry / perByte));
      return (byte >> ((entry % perByte) * width)) & ((1 << width) - 1);
    }
  }
}

export function encodeCount(view: DataView, order: number, entry: number, count: number): void {
  const at = Math.floor((entry << order) / 8);
  switch (order) {
    case 4:
      view.setUint16(at, count);
      break;
    case 3:
      view.setUint8(at, count);
      break;
    case 5:
      view.setUint32(at, count);
      break;
    case 6:
      writeU64(view, at, count);
      break;
    default: {
      const width = 1 << order;
      const shift = (entry % (8 / width)) * width;
      view.setUint8(at, (view.getUint8(at) & ~(((1 << width) - 1) << shift)) | (count << shift));
    }
  }
}

/** Whether the counts [entry, + count) are zero; false, too, where others in the same bytes are not. */
export function areZero(bytes: Uint8Array, order: number, entry: number, count: number): boolean {
  const end = Math.ceil(((entry + count) * 2 ** order) / 8);
  for (let at = Math.floor((entry * 2 ** order) / 8); at < end; at++) if (bytes[at] !== 0) return false;
  return true;
}
