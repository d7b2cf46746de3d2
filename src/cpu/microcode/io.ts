/** Port I/O: permission (IOPL and the TSS's bitmap, Intel SDM volume 1, 19.5) and the host's ports. */
import { CPU_SCRATCH, CPU_SEG, EXIT_IO_IN, EXIT_IO_OUT, SEG_ATTR, SEG_BASE, SEG_LIMIT, SEG_SIZE, TR } from "../layout";
import { TYPE_TSS32 } from "./bits";
import { watchPort } from "./debug";
import { systemAddress } from "./descriptors";
import { ioIn, ioOut } from "./host";
import { readSystem } from "./memory";
import { count, cpl, iopl, leftForAlone, protectedMode, raiseGp, vm86 } from "./state";

const TSS_IO_MAP_BASE: u64 = 102;

/** May the program touch `bytes` ports from `port`, and now? Nonzero = #GP(0) or a page fault pending, or not in this block. */
export function ioCheck(cpu: u32, port: u32, bytes: u32): i32 {
  return ioPermission(cpu, port, bytes) || leftForAlone(cpu) ? 1 : 0;
}

function ioPermission(cpu: u32, port: u32, bytes: u32): i32 {
  if (!protectedMode(cpu) || (!vm86(cpu) && cpl(cpu) <= iopl(cpu))) return 0;
  const tr: u32 = cpu + CPU_SEG + TR * SEG_SIZE;
  const limit = load<u32>(tr, SEG_LIMIT), base = load<u64>(tr, SEG_BASE);
  if ((load<u32>(tr, SEG_ATTR) & TYPE_TSS32) != TYPE_TSS32 || limit < 103) return raiseGp(cpu, 0);
  if (readSystem(cpu, systemAddress(cpu, base + TSS_IO_MAP_BASE), cpu + CPU_SCRATCH, 2)) return 1;
  const at = <u32>load<u16>(cpu, CPU_SCRATCH) + (port >> 3);
  // GUEST: the bitmap's offset and the port are bounded by the TSS's limit; two bytes are always read.
  if (at + 1 > limit) return raiseGp(cpu, 0);
  if (readSystem(cpu, systemAddress(cpu, base + at), cpu + CPU_SCRATCH, 2)) return 1;
  const mask = ((1 << bytes) - 1) << (port & 7);
  return load<u16>(cpu, CPU_SCRATCH) & mask ? raiseGp(cpu, 0) : 0;
}

export function portIn(cpu: u32, port: u32, bytes: u32): u32 {
  count(cpu, EXIT_IO_IN);
  watchPort(cpu, port, bytes);
  return ioIn(cpu, port, bytes);
}

export function portOut(cpu: u32, port: u32, bytes: u32, value: u32): void {
  count(cpu, EXIT_IO_OUT);
  watchPort(cpu, port, bytes);
  ioOut(cpu, port, bytes, value);
}
