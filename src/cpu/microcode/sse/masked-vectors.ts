/**
 * Vector instructions that touch memory element by element: VMASKMOVPS and its kin, gathers. What the mask leaves out is not
 * accessed and cannot fault. Intel SDM volume 2, VMASKMOV and VPGATHERDD.
 */
import { ACCESS_STACK, ACCESS_WRITE, CPU_SCRATCH, SS } from "../../layout";
import { probeAccess, readVirtual, writeVirtual } from "../memory";
import { segmentAccess } from "../segments";

@inline function accessIn(seg: u32): u32 { return seg == SS ? ACCESS_STACK : 0; }

/**
 * Loads the elements (of `bytes`) whose bit in `mask` is set from `offset` of segment `seg` on, into 32 bytes at CPU_SCRATCH + 32; the
 * others are zero. Nonzero = an exception is pending.
 */
export function avxMaskedLoad(cpu: u32, seg: u32, offset: u64, mask: u32, bytes: u32): i32 {
  const result = cpu + CPU_SCRATCH + 32;
  memory.fill(result, 0, 32);
  for (let i: u32 = 0, rest = mask; rest; i++, rest >>= 1) {
    if (!(rest & 1)) continue;
    if (segmentAccess(cpu, seg, offset + i * bytes, bytes, 0)) return 1;
    if (readVirtual(cpu, load<u64>(cpu, CPU_SCRATCH), result + i * bytes, bytes, accessIn(seg))) return 1;
  }
  return 0;
}

/** Stores such elements of CPU_SCRATCH + 32: all or none. */
export function avxMaskedStore(cpu: u32, seg: u32, offset: u64, mask: u32, bytes: u32): i32 {
  for (let pass = 0; pass < 2; pass++) {
    for (let i: u32 = 0, rest = mask; rest; i++, rest >>= 1) {
      if (!(rest & 1)) continue;
      if (segmentAccess(cpu, seg, offset + i * bytes, bytes, 1)) return 1;
      const va = load<u64>(cpu, CPU_SCRATCH);
      if (!pass) {
        if (probeAccess(cpu, va, bytes, ACCESS_WRITE | accessIn(seg))) return 1;
      } else if (writeVirtual(cpu, va, cpu + CPU_SCRATCH + 32 + i * bytes, bytes, accessIn(seg))) return 1;
    }
  }
  return 0;
}

@inline function wide(at: u32, bytes: u32): i64 { return bytes == 8 ? load<i64>(at) : <i64>load<i32>(at); }

/**
 * Gathers `count` elements of `bytes` into the register at `dest`, where the sign of the element in the register at `mask` says so.
 * Addresses: `offset` of segment `seg` plus the index (of `indexBytes`, in the register at `index`) << scale, cut to `addressBits`.
 * Each element done leaves the mask, so that after a fault (nonzero) the instruction goes on where it was.
 */
export function avxGather(
  cpu: u32, dest: u32, mask: u32, index: u32, seg: u32, offset: u64, scale: u32, count: u32, bytes: u32, indexBytes: u32, addressBits: u32,
): i32 {
  const cut: u64 = addressBits == 64 ? ~(<u64>0) : 0xffffffff;
  for (let i: u32 = 0; i < count; i++) {
    const at = mask + i * bytes;
    if (wide(at, bytes) < 0) {
      const address = (offset + (<u64>wide(index + i * indexBytes, indexBytes) << scale)) & cut;
      if (segmentAccess(cpu, seg, address, bytes, 0)) return 1;
      if (readVirtual(cpu, load<u64>(cpu, CPU_SCRATCH), dest + i * bytes, bytes, accessIn(seg))) return 1;
    }
    memory.fill(at, 0, bytes);
  }
  // GUEST: count * bytes is at most 32, the width of the registers.
  memory.fill(mask + count * bytes, 0, 32 - count * bytes);
  memory.fill(dest + count * bytes, 0, 32 - count * bytes);
  return 0;
}
