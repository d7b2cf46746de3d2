/** RDRAND and RDSEED: 16, 32 or 64 bits of the host's random numbers, always there (CF = 1). SDM volume 2. */
import { i32 } from '../../../wasm/expr.ts';
import { intType, type Semantics, type SemanticsTable } from './context.ts';
import { CF } from './flags.ts';

const rdrand: Semantics = (x) => {
  x.write(0, x.micro('i64', 'randomBits').toInt(intType(x.width(0))));
  x.flags.fromBits(i32(CF));
};

export const random: SemanticsTable = { RDRAND: rdrand, RDSEED: rdrand };
