/** Questions about a translation mode (layout.ts, MODE_*). */
import * as L from './layout.ts';
import type { InsnRow } from './x86/decode/insn.ts';

/** Protected mode, and not virtual-8086: where instructions marked `protectedOnly` exist. */
export function protectedNot86(mode: number): boolean {
  return (mode & (L.MODE_PROTECTED | L.MODE_VM86)) === L.MODE_PROTECTED;
}

/** Whether an instruction that decodes runs in `mode`, or is #UD (or #NM: AVX instructions) whatever its operands. */
export function runsIn(row: InsnRow, mode: number): boolean {
  if (row.protectedOnly === true && !protectedNot86(mode)) return false;
  return row.avx !== true || (mode & L.MODE_AVX) !== 0;
}
