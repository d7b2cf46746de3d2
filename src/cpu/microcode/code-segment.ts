/** The code segment that a far transfer is going to: checked, remembered, then committed once nothing can fault any more. */
import { CPU_RIP, CS, EXC_GP, EXC_NP } from "../layout";
import { ATTR_CODE, ATTR_CONFORMING, ATTR_DB, ATTR_L, ATTR_PRESENT, ATTR_S } from "./bits";
import { attrDpl, descAttr, descBase, descLimit, eventExt, fetchDescriptor, raiseSelector, touchDescriptor } from "./descriptors";
import { canonical, longMode, raiseGp, setSegment } from "./state";

export let codeBase: u64 = 0;
export let codeLimit: u32 = 0;
export let codeAttr: u32 = 0;

/** Fetches the descriptor of `selector` and insists on a code segment. Null: #GP(0). */
export function fetchCode(cpu: u32, selector: u32, vector: i32): i32 {
  if (!(selector & 0xfffc)) return raiseSelector(cpu, vector, 0);
  if (fetchDescriptor(cpu, selector, vector)) return 1;
  if ((descAttr() & (ATTR_S | ATTR_CODE)) != (ATTR_S | ATTR_CODE)) return raiseSelector(cpu, vector, selector);
  return 0;
}

/** Takes the descriptor fetched last as the target, privileges already checked: present, L and D not both, accessed. */
export function takeCode(cpu: u32, selector: u32): i32 {
  const attr = descAttr();
  if (longMode(cpu) && (attr & ATTR_L) && (attr & ATTR_DB)) return raiseSelector(cpu, EXC_GP, selector);
  if (!(attr & ATTR_PRESENT)) return raiseSelector(cpu, EXC_NP, selector);
  if (touchDescriptor(cpu)) return 1;
  codeBase = descBase();
  codeLimit = descLimit();
  codeAttr = descAttr();
  return 0;
}

/** A target 64-bit code segment? */
export function codeWide(cpu: u32): bool { return longMode(cpu) && (codeAttr & ATTR_L) != 0; }

export function codeConforming(attr: u32): bool { return (attr & ATTR_CONFORMING) != 0; }

/** May a direct jump or call from CPL `privilege` go to the code segment fetched last? */
export function directAllowed(privilege: u32, selector: u32): bool {
  const attr = descAttr(), dpl = attrDpl(attr);
  return codeConforming(attr) ? dpl <= privilege : (selector & 3) <= privilege && dpl == privilege;
}

/** The offset must lie in the target segment, or be canonical. */
export function checkTarget(cpu: u32, rip: u64): i32 {
  if (codeWide(cpu) ? !canonical(rip) : rip > <u64>codeLimit) return raiseGp(cpu, eventExt);
  return 0;
}

export function commitCode(cpu: u32, selector: u32, rip: u64): void {
  setSegment(cpu, CS, selector, codeBase, codeLimit, codeAttr);
  store<u64>(cpu, rip, CPU_RIP);
}
