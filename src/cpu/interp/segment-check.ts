/** Linear addresses through segments that have a base or a limit: real mode, virtual-8086, non-flat protected mode. */
import * as L from '../layout.ts';
import { type Expr, i32, load } from '../../wasm/expr.ts';
import type { Access, X86 } from '../x86/semantics/context.ts';

/** Microcode checks type and limit (#GP, #SS) and leaves the linear address in the scratch area. */
export function linearThroughSegment(
  x: X86,
  segment: Expr<'i32'>,
  offset: Expr<'i64'>,
  bytes: number,
  access: Access,
): Expr<'i64'> {
  x.microOrFault('segmentAccess', segment, offset, i32(bytes), i32(access === 'write' ? 1 : 0));
  return x.let(load('i64', 64, x.cpu, L.CPU_SCRATCH));
}
