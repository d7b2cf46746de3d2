/**
 * bzip2: Huffman-coded move-to-front symbols with runs of zeroes, undone to the last column of a sorted block, which is put back in
 * order and freed of its own run lengths. Checksums are looked at. The old "randomised" blocks are refused.
 */
import { BlockError } from '../../block-error.ts';

const BLOCK_MAGIC_HIGH = 0x314159;
const BLOCK_MAGIC_LOW = 0x265359;
const END_MAGIC_HIGH = 0x177245;
const END_MAGIC_LOW = 0x385090;
const MAX_CODE_BITS = 20;
const MAX_ALPHABET = 258;
const GROUP_SYMBOLS = 50;
/** Most selectors that a block of 900000 bytes can use. */
const MAX_SELECTORS = 18_002;
const RUN_B = 1;

function bad(what: string): BlockError {
  return new BlockError('EIO', `bzip2 data: ${what}`);
}

class BitReader {
  private readonly bytes: Uint8Array;
  private at = 0;
  private held = 0;
  private heldBits = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** The next `count` bits, 24 at most. */
  bits(count: number): number {
    while (this.heldBits < count) {
      const next = this.bytes[this.at++];
      if (next === undefined) throw bad('ends too early');
      // At most 23 bits are left over from before.
      this.held = ((this.held << 8) | next) & 0x7fffffff;
      this.heldBits += 8;
    }
    this.heldBits -= count;
    return (this.held >>> this.heldBits) & ((1 << count) - 1);
  }

  bit(): number {
    return this.bits(1);
  }

  u32(): number {
    return this.bits(16) * 65536 + this.bits(16);
  }
}

/** A canonical Huffman code: by length, the codes' end and which symbols they are. */
class Code {
  /** One behind the last code of each length. */
  private readonly end = new Int32Array(MAX_CODE_BITS + 2);
  /** What to add to a code of each length for its place in `symbols`. */
  private readonly shift = new Int32Array(MAX_CODE_BITS + 2);
  private readonly symbols: Uint16Array;

  constructor(lengths: Uint8Array) {
    this.symbols = new Uint16Array(lengths.length);
    let [code, place] = [0, 0];
    for (let length = 1; length <= MAX_CODE_BITS; length++) {
      this.shift[length] = place - code;
      for (const [symbol, its] of lengths.entries()) {
        if (its !== length) continue;
        this.symbols[place++] = symbol;
        code++;
      }
      this.end[length] = code;
      code *= 2;
    }
  }

  read(from: BitReader): number {
    let code = 0;
    for (let length = 1; length <= MAX_CODE_BITS; length++) {
      code = code * 2 + from.bit();
      // INVARIANT: both tables have every length.
      if (code < this.end[length]!) {
        const symbol = this.symbols[code + this.shift[length]!];
        if (symbol !== undefined) return symbol;
      }
    }
    throw bad('a code that stands for nothing');
  }
}

/** The bytes that occur in the block. */
function readUsed(from: BitReader): Uint8Array {
  const sixteens = from.bits(16);
  const used: number[] = [];
  for (let high = 0; high < 16; high++) {
    if ((sixteens & (0x8000 >> high)) === 0) continue;
    const map = from.bits(16);
    for (let low = 0; low < 16; low++) if ((map & (0x8000 >> low)) !== 0) used.push(high * 16 + low);
  }
  if (used.length === 0) throw bad('a block of no bytes');
  return Uint8Array.from(used);
}

function moveToFront(list: Uint8Array, place: number): number {
  const value = list[place]!; // INVARIANT: callers know the list's length
  list.copyWithin(1, 0, place);
  list[0] = value;
  return value;
}

/** Which code each group of 50 symbols uses. */
function readSelectors(from: BitReader, codes: number): Uint8Array {
  const count = from.bits(15);
  if (count === 0) throw bad('no selectors');
  const order = Uint8Array.from({ length: codes }, (_, i) => i);
  const selectors = new Uint8Array(Math.min(count, MAX_SELECTORS));
  for (let i = 0; i < count; i++) {
    let place = 0;
    while (from.bit() === 1) if (++place >= codes) throw bad('a selector of no code');
    const code = moveToFront(order, place);
    if (i < selectors.length) selectors[i] = code;
  }
  return selectors;
}

function readCode(from: BitReader, symbols: number): Code {
  const lengths = new Uint8Array(symbols);
  let length = from.bits(5);
  for (let i = 0; i < symbols; i++) {
    for (;;) {
      if (length < 1 || length > MAX_CODE_BITS) throw bad(`a code of ${length} bits`);
      if (from.bit() === 0) break;
      length += from.bit() === 0 ? 1 : -1;
    }
    lengths[i] = length;
  }
  return new Code(lengths);
}

/** The last column of the sorted block; as many bytes as the result says, in `column`. */
function readColumn(from: BitReader, column: Uint32Array): number {
  const used = readUsed(from);
  const codeCount = from.bits(3);
  if (codeCount < 2 || codeCount > 6) throw bad(`${codeCount} codes`);
  const selectors = readSelectors(from, codeCount);
  const end = used.length + 1;
  if (end + 1 > MAX_ALPHABET) throw bad('too many symbols');
  const codes = Array.from({ length: codeCount }, () => readCode(from, end + 1));
  let count = 0;
  let [run, weight] = [0, 1];
  for (const selector of selectors) {
    const code = codes[selector]!; // INVARIANT: selectors name codes
    for (let i = 0; i < GROUP_SYMBOLS; i++) {
      const symbol = code.read(from);
      if (symbol <= RUN_B) {
        run += weight * (symbol + 1);
        weight *= 2;
        // GUEST: a run may not claim more than the block.
        if (run > column.length) throw bad('a run longer than its block');
        continue;
      }
      if (run > 0) {
        if (count + run > column.length) throw bad('a block that is too long');
        column.fill(used[0]!, count, count + run); // INVARIANT: not empty
        count += run;
        [run, weight] = [0, 1];
      }
      if (symbol === end) return count;
      if (count >= column.length) throw bad('a block that is too long');
      column[count++] = moveToFront(used, symbol - 1);
    }
  }
  throw bad('a block without an end');
}

/** Into each of the first `count` entries' upper 24 bits goes where the one that follows it is. */
function linkColumn(column: Uint32Array, count: number): void {
  const starts = new Uint32Array(257);
  // INVARIANT: all indices are bytes, or below `count`.
  for (let i = 0; i < count; i++) starts[(column[i]! & 0xff) + 1]!++;
  for (let byte = 0; byte < 256; byte++) starts[byte + 1]! += starts[byte]!;
  for (let i = 0; i < count; i++) {
    const place = starts[column[i]! & 0xff]!++;
    column[place] = (column[place]! & 0xff) | (i << 8);
  }
}

let crcTable: Uint32Array | undefined;

function crcOf(bytes: Uint8Array): number {
  crcTable ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte << 24;
    for (let i = 0; i < 8; i++) crc = crc < 0 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
    return crc >>> 0;
  });
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc << 8) ^ crcTable[((crc >>> 24) ^ byte) & 0xff]!;
  return ~crc >>> 0;
}

/** What `packed` stands for; more than `limit` bytes is an error. */
export function bunzip2(packed: Uint8Array, limit: number): Uint8Array {
  const from = new BitReader(packed);
  const out = new Uint8Array(limit);
  let written = 0;
  if (from.bits(16) !== 0x425a || from.bits(8) !== 0x68) throw bad('no bzip2 stream');
  const level = from.bits(8) - 0x30;
  if (level < 1 || level > 9) throw bad(`level ${level}`);
  const column = new Uint32Array(level * 100_000);
  for (;;) {
    const [high, low] = [from.bits(24), from.bits(24)];
    const crc = from.u32();
    if (high === END_MAGIC_HIGH && low === END_MAGIC_LOW) return out.subarray(0, written);
    if (high !== BLOCK_MAGIC_HIGH || low !== BLOCK_MAGIC_LOW) throw bad('neither a block nor the end');
    if (from.bit() !== 0) throw bad('randomised blocks are not supported');
    const origin = from.bits(24);
    const count = readColumn(from, column);
    if (origin >= count) throw bad(`a block of ${count} bytes that begins at ${origin}`);
    linkColumn(column, count);
    const start = written;
    let at = column[origin]! >>> 8;
    let [last, repeated] = [-1, 0];
    for (let i = 0; i < count; i++) {
      const entry = column[at]!; // INVARIANT: links are below `count`
      at = entry >>> 8;
      const byte = entry & 0xff;
      if (repeated === 4) {
        // Behind four equal bytes stands how many more there are.
        if (written + byte > limit) throw bad(`unpacks to more than ${limit} bytes`);
        out.fill(last, written, written + byte);
        written += byte;
        [last, repeated] = [-1, 0];
        continue;
      }
      if (written >= limit) throw bad(`unpacks to more than ${limit} bytes`);
      out[written++] = byte;
      repeated = byte === last ? repeated + 1 : 1;
      last = byte;
    }
    if (crcOf(out.subarray(start, written)) !== crc) throw bad('a block with a wrong checksum');
  }
}
