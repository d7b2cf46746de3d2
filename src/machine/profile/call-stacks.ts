/**
 * From what a sample saw to the functions that were under way, outermost first.
 *
 * Frame pointers are believed. Of the words that may be return addresses (stack-scan.ts), one is taken for the caller if the call
 * before it is a call of the function at hand; failing that, the first that comes from a call through a pointer, or whose own caller
 * is sure: a function may have been reached by a jump at another's end. What nothing vouches for is left out, so a stack
 * may begin too late, and a caller that has returned is shown only where it had called the very same function.
 */
import type { VcpuPlace } from '../../accel/contract.ts';
import type { CallBefore, ScannedStack } from './stack-scan.ts';
import type { FoundSymbol } from './symbol-table.ts';

const MAX_DEPTH = 64;
/** How many candidates may be passed over for one that is sure. */
const WINDOW = 24;
const PAGE = 4096;
/** A function without a name reaches this far from its entry, for want of knowledge. */
const NAMELESS_BYTES = 0x4000;
/** Kernels return by way of such functions. */
const RETURN_THUNK = /^__x86_return_thunk$|_return_thunk$/;
/** Kernels call through pointers by way of such functions. */
const THUNK = /^__x86_indirect_(?:call_)?thunk/;

export interface ProfileFrame {
  readonly name: string;
  /** `root` is not code but whose it is: the kernel, a program. */
  readonly kind: 'root' | 'kernel' | 'user';
  /** Where the function, or the page of what has no name, begins; as the guest sees it. */
  readonly address: bigint;
}

export interface RawSample {
  readonly place: VcpuPlace;
  readonly stack: ScannedStack | undefined;
  readonly process: string | undefined;
}

/** What is known of code. */
export interface CodeKnowledge {
  find(address: number): FoundSymbol | undefined;
  callBefore(place: VcpuPlace, address: number): CallBefore;
}

interface Caller {
  readonly index: number;
  readonly address: number;
  /** Entry of the function that it called, as the call has it. */
  readonly callee: number | undefined;
}

export function resolveStack({ place, stack, process }: RawSample, code: CodeKnowledge): ProfileFrame[] {
  const kind = place.privilegeLevel < 3 ? 'kernel' : 'user';
  const frames: ProfileFrame[] = [];
  let inner = returningFunction(place, stack, code) ?? place.rip;
  let behindCall = false;
  const callers =
    stack === undefined
      ? []
      : stack.kind === 'chain'
        ? chained(place, stack, code)
        : guessed(place, inner, stack, code);
  for (const { address, callee } of callers) {
    frames.push(frameAt(inner, behindCall, kind, callee, code));
    inner = address;
    behindCall = true;
  }
  frames.push(frameAt(inner, behindCall, kind, undefined, code));
  frames.push({ name: rootName(place, process), kind: 'root', address: 0n });
  return frames.reverse();
}

function rootName({ privilegeLevel, pageTables }: VcpuPlace, process: string | undefined): string {
  if (privilegeLevel < 3) return 'kernel';
  return process === undefined ? `user (cr3 0x${pageTables.toString(16)})` : `user: ${process}`;
}

function bits64(address: number): bigint {
  return BigInt.asUintN(64, BigInt(address));
}

/** `behindCall`: the address is where a call returns to, which may lie behind its function's end. */
function frameAt(
  address: number,
  behindCall: boolean,
  kind: 'kernel' | 'user',
  entry: number | undefined,
  code: CodeKnowledge,
): ProfileFrame {
  const symbol = code.find(behindCall ? address - 1 : address);
  if (symbol !== undefined) return { name: symbol.name, kind, address: bits64(symbol.address) };
  if (entry !== undefined && inNameless(address, entry)) {
    return { name: `0x${bits64(entry).toString(16)}`, kind, address: bits64(entry) };
  }
  const page = bits64(Math.floor(address / PAGE) * PAGE);
  return { name: `0x${page.toString(16)}+`, kind, address: page };
}

function inNameless(address: number, entry: number): boolean {
  return address >= entry && address < entry + NAMELESS_BYTES;
}

function chained(place: VcpuPlace, stack: ScannedStack, code: CodeKnowledge): Caller[] {
  return [...stack.addresses].map((address, index) => ({
    index,
    address,
    callee: code.callBefore(place, address)?.target,
  }));
}

/** Entry of the function that is about to return, where a return is done by a function of its own. */
function returningFunction(place: VcpuPlace, stack: ScannedStack | undefined, code: CodeKnowledge): number | undefined {
  const returnsTo = stack?.addresses[0];
  if (returnsTo === undefined || !RETURN_THUNK.test(code.find(place.rip)?.name ?? '')) return undefined;
  return code.callBefore(place, returnsTo)?.target;
}

function guessed(place: VcpuPlace, rip: number, stack: ScannedStack, code: CodeKnowledge): Caller[] {
  const candidates = [...stack.addresses].map((address, index): Caller & { indirect: boolean } => {
    const target = code.callBefore(place, address)?.target;
    const thunk = target !== undefined && THUNK.test(code.find(target)?.name ?? '');
    return { index, address, callee: thunk ? undefined : target, indirect: target === undefined || thunk };
  });
  const calls = (candidate: Caller, inner: number, behindCall: boolean): boolean => {
    if (candidate.callee === undefined) return false;
    const own = code.find(behindCall ? inner - 1 : inner);
    const called = code.find(candidate.callee);
    if (own === undefined || called === undefined) return own === called && inNameless(inner, candidate.callee);
    return own.address === called.address;
  };
  const sureCaller = (inner: number, behindCall: boolean, from: number): Caller | undefined =>
    candidates.slice(from, from + WINDOW).find((candidate) => calls(candidate, inner, behindCall));

  const callers: Caller[] = [];
  let inner = rip;
  let from = 0;
  while (callers.length < MAX_DEPTH && from < candidates.length) {
    const behindCall = callers.length > 0;
    const caller =
      sureCaller(inner, behindCall, from) ??
      candidates
        .slice(from, from + WINDOW)
        .find(({ indirect, address, index }) => indirect || sureCaller(address, true, index + 1) !== undefined);
    if (caller === undefined) break;
    callers.push(caller);
    inner = caller.address;
    from = caller.index + 1;
  }
  return callers;
}
