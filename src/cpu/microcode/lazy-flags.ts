/** The four parts of the arithmetic flags from what translated code remembers of an operation (semantics/flags.ts, lazyKind). */
import { CPU_FLAG_AUX, CPU_FLAG_CF, CPU_FLAG_OV, CPU_FLAG_RES } from "../layout";

const ADD: u32 = 0, SUB: u32 = 1, LOGIC: u32 = 2, INC: u32 = 3;

/** `result` and `source` count in their low 8, 16, 32 or 64 bits, as `kind` says; the source of INC and DEC is CF. */
export function flagsFromLazy(cpu: u32, kind: u32, result: u64, source: u64): void {
  const operation = (kind - 1) >> 2;
  const bits = <u64>8 << ((kind - 1) & 3), shift = 64 - bits;
  const r = <u64>(<i64>(result << shift) >> shift);
  let cf: u64 = 0, ov: u64 = 0, aux: u64 = 0;
  if (operation == ADD || operation == SUB) {
    const b = <u64>(<i64>(source << shift) >> shift);
    const other = operation == ADD ? result - source : result + source;
    const a = <u64>(<i64>(other << shift) >> shift);
    cf = u64(operation == ADD ? r < a : a < b);
    ov = operation == ADD ? (a ^ r) & (b ^ r) : (a ^ b) & (a ^ r);
    aux = (a ^ b ^ r) & 16;
  } else if (operation != LOGIC) {
    cf = source;
    const smallest = <u64>(<i64>(<u64>1 << 63) >> shift);
    if (operation == INC) {
      ov = r == smallest ? <u64>1 << 63 : 0;
      aux = r & 15 ? 0 : 16;
    } else {
      ov = r == ~smallest ? <u64>1 << 63 : 0;
      aux = (r & 15) == 15 ? 16 : 0;
    }
  }
  store<u64>(cpu, r, CPU_FLAG_RES);
  store<u64>(cpu, cf, CPU_FLAG_CF);
  store<u64>(cpu, ov, CPU_FLAG_OV);
  store<u64>(cpu, aux, CPU_FLAG_AUX);
}
