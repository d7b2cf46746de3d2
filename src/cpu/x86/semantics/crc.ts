/** CRC32: the Castagnoli checksum of SSE4.2, accumulated over 1 to 8 bytes (microcode/crc32.ts). SDM volume 2. */
import { i32 } from '../../../wasm/expr.ts';
import { intType, type Semantics, type SemanticsTable } from './context.ts';

/** The accumulator is 32 bits; a 64-bit destination is zero-extended. */
const crc32: Semantics = (x) => {
  const bytes = x.operand(1).bytes;
  const data = x.read(1).toI64();
  const before = x.read(0).toI32();
  x.write(0, x.micro('i32', 'crc32', before, data, i32(bytes)).toInt(intType(x.width(0))));
};

export const crc: SemanticsTable = { CRC32: crc32 };
