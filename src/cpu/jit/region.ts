/**
 * Which guest code becomes one WebAssembly function.
 *
 * A region begins at a hot block and takes in what direct jumps, fall-through and short calls reach from it, across pages,
 * up to a size; code that tier 0 has never gone to is left out. It has more entries than the first: where calls that it
 * leaves for come back to, and where its indirect jumps are known to lead.
 *
 * Addresses are linear offsets from the start of the page that the first entry lies in (negative before it). The body of a
 * short function is taken in once for each call, so a block is known by its number, not by its address.
 */
import * as L from '../layout.ts';
import { runsIn } from '../mode.ts';
import { PAGE } from '../page.ts';
import { isConditional } from '../interp/interp-context.ts';
import { cloneInsn, createInsn, decode } from '../x86/decode/decoder.ts';
import { type Bits, DecodeStatus, type Insn, OperandKind, RIP_BASE } from '../x86/decode/insn.ts';

/** Instructions of a region, and so the most that run between two looks at the budget. */
export const MAX_INSNS = 800;
/** Of translations that a new one takes the place of. */
const MAX_ABSORBED_INSNS = 600;
const MAX_BLOCK_INSNS = 100;
/** Pages a region spans at most: each has a bit of a mask while the region runs. */
const MAX_PAGES = 16;
/** A function of at most so many instructions is taken into its callers. */
const MAX_INLINED_INSNS = 80;
const MAX_INLINE_DEPTH = 3;
const MAX_ENTRIES = 200;
/** Shorter translations are taken into others again; as functions that are called, longer ones too. */
const SMALL_INSNS = 40;
const SMALL_CALLEE_INSNS = 150;
/** A jump's target that was gone to less often than this, by the time the region is hot, is left out. */
const COLD_BELOW = 8;

export interface RegionInsn {
  readonly insn: Insn;
  /** Address of its first byte. */
  readonly offset: number;
}

export interface BasicBlock {
  readonly id: number;
  /** Address where it begins. */
  readonly start: number;
  readonly insns: readonly RegionInsn[];
  /** Address behind its last instruction: where it goes on if that is no unconditional transfer. */
  readonly end: number;
  /** Blocks that it can go to: the target of its direct jump or call, what follows it, where its RET or indirect jump is expected to go. */
  readonly taken: number | undefined;
  readonly next: number | undefined;
  readonly expected: { readonly block: number; readonly address: number } | undefined;
  /** Where it goes on when the function that its CALL goes to, which is not part of the region, has returned. */
  readonly returns: number | undefined;
  /** Numbers of the pages its bytes lie in. */
  readonly pages: readonly number[];
}

export interface RegionPage {
  /** Pages from the first entry's, in linear addresses. */
  readonly delta: number;
  /** Guest physical page number. */
  readonly ppn: number;
}

export interface Region {
  /** Blocks where control may come in, the first entry first. */
  readonly entries: readonly number[];
  readonly blocks: ReadonlyMap<number, BasicBlock>;
  readonly pages: readonly RegionPage[];
  /** Addresses of its blocks, those of functions taken in aside. */
  readonly own: readonly number[];
  readonly insnCount: number;
}

/** What discovery may look at. */
export interface CodeView {
  readonly bytes: Uint8Array;
  readonly mode: number;
  /** Translate one instruction only. */
  readonly single: boolean;
  /** Take in code whether it has ever run or not. */
  readonly eager: boolean;
  /** Page `delta` pages from the first entry's: where its bytes begin in `bytes`; undefined when it cannot be executed now. */
  page(delta: number): { readonly start: number; readonly ppn: number } | undefined;
  /** How often tier 0 entered the block at an address; undefined: never. */
  heat(address: number): number | undefined;
  /** Addresses in that page of all blocks that tier 0 knows. */
  known(delta: number): Iterable<number>;
  /** Instructions of another translation that can be entered at an address; 0: there is none. */
  elsewhere(address: number): number;
  /** Lets the region take the place of that translation: where that can be entered, the address among them. */
  absorb(address: number): readonly number[];
  /** What the 64-bit pointer at an address points to, as such an address; undefined when the TLB does not have its page. */
  pointer(address: number): number | undefined;
}

/**
 * `others`: further addresses that it is to be entered at. Undefined when not even the first instruction can be translated
 * (crosses into a page that is not there, undecodable).
 */
export function discoverRegion(view: CodeView, entry: number, others: readonly number[] = []): Region | undefined {
  return new Scan(view).region(entry, others);
}

/** A function's body as it is taken in: once for each call. */
interface Body {
  readonly entry: number;
  /** Where its RET goes; undefined for the code that is not inlined. */
  readonly returnTo: Place | undefined;
  readonly depth: number;
  /** Addresses where its blocks begin. */
  readonly leaders: Set<number>;
  /** Bodies of the calls it makes, by the address of the CALL. */
  readonly calls: Map<number, Body>;
}

interface Place {
  readonly body: Body;
  readonly address: number;
}

interface Unnumbered {
  readonly body: Body;
  readonly start: number;
  readonly insns: readonly RegionInsn[];
  readonly end: number;
  readonly taken: Place | undefined;
  readonly next: Place | undefined;
  readonly expected: Place | undefined;
  readonly returns: Place | undefined;
}

/** Those that some way leads to from `entries` of `outer`: behind a call that was taken in and does not return are some that none does. */
function reachable(blocks: readonly Unnumbered[], outer: Body, entries: readonly number[]): Unnumbered[] {
  const places = new Map<Body, Map<number, Unnumbered>>();
  for (const block of blocks) {
    const starts = places.get(block.body) ?? new Map<number, Unnumbered>();
    places.set(block.body, starts.set(block.start, block));
  }
  const found = new Set<Unnumbered>();
  const ways: (Place | undefined)[] = entries.map((address) => ({ body: outer, address }));
  while (ways.length > 0) {
    const place = ways.pop();
    const block = place && places.get(place.body)?.get(place.address);
    if (block === undefined || found.has(block)) continue;
    found.add(block);
    ways.push(block.taken, block.next, block.expected, block.returns);
  }
  return blocks.filter((block) => found.has(block));
}

class Scan {
  private readonly view: CodeView;
  private readonly codeSize: Bits;
  private readonly single: boolean;
  private readonly decoded = new Map<number, Insn | undefined>();
  private readonly pages = new Map<number, { readonly start: number; readonly ppn: number } | undefined>();
  private readonly crossing = new Uint8Array(32);
  private budget: number;
  /** Instructions of other translations that may be taken in, and their entries, which are entries from now on. */
  private room = MAX_ABSORBED_INSNS;
  private readonly inherited: number[] = [];

  constructor(view: CodeView) {
    this.view = view;
    const size = view.mode & L.MODE_SIZE_MASK;
    this.codeSize = size === L.MODE_64 ? 64 : size === L.MODE_32 ? 32 : 16;
    this.single = view.single || (view.mode & L.MODE_TF) !== 0;
    this.budget = this.single ? 1 : MAX_INSNS;
  }

  // ---- bytes ----

  private page(delta: number): { readonly start: number; readonly ppn: number } | undefined {
    if (this.pages.has(delta)) return this.pages.get(delta);
    const roomLeft = [...this.pages.values()].filter((page) => page !== undefined).length < MAX_PAGES;
    const page = roomLeft ? this.view.page(delta) : undefined;
    this.pages.set(delta, page);
    return page;
  }

  private insnAt(address: number): Insn | undefined {
    if (this.decoded.has(address)) return this.decoded.get(address);
    const kept = this.decodeAt(address);
    this.decoded.set(address, kept);
    return kept;
  }

  private decodeAt(address: number): Insn | undefined {
    const delta = Math.floor(address / PAGE);
    const page = this.page(delta);
    if (page === undefined) return undefined;
    const insn = createInsn();
    const at = page.start + (address - delta * PAGE);
    let status = decode(this.view.bytes, at, page.start + PAGE, this.codeSize, insn);
    if (status === DecodeStatus.truncated && !this.single) {
      const second = this.page(delta + 1);
      if (second === undefined) return undefined;
      const here = page.start + PAGE - at;
      this.crossing.set(this.view.bytes.subarray(at, at + here));
      this.crossing.set(this.view.bytes.subarray(second.start, second.start + 16), here);
      status = decode(this.crossing, 0, here + 16, this.codeSize, insn);
    }
    if (status !== DecodeStatus.ok || !runsIn(insn.row, this.view.mode)) return undefined;
    return cloneInsn(insn);
  }

  // ---- control flow ----

  private cold(address: number): boolean {
    return !this.view.eager && (this.view.heat(address) ?? 0) < COLD_BELOW;
  }

  /** Is better gone to than taken in. */
  private avoided(address: number, body: Body): boolean {
    if (this.cold(address)) return true;
    const insns = this.view.elsewhere(address);
    if (insns <= SMALL_INSNS) return false;
    if (body.returnTo !== undefined || insns > this.room) return true;
    // Two parts of one function become one region.
    this.room -= insns;
    this.inherited.push(...this.view.absorb(address));
    return false;
  }

  /**
   * Where an indirect jump or call through a pointer at a fixed place is expected to go: to where that points now, as the pointers
   * of dynamic linking do for good.
   */
  private pointee(insn: Insn, address: number): number | undefined {
    const { name } = insn.row;
    if (this.single || this.codeSize !== 64 || (name !== 'JMP_indirect' && name !== 'CALL_indirect')) return undefined;
    if (insn.operands[0].kind !== OperandKind.mem || insn.mem.base !== RIP_BASE || insn.operandSize !== 64)
      return undefined;
    if (insn.mem.segment !== L.DS) return undefined;
    return this.view.pointer(address + insn.length + insn.mem.disp);
  }

  /** Where a direct jump or call goes, when it needs no cutting. */
  private target(insn: Insn, address: number): number | undefined {
    if (this.single || insn.operands[0].kind !== OperandKind.rel) return undefined;
    if (this.codeSize === 16 || insn.operandSize === 16) return undefined;
    return address + insn.length + insn.immLow;
  }

  region(entry: number, others: readonly number[]): Region | undefined {
    // Tier 0 runs an instruction on two pages with a check of its own, which an entrance does not have.
    const opening = this.insnAt(entry);
    if (opening === undefined || this.crosses(entry, opening)) return undefined;
    const outer: Body = { entry, returnTo: undefined, depth: 0, leaders: new Set(), calls: new Map() };
    const entries = [entry];
    this.explore(outer, [entry, ...others], entries);
    const blocks = reachable(this.blocks(outer), outer, entries);
    const ids = new Map<Body, Map<number, number>>();
    let count = 0;
    for (const { body, start } of blocks) {
      const known = ids.get(body) ?? new Map<number, number>();
      known.set(start, count++);
      ids.set(body, known);
    }
    const idOf = (place: Place | undefined): number | undefined =>
      place === undefined ? undefined : ids.get(place.body)?.get(place.address);
    const first = idOf({ body: outer, address: entry });
    if (first === undefined) return undefined;

    const pages: RegionPage[] = [];
    const pageNumber = (delta: number): number => {
      const known = pages.findIndex((page) => page.delta === delta);
      // INVARIANT: the instruction was decoded from this page.
      return known >= 0 ? known : pages.push({ delta, ppn: this.page(delta)!.ppn }) - 1;
    };
    const numbered = new Map<number, BasicBlock>();
    let insnCount = 0;
    for (const { body, start, insns, end, taken, next, expected, returns } of blocks) {
      // INVARIANT: every block was numbered above.
      const id = idOf({ body, address: start })!;
      const from = pageNumber(Math.floor(start / PAGE));
      const last = pageNumber(Math.floor((end - 1) / PAGE));
      const to = idOf(expected);
      insnCount += insns.length;
      numbered.set(id, {
        id,
        start,
        insns,
        end,
        taken: idOf(taken),
        next: idOf(next),
        expected: to === undefined || expected === undefined ? undefined : { block: to, address: expected.address },
        returns: idOf(returns),
        pages: from === last ? [from] : [from, last],
      });
    }
    const entered = entries.flatMap((address) => {
      const id = idOf({ body: outer, address });
      return id === undefined ? [] : [id];
    });
    const own = [...(ids.get(outer)?.keys() ?? [])];
    return { entries: entered, blocks: numbered, pages, own, insnCount };
  }

  /** Finds where blocks of `body` begin, nearest first, within the size limit. `entries` gets those that can be entered. */
  private explore(body: Body, starts: readonly number[], entries: number[]): void {
    const { leaders } = body;
    const seen = new Set<number>();
    const queue: number[] = [];
    let indirect = false;
    const lead = (address: number, soon: boolean): void => {
      if (leaders.has(address)) return;
      leaders.add(address);
      if (soon) queue.unshift(address);
      else queue.push(address);
    };
    const drain = (): void => {
      for (let start = queue.shift(); start !== undefined && this.budget > 0; start = queue.shift()) {
        let address = start;
        for (let n = 0; n < MAX_BLOCK_INSNS && this.budget > 0 && !seen.has(address); n++) {
          const insn = this.insnAt(address);
          if (insn === undefined) break;
          seen.add(address);
          this.budget--;
          const here = address;
          address += insn.length;
          if (this.crosses(here, insn)) {
            // An instruction on two pages is a block of its own.
            if (here !== start) lead(here, true);
          }
          // What begins on another page is looked at before it is gone to.
          if (pageOf(address) !== pageOf(here) && insn.row.endsBlock !== true) lead(address, true);
          if (insn.row.endsBlock !== true) continue;
          if (insn.row.name === 'JMP_indirect' && this.pointee(insn, here) === undefined) indirect = true;
          const isCall = insn.row.name === 'CALL' || insn.row.name === 'CALL_indirect';
          const target = this.target(insn, here) ?? this.pointee(insn, here);
          if (isCall && target !== undefined && this.inline(body, here, target, address)) {
            lead(address, true);
          } else if (isCall) {
            if (body.returnTo === undefined && !this.single) {
              this.enter(address, entries, lead);
            }
          } else if (target !== undefined && !this.avoided(target, body)) {
            lead(target, false);
          }
          if (isConditional(insn) && !this.single && this.view.elsewhere(address) <= SMALL_INSNS) lead(address, true);
          break;
        }
      }
    };
    const [first, ...others] = starts;
    if (first !== undefined) lead(first, false);
    for (const address of others) this.enter(address, entries, lead);
    const all = (): void => {
      drain();
      for (let from = this.inherited.shift(); from !== undefined; from = this.inherited.shift()) {
        this.enter(from, entries, lead);
        drain();
      }
    };
    all();
    if (!indirect || body.returnTo !== undefined || this.view.eager) return;
    // An indirect jump leads to blocks that tier 0 knows: those of the function's own pages are taken in too.
    for (let grown = true; grown;) {
      grown = false;
      const deltas = new Set([...leaders].map((address) => Math.floor(address / PAGE)));
      for (const delta of deltas) {
        for (const address of this.view.known(delta)) {
          if (this.budget <= 0) return;
          if (seen.has(address) || this.avoided(address, body)) continue;
          const before = leaders.size;
          this.enter(address, entries, lead);
          if (leaders.size > before) grown = true;
          all();
        }
      }
    }
  }

  private enter(address: number, entries: number[], lead: (address: number, soon: boolean) => void): void {
    if (entries.length >= MAX_ENTRIES || this.cold(address) || this.view.elsewhere(address) > SMALL_CALLEE_INSNS)
      return;
    // Tier 0 runs an instruction on two pages with a check of its own.
    const insn = this.insnAt(address);
    if (insn === undefined || this.crosses(address, insn)) return;
    if (!entries.includes(address)) entries.push(address);
    lead(address, false);
  }

  private crosses(address: number, insn: Insn): boolean {
    return Math.floor(address / PAGE) !== Math.floor((address + insn.length - 1) / PAGE);
  }

  /** Takes the function at `target` into `body` for the CALL at `at`, if it is short and nothing but returns leave it. */
  private inline(body: Body, at: number, target: number, returnAddress: number): boolean {
    if (this.single || body.depth >= MAX_INLINE_DEPTH || this.cold(target)) return false;
    for (let up: Body | undefined = body; up !== undefined; up = up.returnTo?.body)
      if (up.entry === target) return false;
    const callee: Body = {
      entry: target,
      returnTo: { body, address: returnAddress },
      depth: body.depth + 1,
      leaders: new Set(),
      calls: new Map(),
    };
    const before = this.budget;
    const share = Math.min(before, MAX_INLINED_INSNS);
    this.budget = share;
    this.explore(callee, [target], []);
    const spent = share - this.budget;
    const whole = this.budget > 0 && this.returnsOnly(callee);
    this.budget = whole ? before - spent : before;
    if (whole) body.calls.set(at, callee);
    return whole;
  }

  /** Every way out of the function's body is a RET, a call that was taken in, or cold. */
  private returnsOnly(body: Body): boolean {
    return this.blocksOf(body).every(({ insns, next, taken, expected }) => {
      const last = insns.at(-1);
      if (last === undefined) return false;
      const { name, endsBlock } = last.insn.row;
      if (endsBlock !== true || isConditional(last.insn)) return next !== undefined;
      if (name === 'RET') return true;
      return expected !== undefined || ((name === 'JMP' || name === 'CALL') && taken !== undefined);
    });
  }

  // ---- blocks ----

  private blocks(outer: Body): Unnumbered[] {
    const all: Unnumbered[] = [];
    const visit = (body: Body): void => {
      all.push(...this.blocksOf(body));
      for (const callee of body.calls.values()) visit(callee);
    };
    visit(outer);
    return all;
  }

  private blocksOf(body: Body): Unnumbered[] {
    return [...body.leaders].map((start) => this.block(body, start)).filter(({ insns }) => insns.length > 0);
  }

  private block(body: Body, start: number): Unnumbered {
    const { leaders } = body;
    const insns: RegionInsn[] = [];
    let address = start;
    const limit = this.single ? 1 : MAX_BLOCK_INSNS;
    const place = (at: number): Place | undefined => (leaders.has(at) ? { body, address: at } : undefined);
    const none = { taken: undefined, next: undefined, expected: undefined, returns: undefined };
    while (insns.length < limit && (address === start || !leaders.has(address))) {
      const insn = this.insnAt(address);
      if (insn === undefined) break;
      // The leader behind it may be missing when the size limit came first.
      if (insns.length > 0 && this.crosses(address, insn)) break;
      insns.push({ insn, offset: address });
      const here = address;
      address += insn.length;
      if (insn.row.endsBlock === true) {
        const end = address;
        if (this.single) return { body, start, insns, end, ...none };
        if (insn.row.name === 'RET') {
          return { body, start, insns, end, ...none, expected: insn.operandCount === 0 ? body.returnTo : undefined };
        }
        const target = this.target(insn, here);
        const pointee = this.pointee(insn, here);
        const callee = body.calls.get(here);
        const called = callee === undefined ? undefined : { body: callee, address: callee.entry };
        if (insn.row.name === 'CALL' || insn.row.name === 'CALL_indirect') {
          const returns = body.returnTo === undefined ? place(end) : undefined;
          const direct = insn.row.name === 'CALL';
          return { body, start, insns, end, ...none, [direct ? 'taken' : 'expected']: called, returns };
        }
        if (pointee !== undefined) return { body, start, insns, end, ...none, expected: place(pointee) };
        const taken = target === undefined ? undefined : place(target);
        return { body, start, insns, end, ...none, taken, next: isConditional(insn) ? place(end) : undefined };
      }
      if (pageOf(address) !== pageOf(here)) break;
    }
    return { body, start, insns, end: address, ...none, next: this.single ? undefined : place(address) };
  }
}

function pageOf(address: number): number {
  return Math.floor(address / PAGE);
}
