/** F16C: VCVTPH2PS and VCVTPS2PH, by exact microcode. SDM volume 2. */
import { type Expr, i32, load } from '../../../../wasm/expr.ts';
import type { Semantics, SemanticsTable, X86 } from '../context.ts';
import { putWork, takeWork, together, work } from './exact.ts';
import { byteValue, halves, put, putHalves, source } from './operands.ts';
import { lowLane } from './simd.ts';

const toSingles: Semantics = (x) => {
  const from = source(x, 1);
  const wide = x.width(0) === 256;
  putWork(x, [[from]]);
  x.microOrFault('sseHalfToSingle', work(x, 0), work(x, 0), i32(wide ? 8 : 4));
  const results = (wide ? [0, 1] : [0]).map(() => x.f.temporary('v128'));
  takeWork(x, results);
  putHalves(x, together(results));
};

/** The low 8 bytes of the work space. */
function lowResult(x: X86): Expr<'i64'> {
  return x.let(load('i64', 64, work(x, 0)));
}

const toHalves: Semantics = (x) => {
  const from = halves(x, 1);
  // A store that cannot be done raises no flags.
  if (x.isMemory(0)) {
    const bytes = x.width(0) / 8;
    const at = x.linear(bytes, 'write');
    x.mem.hostForUpdate(at, 8);
    x.microOrFault('probe', at, i32(bytes), i32(1));
  }
  putWork(x, [from]);
  const arguments_ = [byteValue(x, 2), work(x, 0), work(x, 0), i32(4 * from.length)];
  x.microOrFault('sseSingleToHalf', ...arguments_);
  if (from.length === 2) put(x, 0, x.let(load('v128', 128, work(x, 0))));
  else if (x.isMemory(0)) x.write(0, lowResult(x));
  else put(x, 0, lowLane(lowResult(x)));
};

export const half: SemanticsTable = { VCVTPH2PS: toSingles, VCVTPS2PH: toHalves };
