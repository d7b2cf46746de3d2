/**
 * The name of the program that runs in a Linux guest, from its stack, whose top execve fills: from there down a null pointer, the path
 * that was executed, environment and arguments as text, the auxiliary vector, the pointers to the environment, those to the arguments.
 */
import type { Vcpu, VcpuPlace } from '../../accel/contract.ts';
import { viewOf } from '../../base/bytes.ts';

const PAGE = 4096;
/** How far above the stack pointer the top is looked for: arguments and environment may take 128 KiB and more. */
const MAX_PAGES = 48;
const MAX_NAME = 256;
/** Programs that call themselves by another name are executed by this path. */
const ITSELF = '/proc/self/exe';
/** How much of the stack's top is searched for the arguments. */
const VECTOR_BYTES = 2 * PAGE;
/** Types in the auxiliary vector. */
const AT_EXECFN = 31;
const MAX_AT = 64;

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
  for (const pointerBytes of [8, 4] as const) {
    const name = nameAtTop(tail, pointerBytes);
    if (name === undefined) continue;
    const nameAt = top - pointerBytes - 1 - name.length;
    return name === ITSELF ? (firstArgument(vcpu, place, top, nameAt, pointerBytes) ?? name) : name;
  }
  return undefined;
}

function nameAtTop(tail: Uint8Array, pointerBytes: number): string | undefined {
  const end = tail.length - pointerBytes - 1;
  if (tail.subarray(end).some((byte) => byte !== 0)) return undefined;
  return printable(tail.subarray(tail.lastIndexOf(0, end - 1) + 1, end));
}

function printable(bytes: Uint8Array): string | undefined {
  const text = String.fromCharCode(...bytes);
  return /^[\x21-\x7e]+$/.test(text) ? text : undefined;
}

/** argv[0]: down from the entry of the auxiliary vector that points to the path at `nameAt`. */
function firstArgument(
  vcpu: Vcpu,
  { stackPointer, pageTables }: VcpuPlace,
  top: number,
  nameAt: number,
  pointerBytes: 4 | 8,
): string | undefined {
  const start = Math.max(Math.ceil(stackPointer / pointerBytes) * pointerBytes, top - VECTOR_BYTES);
  const bytes = new Uint8Array(top - start);
  if (vcpu.peek(start, bytes, pageTables) !== bytes.length) return undefined;
  const view = viewOf(bytes);
  const word = (index: number): number => {
    const at = index * pointerBytes;
    if (at < 0 || at + pointerBytes > bytes.length) return -1;
    return view.getUint32(at, true) + (pointerBytes === 8 ? view.getUint32(at + 4, true) * 2 ** 32 : 0);
  };
  let at = Math.floor(bytes.length / pointerBytes) - 1;
  while (at > 0 && !(word(at) === nameAt && word(at - 1) === AT_EXECFN)) at--;
  // Entries are pairs; behind the first one's type stands the null that ends the environment.
  at -= 1;
  while (word(at - 2) > 0 && word(at - 2) < MAX_AT) at -= 2;
  if (word(at - 1) !== 0) return undefined;
  at -= 2;
  while (word(at) > 0) at--;
  if (word(at) !== 0) return undefined;
  let count = 0;
  while (word(at - 1 - count) > MAX_AT * PAGE) count++;
  if (count === 0 || word(at - 1 - count) !== count) return undefined;
  const text = new Uint8Array(MAX_NAME);
  const read = vcpu.peek(word(at - count), text, pageTables);
  const end = text.subarray(0, read).indexOf(0);
  return end < 0 ? undefined : printable(text.subarray(0, end));
}
