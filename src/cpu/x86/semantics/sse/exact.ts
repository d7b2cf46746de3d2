/** Vectors on their way to the exact microcode and back: its operands lie in the work space for floats, 32 bytes each. */
import * as L from '../../../layout.ts';
import { type Expr, i32, load } from '../../../../wasm/expr.ts';
import type { Local } from '../../../../wasm/function-builder.ts';
import type { X86 } from '../context.ts';
import type { Halves } from './operands.ts';
import type { Vector } from './simd.ts';

/** Address of operand `k` (0..2) of the exact microcode. */
export function work(x: X86, k: number): Expr<'i32'> {
  return x.cpu.add(i32(L.CPU_FLOAT_WORK + 32 * k));
}

/** Puts `operands` into the work space. */
export function putWork(x: X86, operands: readonly Halves[]): void {
  operands.forEach((halves, k) =>
    halves.forEach((value, half) => x.setState(128, L.CPU_FLOAT_WORK + 32 * k + 16 * half, value)),
  );
}

/** Takes the results of the microcode, which are where the first operand was. */
export function takeWork(x: X86, results: readonly Local<'v128'>[]): void {
  results.forEach((result, half) => x.f.set(result, load('v128', 128, work(x, 0), 16 * half)));
}

/** Variables as operand halves. */
export function together(results: readonly Local<'v128'>[]): Halves {
  const [low, high] = results.map((result) => result.get);
  // INVARIANT: there is a variable for each half.
  return high === undefined ? [low as Vector] : [low as Vector, high];
}
