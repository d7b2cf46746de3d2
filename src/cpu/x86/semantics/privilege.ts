/** Checks that system instructions share: privilege level, CR4 switches. */
import * as L from '../../layout.ts';
import { i32 } from '../../../wasm/expr.ts';
import type { X86 } from './context.ts';

export const CR4_UMIP = 0x800;
export const CR4_FSGSBASE = 0x10000;
export const CR4_OSXSAVE = 0x40000;
export const CR4_PKE = 0x400000;

/** #GP(0) outside ring 0. Real-address mode is ring 0. */
export function requireCpl0(x: X86): void {
  if (x.cpl !== 0) x.raise(L.EXC_GP, 0);
}

/** #UD unless a bit of CR4 is set. */
export function requireCr4(x: X86, bit: number): void {
  x.raiseIf(x.state32(L.CPU_CR4).and(i32(bit)).eqz(), L.EXC_UD);
}
