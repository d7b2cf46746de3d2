/** MASKMOVDQU and MASKMOVQ: a store of some bytes of a register. Intel SDM volume 2, MASKMOVDQU. */
import { ACCESS_WRITE, CPU_SCRATCH } from "../../layout";
import { probeAccess, slowStore } from "../memory";
import { segmentAccess } from "../segments";

/**
 * Stores those of `bytes` bytes at host address `data` whose bit in `mask` is set at `offset` of segment `seg`. Nonzero = an
 * exception is pending and nothing is stored. All bytes must be writable, as processors want it. `data` may lie in
 * CPU_SCRATCH from its byte 16 on.
 */
export function sseMaskedStore(cpu: u32, seg: u32, offset: u64, mask: u32, data: u32, bytes: u32): i32 {
  if (segmentAccess(cpu, seg, offset, bytes, 1)) return 1;
  const va = load<u64>(cpu, CPU_SCRATCH);
  if (probeAccess(cpu, va, bytes, ACCESS_WRITE)) return 1;
  for (let i: u32 = 0; i < bytes; i++) {
    if (!((mask >> i) & 1)) continue;
    store<u8>(cpu, load<u8>(data + i), CPU_SCRATCH);
    if (slowStore(cpu, va + i, 1)) return 1;
  }
  return 0;
}
