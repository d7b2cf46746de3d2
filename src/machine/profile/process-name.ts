/** The name of the program that runs in a Linux guest, from its stack: execve puts the path at the very top, below a null pointer. */
import type { Vcpu, VcpuPlace } from '../../accel/contract.ts';

const PAGE = 4096;
/** How far above the stack pointer the top is looked for: arguments and environment may take 128 KiB and more. */
const MAX_PAGES = 48;
const MAX_NAME = 256;

/** The path that the program was started by; undefined where the stack pointer is not on a program's first stack. */
export function processName(vcpu: Vcpu, place: VcpuPlace): string | undefined {
  const probe = new Uint8Array(1);
  let top = Math.floor(place.stackPointer / PAGE) * PAGE;
  // GUEST: the stack may be as large as its memory; the search is bounded.
  const limit = top + MAX_PAGES * PAGE;
  while (top < limit && vcpu.peek(top, probe, place.pageTables) === 1) top += PAGE;
  if (top === limit) return undefined;
  const tail = new Uint8Array(MAX_NAME);
  if (vcpu.peek(top - MAX_NAME, tail, place.pageTables) !== MAX_NAME) return undefined;
  return nameIn(tail, 8) ?? nameIn(tail, 4);
}

function nameIn(tail: Uint8Array, pointerBytes: number): string | undefined {
  const end = tail.length - pointerBytes - 1;
  if (tail.subarray(end).some((byte) => byte !== 0)) return undefined;
  const start = tail.lastIndexOf(0, end - 1) + 1;
  const name = String.fromCharCode(...tail.subarray(start, end));
  return /^[\x21-\x7e]+$/.test(name) ? name : undefined;
}
