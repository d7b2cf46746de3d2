/** Questions about a translation mode (layout.ts, MODE_*). */
import * as L from './layout.ts';

/** Protected mode, and not virtual-8086: where instructions marked `protectedOnly` exist. */
export function protectedNot86(mode: number): boolean {
  return (mode & (L.MODE_PROTECTED | L.MODE_VM86)) === L.MODE_PROTECTED;
}
