/**
 * The dispatcher: runs decoded blocks until something needs the accelerator. Exceptions are delivered here, without leaving
 * WebAssembly; all else sets CPU_EXIT (layout.ts) and returns.
 */
import {
  CPU_BUDGET, CPU_EXC, CPU_EXIT, CPU_EXIT_COUNTS, CPU_EXPECTED_RETURN, CPU_HOST_STACK, CPU_JUMP_BASE, CPU_JUMP_GEN, CPU_LINK_FROM, CPU_RIP, CPU_RIP_PAGE, CPU_SINGLE,
  CPU_TIER0_INSNS, CPU_WATCH, EXIT_BUDGET, EXIT_DECODE, EXIT_EXCEPTION, JUMP_CACHE_ENTRIES, REC_HANDLER, REC_IMM, REC_INDEX, REC_OFFSET,
  NO_RETURN, WATCH_EXCEPTIONS,
} from "../layout";
import { findBlock } from "./blocks";
import { instructionDone } from "./debug";
import { deliverException } from "./exceptions";

/**
 * `findBlock`, by way of the jump cache. The block may have been dropped since: then it comes back here without having run, and must be
 * looked for in earnest.
 */
@inline function nextBlock(cpu: u32): u32 {
  const rip = load<u64>(cpu, CPU_RIP);
  const slot = load<u32>(cpu, CPU_JUMP_BASE) + (<u32>((rip ^ (rip >> 12)) & (JUMP_CACHE_ENTRIES - 1)) << 4);
  if (load<u64>(slot) != rip || load<u32>(slot, 8) != load<u32>(cpu, CPU_JUMP_GEN) || load<u32>(cpu, CPU_SINGLE)) return findBlock(cpu);
  const record = load<u32>(slot, 12);
  store<u64>(cpu, rip - load<u16>(record, REC_OFFSET), CPU_RIP_PAGE);
  return record;
}

/** Calls the handler of a record. Translations that it left waiting for a return are gone when it comes back. */
@inline function enter(cpu: u32, record: u32): void {
  store<u32>(cpu, 0, CPU_HOST_STACK);
  store<i64>(cpu, NO_RETURN, CPU_EXPECTED_RETURN);
  call_indirect<void>(load<u32>(record, REC_HANDLER), cpu, record);
}

/** Runs from CPU_RIP until CPU_EXIT is set. */
export function run(cpu: u32): void {
  let quick = load<u32>(cpu, CPU_LINK_FROM) == 0;
  while (!load<u32>(cpu, CPU_EXIT)) {
    if (load<i32>(cpu, CPU_EXC) >= 0) {
      store<u32>(cpu, 0, CPU_LINK_FROM);
      store<u64>(cpu, load<u64>(cpu, CPU_EXIT_COUNTS + EXIT_EXCEPTION * 8) + 1, CPU_EXIT_COUNTS + EXIT_EXCEPTION * 8);
      if (load<u32>(cpu, CPU_WATCH) & WATCH_EXCEPTIONS) {
        store<u32>(cpu, EXIT_EXCEPTION, CPU_EXIT);
        return;
      }
      deliverException(cpu);
      quick = true;
      continue;
    }
    if (load<i32>(cpu, CPU_BUDGET) < 0) {
      store<u32>(cpu, 0, CPU_LINK_FROM);
      store<u32>(cpu, EXIT_BUDGET, CPU_EXIT);
      return;
    }
    const record = quick ? nextBlock(cpu) : findBlock(cpu);
    quick = false;
    if (record == 1) continue;
    if (record == 0) {
      store<u32>(cpu, EXIT_DECODE, CPU_EXIT);
      return;
    }
    const from = load<u32>(cpu, CPU_LINK_FROM);
    if (from) {
      // The link is this jump's own only if the block found is where it goes.
      if (load<i32>(from, REC_IMM + 4) == <i32>load<u16>(record, REC_OFFSET)) store<u32>(from, record, REC_IMM);
      store<u32>(cpu, 0, CPU_LINK_FROM);
    }
    enter(cpu, record);
  }
}

/** Runs one record chain that is in no hash (a single instruction), then returns. */
export function runRecord(cpu: u32, record: u32): void {
  store<u32>(cpu, 0, CPU_LINK_FROM);
  enter(cpu, record);
}

/** A handler leaves at the instruction of `record`, which is not done. */
export function leaveAt(cpu: u32, record: u32): void {
  let rip = load<u64>(cpu, CPU_RIP_PAGE) + load<u16>(record, REC_OFFSET);
  store<u64>(cpu, rip, CPU_RIP);
  const done = <i32>load<u8>(record, REC_INDEX);
  store<i32>(cpu, load<i32>(cpu, CPU_BUDGET) - done, CPU_BUDGET);
  store<i32>(cpu, load<i32>(cpu, CPU_TIER0_INSNS) + done, CPU_TIER0_INSNS);
}

/** After an instruction in MODE_TF. */
export function singleStepTrap(cpu: u32): void {
  instructionDone(cpu);
}
