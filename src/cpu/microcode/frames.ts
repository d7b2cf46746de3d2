/** ENTER with nesting, PUSHA and POPA: instructions of many pushes, restartable as a whole (Intel SDM volume 2). */
import { peekValue, popped, probeStack, pushValue, stackPointer, stackPointerMask, useCurrentStack } from "./stack";
import { gpr, RBP, RSP, setGprBits, setStackPointer } from "./state";

/** ENTER size, level with operands of `bits`. */
export function enter(cpu: u32, bits: u32, size: u32, level: u32): i32 {
  const bytes = bits >> 3;
  level &= 31;
  useCurrentStack(cpu);
  const mask = stackPointerMask;
  if (pushValue(cpu, gpr(cpu, RBP), bytes)) return 1;
  // With 32-bit operands on a 16-bit stack the frame pointer is all of ESP.
  const frame = (gpr(cpu, RSP) & ~mask) | stackPointer;
  if (level) {
    for (let i: u32 = 1; i < level; i++) {
      // The enclosing frames' pointers, copied from below the old RBP.
      const from = (gpr(cpu, RBP) - i * bytes) & mask;
      if (peekValue(cpu, from - stackPointer, bytes) || pushValue(cpu, popped, bytes)) return 1;
    }
    if (pushValue(cpu, frame, bytes)) return 1;
  }
  const top = (stackPointer - size) & mask;
  if (probeStack(cpu, top, bytes)) return 1; // the new top must be writable
  setStackPointer(cpu, top, mask);
  setGprBits(cpu, RBP, frame, bits);
  return 0;
}

export function pusha(cpu: u32, bits: u32): i32 {
  const bytes = bits >> 3;
  useCurrentStack(cpu);
  for (let i: u32 = 0; i < 8; i++) if (pushValue(cpu, gpr(cpu, i), bytes)) return 1;
  setStackPointer(cpu, stackPointer, stackPointerMask);
  return 0;
}

export function popa(cpu: u32, bits: u32): i32 {
  const bytes = bits >> 3;
  useCurrentStack(cpu);
  // All of it must be readable before the first register changes.
  for (let i: u32 = 0; i < 8; i++) if (peekValue(cpu, i * bytes, bytes)) return 1;
  for (let i: u32 = 0; i < 8; i++) {
    peekValue(cpu, i * bytes, bytes);
    if (7 - i != RSP) setGprBits(cpu, 7 - i, popped, bits);
  }
  setStackPointer(cpu, stackPointer + bytes * 8, stackPointerMask);
  return 0;
}
