/** Guest physical memory: slots of RAM and ROM, everything else a device (open bus reads as the host says). */
import {
  CPU_HOST_DATA, EXIT_MMIO_READ, EXIT_MMIO_WRITE, MACHINE_A20_MASK, MACHINE_CODE_PAGE_COUNT, MACHINE_CODE_PAGE_MAP,
  MACHINE_SLOTS, MACHINE_SLOT_COUNT, SLOT_DIRTY_BITMAP, SLOT_FIRST_PAGE, SLOT_FLAGS, SLOT_HOST, SLOT_LOG_DIRTY, SLOT_PAGES,
  SLOT_READONLY, SLOT_SIZE,
} from "../layout";
import { codeWritten, mmioRead, mmioWrite } from "./host";
import { count } from "./state";

let lastSlot: u32 = 0;

/** Address of the slot that holds a guest physical page, 0 when none does. */
export function findSlot(ppn: u64): u32 {
  const slots = load<u32>(MACHINE_SLOT_COUNT);
  if (lastSlot < slots) {
    const s: u32 = MACHINE_SLOTS + lastSlot * SLOT_SIZE;
    if (ppn - load<u64>(s, SLOT_FIRST_PAGE) < load<u64>(s, SLOT_PAGES)) return s;
  }
  for (let i: u32 = 0; i < slots; i++) {
    const s: u32 = MACHINE_SLOTS + i * SLOT_SIZE;
    if (ppn - load<u64>(s, SLOT_FIRST_PAGE) < load<u64>(s, SLOT_PAGES)) {
      lastSlot = i;
      return s;
    }
  }
  return 0;
}

@inline export function slotHost(slot: u32, gpa: u64): u32 {
  return load<u32>(slot, SLOT_HOST) + <u32>(gpa - (load<u64>(slot, SLOT_FIRST_PAGE) << 12));
}

/** Host address of a guest physical byte in RAM or ROM, 0 for anything else. */
export function ramHost(gpa: u64): u32 {
  const slot = findSlot(gpa >> 12);
  return slot ? slotHost(slot, gpa) : 0;
}

@inline export function a20(gpa: u64): u64 { return gpa & load<u64>(MACHINE_A20_MASK); }

export function codePage(ppn: u64): bool {
  return ppn < <u64>load<u32>(MACHINE_CODE_PAGE_COUNT) && load<u8>(load<u32>(MACHINE_CODE_PAGE_MAP) + <u32>ppn) != 0;
}

export function pageDirty(slot: u32, ppn: u64): bool {
  const bit = <u32>(ppn - load<u64>(slot, SLOT_FIRST_PAGE));
  return ((load<u8>(load<u32>(slot, SLOT_DIRTY_BITMAP) + (bit >> 3)) >> (bit & 7)) & 1) != 0;
}

export function markDirty(slot: u32, ppn: u64): void {
  if (!(load<u32>(slot, SLOT_FLAGS) & SLOT_LOG_DIRTY)) return;
  const bit = <u32>(ppn - load<u64>(slot, SLOT_FIRST_PAGE));
  atomic.or<u8>(load<u32>(slot, SLOT_DIRTY_BITMAP) + (bit >> 3), <u8>((<u32>1) << (bit & 7)));
}

/** Reads 1..8 bytes of a device. */
export function deviceRead(cpu: u32, gpa: u64, bytes: u32): u64 {
  count(cpu, EXIT_MMIO_READ);
  mmioRead(cpu, <u32>gpa, <u32>(gpa >> 32), bytes);
  return load<u64>(cpu, CPU_HOST_DATA);
}

export function deviceWrite(cpu: u32, gpa: u64, bytes: u32, value: u64): void {
  count(cpu, EXIT_MMIO_WRITE);
  store<u64>(cpu, value, CPU_HOST_DATA);
  mmioWrite(cpu, <u32>gpa, <u32>(gpa >> 32), bytes);
}

/** A device access of any size in the largest pieces of 8, 4, 2, 1 that fit. */
export function deviceReadBytes(cpu: u32, gpa: u64, host: u32, bytes: u32): void {
  while (bytes >= 8) { store<u64>(host, deviceRead(cpu, gpa, 8)); gpa += 8; host += 8; bytes -= 8; }
  if (bytes & 4) { store<u32>(host, <u32>deviceRead(cpu, gpa, 4)); gpa += 4; host += 4; }
  if (bytes & 2) { store<u16>(host, <u16>deviceRead(cpu, gpa, 2)); gpa += 2; host += 2; }
  if (bytes & 1) store<u8>(host, <u8>deviceRead(cpu, gpa, 1));
}

export function deviceWriteBytes(cpu: u32, gpa: u64, host: u32, bytes: u32): void {
  while (bytes >= 8) { deviceWrite(cpu, gpa, 8, load<u64>(host)); gpa += 8; host += 8; bytes -= 8; }
  if (bytes & 4) { deviceWrite(cpu, gpa, 4, load<u32>(host)); gpa += 4; host += 4; }
  if (bytes & 2) { deviceWrite(cpu, gpa, 2, load<u16>(host)); gpa += 2; host += 2; }
  if (bytes & 1) deviceWrite(cpu, gpa, 1, load<u8>(host));
}

/** Reads 1, 2, 4 or 8 bytes (not across a page) at a guest physical address. */
export function physRead(cpu: u32, gpa: u64, bytes: u32): u64 {
  gpa = a20(gpa);
  const host = ramHost(gpa);
  if (!host) return deviceRead(cpu, gpa, bytes);
  if (bytes == 8) return load<u64>(host);
  if (bytes == 4) return load<u32>(host);
  if (bytes == 2) return load<u16>(host);
  return load<u8>(host);
}

/** Writes 1, 2, 4 or 8 bytes (not across a page). Decoded code that it changes is dropped. */
export function physWrite(cpu: u32, gpa: u64, bytes: u32, value: u64): void {
  gpa = a20(gpa);
  const slot = findSlot(gpa >> 12);
  if (!slot || (load<u32>(slot, SLOT_FLAGS) & SLOT_READONLY)) {
    deviceWrite(cpu, gpa, bytes, value);
    return;
  }
  if (codePage(gpa >> 12)) codeWritten(cpu, <u32>gpa, <u32>(gpa >> 32), bytes);
  markDirty(slot, gpa >> 12);
  const host = slotHost(slot, gpa);
  if (bytes == 8) store<u64>(host, value);
  else if (bytes == 4) store<u32>(host, <u32>value);
  else if (bytes == 2) store<u16>(host, <u16>value);
  else store<u8>(host, <u8>value);
}
