/** Bit fields and register widths in JavaScript numbers. All results are unsigned. */

/** All ones in `size` bytes (1, 2 or 4): what an unassigned address reads. */
export function allOnes(size: number): number {
  return size >= 4 ? 0xffffffff : (1 << (size * 8)) - 1;
}

/** The low `size` bytes of a value. */
export function truncate(value: number, size: number): number {
  return size >= 4 ? value >>> 0 : value & ((1 << (size * 8)) - 1);
}

/** Bits `low`..`low + width - 1` of a 32-bit value. */
export function field(value: number, low: number, width: number): number {
  return (value >>> low) & (width >= 32 ? 0xffffffff : (1 << width) - 1);
}

/** `value` with the `size` bytes at byte `offset` replaced (offset + size at most 4). */
export function replaceBytes(value: number, offset: number, size: number, bytes: number): number {
  const mask = allOnes(size) << (offset * 8);
  return ((value & ~mask) | ((bytes << (offset * 8)) & mask)) >>> 0;
}

/** Number of the highest set bit of a 32-bit value, -1 for 0. */
export function highestBit(value: number): number {
  return 31 - Math.clz32(value);
}

/** Number of the lowest set bit of a 32-bit value, -1 for 0. */
export function lowestBit(value: number): number {
  return value === 0 ? -1 : 31 - Math.clz32(value & -value);
}

export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

export function alignDown(value: number, alignment: number): number {
  return Math.floor(value / alignment) * alignment;
}

/** "0x3f8" */
export function hex(value: number, digits: number = 0): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}
