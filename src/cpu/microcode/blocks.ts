/** From CPU_RIP to a decoded block: CS limit, fetch permission, block hash, jump cache (formats: layout.ts). */
import {
  ACCESS_EXEC, ACCESS_READ, BLOCK_HASH_ENTRIES, BLOCK_HASH_ENTRY_SIZE, BLOCK_HASH_WAYS, CPU_JUMP_BASE, CPU_JUMP_GEN, CPU_MODE, CPU_RIP, CPU_RIP_PAGE,
  CPU_SCRATCH, CPU_SEG, CPU_SINGLE, CS, JUMP_CACHE_ENTRIES, MACHINE_BLOCK_HASH, MODE_64, MODE_SIZE_MASK, MODE_TF, SEG_BASE, SEG_LIMIT,
  SEG_SIZE, STAT_BLOCK_LOOKUP, TLB_ADDEND, TLB_EXEC_TAG, TLB_PPN, TLB_READ_TAG, TLB_TAG_MMIO,
} from "../layout";
import { fetchBreakpoint } from "./debug";
import { count, raiseGp } from "./state";
import { entryGpa, tlbEntry, translate } from "./tlb";
import { noteCodePage, PPN_MASK } from "./tlb-banks";

/** TLB entry of the last `translateCode`. */
let codeEntry: u32 = 0;

/** First entry of the block hash to look at; the others are this ^ 1 and so on. */
export function blockHashIndex(phys: u32, mode: u32): u32 {
  return (phys ^ (phys >> 12) ^ (mode * 0x1f1)) & (BLOCK_HASH_ENTRIES - 1);
}

/**
 * Record at which to go on at CPU_RIP in CPU_MODE; sets CPU_RIP_PAGE. 0 = it must be decoded: CPU_SCRATCH holds the physical
 * address (u64) and, at +8, the host address of the first byte (u32; 0 = not memory). 1 = an exception is pending.
 */
export function findBlock(cpu: u32): u32 {
  count(cpu, STAT_BLOCK_LOOKUP);
  const mode = load<u32>(cpu, CPU_MODE);
  const rip = load<u64>(cpu, CPU_RIP);
  let va = rip;
  if ((mode & MODE_SIZE_MASK) != MODE_64) {
    if (rip > <u64>load<u32>(cpu, CPU_SEG + CS * SEG_SIZE + SEG_LIMIT)) {
      raiseGp(cpu, 0);
      return 1;
    }
    va = (load<u64>(cpu, CPU_SEG + CS * SEG_SIZE + SEG_BASE) + rip) & 0xffffffff;
  }
  if ((mode & MODE_TF) && fetchBreakpoint(cpu, va)) return 1;
  if (translateCode(cpu, va)) return 1;
  store<u64>(cpu, rip - (va & 0xfff), CPU_RIP_PAGE);
  if (load<u32>(cpu, CPU_SINGLE)) return 0;
  const low = load<u32>(cpu, CPU_SCRATCH), high = load<u32>(cpu, CPU_SCRATCH + 4);
  const index = blockHashIndex(low, mode);
  let record: u32 = 0;
  for (let way: u32 = 0; way < <u32>BLOCK_HASH_WAYS; way++) {
    const entry: u32 = load<u32>(MACHINE_BLOCK_HASH) + (index ^ way) * BLOCK_HASH_ENTRY_SIZE;
    if (load<u32>(entry) == low && load<u32>(entry, 4) == mode && load<u32>(entry, 12) == high) {
      record = load<u32>(entry, 8);
      if (record) break;
    }
  }
  if (record) {
    // In MODE_TF every instruction passes through here.
    if (mode & MODE_TF) return record;
    noteCodePage(cpu, va, codeEntry);
    const slot = load<u32>(cpu, CPU_JUMP_BASE) + (<u32>((rip ^ (rip >> 12)) & (JUMP_CACHE_ENTRIES - 1)) << 4);
    store<u64>(slot, rip);
    store<u32>(slot, load<u32>(cpu, CPU_JUMP_GEN), 8);
    store<u32>(slot, record, 12);
  }
  return record;
}

/** The same for a rip in the current code segment, which is not checked against its limit. */
export function translateRip(cpu: u32, rip: u64): i32 {
  if ((load<u32>(cpu, CPU_MODE) & MODE_SIZE_MASK) == MODE_64) return translateCode(cpu, rip);
  return translateCode(cpu, (load<u64>(cpu, CPU_SEG + CS * SEG_SIZE + SEG_BASE) + rip) & 0xffffffff);
}

/** Translates a linear address for fetching; result in CPU_SCRATCH as above. Nonzero = a fault is pending. */
export function translateCode(cpu: u32, va: u64): i32 {
  const entry = translate(cpu, va, ACCESS_EXEC);
  if (!entry) return 1;
  codeEntry = entry;
  store<u64>(cpu, entryGpa(entry, va), CPU_SCRATCH);
  store<u32>(cpu, load<u64>(entry, TLB_EXEC_TAG) & TLB_TAG_MMIO ? 0 : <u32>va + load<u32>(entry, TLB_ADDEND), CPU_SCRATCH + 8);
  return 0;
}

/**
 * The page `delta` pages from CPU_RIP's, if the TLB has it for fetching: host address of its first byte, its physical page number
 * in CPU_SCRATCH. 0 = it is not there. Changes nothing. For flat code segments.
 */
export function peekCode(cpu: u32, delta: i32): u32 {
  let va = (load<u64>(cpu, CPU_RIP) & ~(<u64>0xfff)) + (<u64>(<i64>delta) << 12);
  if ((load<u32>(cpu, CPU_MODE) & MODE_SIZE_MASK) != MODE_64) va &= 0xffffffff;
  const entry = tlbEntry(cpu, va, ACCESS_EXEC);
  if (load<u64>(entry, TLB_EXEC_TAG) != va) return 0;
  store<u32>(cpu, load<u32>(entry, TLB_PPN) & PPN_MASK, CPU_SCRATCH);
  return <u32>va + load<u32>(entry, TLB_ADDEND);
}

/**
 * Reads the pointer `offset` bytes from the start of CPU_RIP's page, if the TLB has its page for reading, and leaves in CPU_SCRATCH
 * where it points to, likewise counted. 0 = it is not there, or points far away. Changes nothing. For 64-bit code.
 */
export function peekPointer(cpu: u32, offset: i32): u32 {
  const base = load<u64>(cpu, CPU_RIP) & ~(<u64>0xfff), va = base + <u64>(<i64>offset);
  const entry = tlbEntry(cpu, va, ACCESS_READ);
  if (load<u64>(entry, TLB_READ_TAG) != ((va + 7) & ~(<u64>0xfff))) return 0;
  const target = load<u64>(<u32>va + load<u32>(entry, TLB_ADDEND)) - base;
  if (<i64>target != <i64>(<i32>target)) return 0;
  store<i64>(cpu, <i64>target, CPU_SCRATCH);
  return 1;
}
