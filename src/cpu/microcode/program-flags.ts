/** PUSHF, POPF, CLI, STI, STAC, CLAC: who may see and change which flag (Intel SDM volume 2). VME and PVI are absent. */
import { CPU_INT_SHADOW, CPU_RFLAGS, CPU_SCRATCH, SHADOW_STI } from "../layout";
import {
  RFLAGS_AC, RFLAGS_ARITHMETIC, RFLAGS_DF, RFLAGS_ID, RFLAGS_IF, RFLAGS_IOPL, RFLAGS_NT, RFLAGS_RF, RFLAGS_TF, RFLAGS_VIF, RFLAGS_VIP,
  RFLAGS_VM,
} from "./bits";
import { updateMode, updateTlbSet } from "./mode";
import { cpl, getFlags, iopl, offerInterrupts, protectedMode, raiseGp, setFlags, vm86 } from "./state";

/** The image that PUSHF of `bits` pushes, into CPU_SCRATCH. */
export function pushf(cpu: u32, bits: u32): i32 {
  if (vm86(cpu) && iopl(cpu) < 3) return raiseGp(cpu, 0);
  const image = getFlags(cpu) & ~(RFLAGS_VM | RFLAGS_RF);
  store<u64>(cpu, bits == 16 ? image & 0xffff : image, CPU_SCRATCH);
  return 0;
}

/** POPF's effect: sets what the privilege allows of `image`. */
export function popf(cpu: u32, image: u32, bits: u32): i32 {
  if (vm86(cpu) && iopl(cpu) < 3) return raiseGp(cpu, 0);
  let mask = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
  if (bits > 16) mask |= RFLAGS_AC | RFLAGS_ID;
  const privilege: u32 = vm86(cpu) ? 3 : protectedMode(cpu) ? cpl(cpu) : 0;
  if (privilege <= iopl(cpu)) mask |= RFLAGS_IF;
  if (privilege == 0) {
    mask |= RFLAGS_IOPL;
    if (bits > 16) mask |= RFLAGS_VIF | RFLAGS_VIP;
    image &= ~(RFLAGS_VIF | RFLAGS_VIP);
  }
  setFlags(cpu, (getFlags(cpu) & ~(mask | RFLAGS_RF)) | (image & mask));
  updateMode(cpu);
  return 0;
}

/** May the program change IF? */
function interruptFlagAllowed(cpu: u32): bool {
  return !protectedMode(cpu) || (vm86(cpu) ? iopl(cpu) == 3 : cpl(cpu) <= iopl(cpu));
}

export function cli(cpu: u32): i32 {
  if (!interruptFlagAllowed(cpu)) return raiseGp(cpu, 0);
  store<u32>(cpu, load<u32>(cpu, CPU_RFLAGS) & ~RFLAGS_IF, CPU_RFLAGS);
  return 0;
}

/** Interrupts stay off for one more instruction. */
export function sti(cpu: u32): i32 {
  if (!interruptFlagAllowed(cpu)) return raiseGp(cpu, 0);
  const old = load<u32>(cpu, CPU_RFLAGS);
  if (!(old & RFLAGS_IF)) {
    store<u32>(cpu, old | RFLAGS_IF, CPU_RFLAGS);
    store<u32>(cpu, SHADOW_STI, CPU_INT_SHADOW);
    offerInterrupts(cpu);
  }
  return 0;
}

/** STAC and CLAC at CPL 0: of what `updateMode` looks at, they change the TLB set alone. */
export function setAc(cpu: u32, value: i32): void {
  const old = load<u32>(cpu, CPU_RFLAGS);
  store<u32>(cpu, value ? old | RFLAGS_AC : old & ~RFLAGS_AC, CPU_RFLAGS);
  updateTlbSet(cpu);
}
