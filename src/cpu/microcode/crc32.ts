/**
 * CRC-32C, polynomial 0x11EDC6F41, as the CRC32 instruction wants it: bits reflected, no inversion before or after.
 * Four tables of 256 entries, so that four bytes are one step: table k advances a byte by k further bytes of zeros.
 */

const POLYNOMIAL_REFLECTED: u32 = 0x82f63b78;
const TABLE_BYTES: u32 = 1024;

const tables: usize = memory.data(4096, 16);
/** 1 once the tables are filled. Several vCPUs may fill them at the same time, all with the same. */
const ready: usize = memory.data(4, 4);

function fill(): void {
  for (let byte: u32 = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL_REFLECTED : 0);
    store<u32>(tables + (byte << 2), crc);
  }
  for (let at: u32 = 0; at < 3 * TABLE_BYTES; at += 4) {
    const crc = load<u32>(tables + at);
    store<u32>(tables + TABLE_BYTES + at, (crc >> 8) ^ entry(0, crc & 255));
  }
  atomic.store<u32>(ready, 1);
}

@inline function entry(table: u32, byte: u32): u32 {
  return load<u32>(tables + table * TABLE_BYTES + (byte << 2));
}

@inline function word(crc: u32): u32 {
  return entry(3, crc & 255) ^ entry(2, (crc >> 8) & 255) ^ entry(1, (crc >> 16) & 255) ^ entry(0, crc >> 24);
}

/** `crc` after `bytes` (1, 2, 4, 8) more bytes, the low ones of `data`. */
export function crc32(cpu: u32, crc: u32, data: u64, bytes: u32): u32 {
  if (!atomic.load<u32>(ready)) fill();
  if (bytes >= 4) {
    crc = word(crc ^ <u32>data);
    return bytes == 8 ? word(crc ^ <u32>(data >> 32)) : crc;
  }
  for (; bytes; bytes--, data >>= 8) crc = (crc >> 8) ^ entry(0, (crc ^ <u32>data) & 255);
  return crc;
}
