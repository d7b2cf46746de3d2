/** Integer values of definitions: which WebAssembly type holds which width. */
import type { Expr, IntType } from '../../../wasm/expr.ts';

/** An integer value: i32 for widths up to 32 bits, i64 for 64. */
export type Int = Expr<IntType>;

/** Container type of a width. */
export function intType(bits: number): IntType {
  return bits === 64 ? 'i64' : 'i32';
}
