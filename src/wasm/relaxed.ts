/**
 * Relaxed SIMD (its specification, sections "Relaxed madd" and "Relaxed swizzle"): a multiply-add that an engine may round once (fused)
 * or twice, of which one product tells; and a swizzle that is one instruction of the host where indices are such that all engines
 * agree. Engines without relaxed SIMD count as not fused and take the ordinary swizzle.
 */
import { type Expr, f64, laneOp, op, SIMD, v128Zero } from './expr.ts';
import { ModuleBuilder } from './module-builder.ts';

const F64X2_SPLAT = 0x14;
const F64X2_EXTRACT = 0x21;
const MADD = { 32: 0x105, 64: 0x107 } as const;
const NMADD = { 32: 0x106, 64: 0x108 } as const;

/** a * b + c in every lane of `bits`, or c - a * b. */
export function relaxedMultiplyAdd(
  bits: 32 | 64,
  negate: boolean,
  a: Expr<'v128'>,
  b: Expr<'v128'>,
  c: Expr<'v128'>,
): Expr<'v128'> {
  return op('v128', SIMD + (negate ? NMADD : MADD)[bits], a, b, c);
}

const SWIZZLE = 0x0e;
const RELAXED_SWIZZLE = 0x100;
let relaxedSwizzle: boolean | undefined;

/** The bytes of `a` that `indices` name, each 0..15 or, for a zero, 128 and above. */
export function pickBytes(a: Expr<'v128'>, indices: Expr<'v128'>): Expr<'v128'> {
  relaxedSwizzle ??= compiles(op('v128', SIMD + RELAXED_SWIZZLE, v128Zero, v128Zero));
  return op('v128', SIMD + (relaxedSwizzle ? RELAXED_SWIZZLE : SWIZZLE), a, indices);
}

/** Lets the engine have a relaxed swizzle or not, from now on, or finds it out anew: for tests. */
export function assumeRelaxedSwizzle(there: boolean | undefined): void {
  relaxedSwizzle = there;
}

function compiles(value: Expr<'v128'>): boolean {
  const module = new ModuleBuilder({ initial: 1, maximum: 1 });
  const { builder } = module.define({ params: [], results: [] }, 'tried');
  builder.drop(value);
  return WebAssembly.validate(module.build());
}

let answer: boolean | undefined;

/** Whether relaxed multiply-adds are fused here. */
export function fusesMultiplyAdd(): boolean {
  answer ??= measure();
  return answer;
}

/** Lets the answer be `fused` from now on, or be found out anew: what is translated on other engines can be tested here. */
export function assumeFused(fused: boolean | undefined): void {
  answer = fused;
}

function measure(): boolean {
  // (1 + 2^-30)^2 = 1 + 2^-29 + 2^-60, which a product alone loses.
  const near = 1 + 2 ** -30;
  const splat = (value: number): Expr<'v128'> => op('v128', SIMD + F64X2_SPLAT, f64(value));
  const module = new ModuleBuilder({ initial: 1, maximum: 1 });
  const { builder } = module.define({ params: [], results: ['f64'] }, 'rest');
  const sum = relaxedMultiplyAdd(64, false, splat(near), splat(near), splat(-(near * near)));
  builder.return(laneOp('f64', SIMD + F64X2_EXTRACT, 0, sum));
  try {
    const env = {
      memory: new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }),
      table: new WebAssembly.Table({ element: 'anyfunc', initial: 0 }),
    };
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.build()), { env });
    // INVARIANT: the module exports this one function.
    return (exports['rest'] as () => number)() === 2 ** -60;
  } catch {
    return false;
  }
}
