/** Segment descriptors: fetching from the GDT and LDT, taking apart, accessed bit (Intel SDM volume 3, 3.4.5 and 5). */
import {
  CPU_DESCRIPTOR, CPU_GDTR_BASE, CPU_GDTR_LIMIT, CPU_SEG, LDTR, SEG_ATTR, SEG_ATTR_UNUSABLE, SEG_BASE, SEG_LIMIT, SEG_SIZE,
} from "../layout";
import { ATTR_ACCESSED, ATTR_S } from "./bits";
import { readSystem, writeSystem } from "./memory";
import { longMode, raise } from "./state";

/** The descriptor fetched last: its two words, bits 32..63 of its base (16-byte kinds), and where it lies. */
export let descLow: u32 = 0;
export let descHigh: u32 = 0;
export let descUpper: u32 = 0;
export let descAddress: u64 = 0;

/** EXT bit for error codes: 1 while an event from outside the program is being delivered. */
export let eventExt: u32 = 0;
export function setEventExt(value: u32): void { eventExt = value; }

/** Raises with a selector's error code. */
export function raiseSelector(cpu: u32, vector: i32, selector: u32): i32 {
  return raise(cpu, vector, (selector & 0xfffc) | eventExt);
}

/** A linear address of a system structure, wrapped outside IA-32e mode. */
@inline export function systemAddress(cpu: u32, address: u64): u64 { return longMode(cpu) ? address : address & 0xffffffff; }

/** Fetches the descriptor of a selector that is not null. Out of the table's limit: `vector` with the selector. */
export function fetchDescriptor(cpu: u32, selector: u32, vector: i32): i32 {
  return fetchBytes(cpu, selector, vector, 8);
}

/** The same for the 16-byte system descriptors of IA-32e mode. */
export function fetchWideDescriptor(cpu: u32, selector: u32, vector: i32): i32 {
  return fetchBytes(cpu, selector, vector, 16);
}

function fetchBytes(cpu: u32, selector: u32, vector: i32, bytes: u32): i32 {
  let base: u64, limit: u32;
  if (selector & 4) {
    const ldt: u32 = cpu + CPU_SEG + LDTR * SEG_SIZE;
    if (load<u32>(ldt, SEG_ATTR) & SEG_ATTR_UNUSABLE) return raiseSelector(cpu, vector, selector);
    base = load<u64>(ldt, SEG_BASE);
    limit = load<u32>(ldt, SEG_LIMIT);
  } else {
    base = load<u64>(cpu, CPU_GDTR_BASE);
    limit = load<u32>(cpu, CPU_GDTR_LIMIT);
  }
  // GUEST: the index is bounded by the table's limit.
  if ((selector & 0xfff8) + bytes - 1 > limit) return raiseSelector(cpu, vector, selector);
  const at = systemAddress(cpu, base + (selector & 0xfff8));
  const buffer: u32 = cpu + CPU_DESCRIPTOR;
  if (readSystem(cpu, at, buffer, bytes)) return 1;
  descLow = load<u32>(buffer);
  descHigh = load<u32>(buffer, 4);
  descUpper = bytes == 16 ? load<u32>(buffer, 8) : 0;
  descAddress = at;
  return 0;
}

@inline export function descBase(): u64 {
  return <u64>((descLow >> 16) | ((descHigh & 0xff) << 16) | (descHigh & 0xff000000)) | (<u64>descUpper << 32);
}

@inline export function descLimit(): u32 {
  const limit = (descLow & 0xffff) | (descHigh & 0xf0000);
  return descHigh & 0x800000 ? (limit << 12) | 0xfff : limit;
}

/** Attributes as SEG_ATTR keeps them. */
@inline export function descAttr(): u32 { return (descHigh >> 8) & 0xf0ff; }
@inline export function attrDpl(attr: u32): u32 { return (attr >> 5) & 3; }

/** Sets the accessed bit of the code or data descriptor fetched last. May fault. */
export function touchDescriptor(cpu: u32): i32 {
  const attr = descAttr();
  if (!(attr & ATTR_S) || (attr & ATTR_ACCESSED)) return 0;
  descHigh |= 0x100;
  const buffer: u32 = cpu + CPU_DESCRIPTOR;
  store<u8>(buffer, <u8>(descHigh >> 8));
  return writeSystem(cpu, descAddress + 5, buffer, 1);
}

/** Sets the type's busy bit of the TSS descriptor at `address` to `busy`. */
export function setBusy(cpu: u32, address: u64, busy: bool): i32 {
  const buffer: u32 = cpu + CPU_DESCRIPTOR;
  if (readSystem(cpu, address + 5, buffer, 1)) return 1;
  const old = load<u8>(buffer);
  store<u8>(buffer, busy ? old | 2 : old & ~2);
  return writeSystem(cpu, address + 5, buffer, 1);
}

