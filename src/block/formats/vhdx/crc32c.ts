/** CRC-32C (Castagnoli), reflected, as VHDX guards its structures. */
const POLYNOMIAL = 0x82f63b78;
let table: Uint32Array | undefined;

function makeTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    return crc;
  });
}

/** Of `bytes`, with the four bytes from `hole` on taken as zeroes (where the sum itself is kept). */
export function crc32c(bytes: Uint8Array, hole: number = bytes.length): number {
  const steps = (table ??= makeTable());
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) {
    const byte = i >= hole && i < hole + 4 ? 0 : bytes[i]!; // INVARIANT: below the length
    crc = (crc >>> 8) ^ steps[(crc ^ byte) & 255]!; // INVARIANT: below 256
  }
  return (crc ^ 0xffffffff) >>> 0;
}
