/**
 * What may be return addresses on a guest's stack. Compilers keep no frame pointers unless asked, and the tables that would tell
 * (DWARF, Linux's ORC) are not at hand, so a word counts that points right behind a call instruction in the part of memory that the
 * code runs in. Which of them belong to calls that have not returned is for `call-stacks.ts` to say, when there are names.
 *
 * A chain of frame pointers is followed instead where there is one.
 */
import type { Vcpu, VcpuPlace } from '../../accel/contract.ts';
import { viewOf } from '../../base/bytes.ts';

/** How much of a stack is looked at, and how many return addresses are kept. */
const KERNEL_BYTES = 6144;
const USER_BYTES = 3072;
const MAX_CANDIDATES = 64;
/** Linux's kernel stacks end at multiples of this. */
const KERNEL_STACK_BYTES = 16384;
/** A chain of frame pointers counts from so many links on. */
const MIN_CHAIN = 2;
/** Longest call instruction through a register or memory, without prefixes. */
const CALL_BYTES = 7;
/** Answers that are kept a set of page tables. */
const MAX_KNOWN = 1 << 16;

/** What stands before an address: no call, a direct call of the address given, or a call through a register or memory. */
export type CallBefore = { readonly target: number | undefined } | undefined;

export interface ScannedStack {
  /** `chain`: frame pointers led to these return addresses. `scan`: they may be some; innermost first. */
  readonly kind: 'chain' | 'scan';
  readonly addresses: Float64Array;
}

export class StackScan {
  private readonly vcpu: Vcpu;
  /** By page tables; kernel code is the same in all of them. */
  private readonly known = new Map<number, Map<number, CallBefore>>();
  private readonly stack = new Uint8Array(KERNEL_BYTES);
  private readonly stackView = viewOf(this.stack);
  private readonly code = new Uint8Array(CALL_BYTES);
  private readonly codeView = viewOf(this.code);
  private readonly found = new Float64Array(MAX_CANDIDATES);

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
  }

  /** The return addresses at `place`. */
  scan(place: VcpuPlace): ScannedStack {
    const kernel = place.privilegeLevel < 3;
    const { stackPointer } = place;
    const wanted = kernel
      ? Math.min(KERNEL_BYTES, KERNEL_STACK_BYTES - (stackPointer & (KERNEL_STACK_BYTES - 1)))
      : USER_BYTES;
    // GUEST: the stack pointer may be anything; `peek` gives what is mapped there.
    const bytes = this.vcpu.peek(stackPointer, this.stack.subarray(0, wanted));
    const word = place.codeBits === 64 ? 8 : place.codeBits >> 3;
    if (word < 4) return { kind: 'scan', addresses: new Float64Array() };
    const chain = this.chain(place, bytes, word);
    if (chain >= MIN_CHAIN) return { kind: 'chain', addresses: this.found.slice(0, chain) };
    let count = 0;
    for (let at = 0; at + word <= bytes && count < MAX_CANDIDATES; at += word) {
      const address = this.word(at, word);
      if (mayBeCode(address, place) && this.callBefore(place, address) !== undefined) this.found[count++] = address;
    }
    return { kind: 'scan', addresses: this.found.slice(0, count) };
  }

  /** The call that returns to `address` in the memory that `place` sees. */
  callBefore(place: { readonly pageTables: number; readonly privilegeLevel: number }, address: number): CallBefore {
    const space = place.privilegeLevel < 3 ? -1 : place.pageTables;
    let known = this.known.get(space);
    if (known === undefined || known.size > MAX_KNOWN) {
      known = new Map();
      this.known.set(space, known);
    }
    if (known.has(address)) return known.get(address);
    const read = this.vcpu.peek(address - CALL_BYTES, this.code, place.pageTables);
    const call = read === CALL_BYTES ? callIn(this.code, this.codeView, address) : undefined;
    known.set(address, call);
    return call;
  }

  /** The guest's memory changed altogether. */
  forget(): void {
    this.known.clear();
  }

  /** Follows frame pointers within what was read of the stack; gives how many return addresses were found. */
  private chain(place: VcpuPlace, bytes: number, word: number): number {
    let count = 0;
    let frame = place.framePointer;
    while (count < MAX_CANDIDATES) {
      const at = frame - place.stackPointer;
      if (at < 0 || at % word !== 0 || at + 2 * word > bytes) break;
      const address = this.word(at + word, word);
      if (!mayBeCode(address, place) || this.callBefore(place, address) === undefined) break;
      this.found[count++] = address;
      const next = this.word(at, word);
      if (next <= frame) break;
      frame = next;
    }
    return count;
  }

  private word(at: number, bytes: number): number {
    const low = this.stackView.getUint32(at, true);
    return bytes === 8 ? this.stackView.getInt32(at + 4, true) * 2 ** 32 + low : low;
  }
}

/** Whether code that runs at `place` can have been called from there. */
function mayBeCode(address: number, { rip, privilegeLevel, longMode }: VcpuPlace): boolean {
  if (privilegeLevel === 3) return address > 0x1000 && address < 2 ** 47;
  // A 64-bit kernel and its modules are in the uppermost 2 GiB.
  if (longMode && rip < 0) return address < 0 && address >= -(2 ** 31);
  return Math.abs(address - rip) < 2 ** 28;
}

/** The call that ends with the last byte of `code`, which is followed by `address` (SDM volume 2, CALL: E8 and FF /2). */
export function callIn(code: Uint8Array, view: DataView, address: number): CallBefore {
  if (code[2] === 0xe8) return { target: address + view.getInt32(3, true) };
  for (const length of [2, 3, 4, 6, 7]) {
    const at = CALL_BYTES - length;
    if (code[at] === 0xff && indirectCallLength(code[at + 1] ?? 0, code[at + 2] ?? 0) === length)
      return { target: undefined };
  }
  return undefined;
}

/** Length of FF /2 by ModRM and SIB; 0 for something else. */
function indirectCallLength(modrm: number, sib: number): number {
  if (((modrm >> 3) & 7) !== 2) return 0;
  const mod = modrm >> 6;
  const rm = modrm & 7;
  if (mod === 3) return 2;
  const sibBytes = rm === 4 ? 1 : 0;
  const absolute = mod === 0 && (rm === 5 || (rm === 4 && (sib & 7) === 5));
  return 2 + sibBytes + (mod === 1 ? 1 : mod === 2 || absolute ? 4 : 0);
}
