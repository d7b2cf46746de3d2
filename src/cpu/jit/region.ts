/**
 * Which guest code becomes one WebAssembly function: the basic blocks that direct jumps reach from an entry without leaving
 * its page, up to a size. A basic block begins at the entry, at a jump's target or behind a conditional jump.
 */
import * as L from '../layout.ts';
import { runsIn } from '../mode.ts';
import { isConditional } from '../interp/interp-context.ts';
import { cloneInsn, createInsn, decode } from '../x86/decode/decoder.ts';
import { type Bits, DecodeStatus, type Insn, OperandKind } from '../x86/decode/insn.ts';

const PAGE = 4096;
const MAX_INSNS = 400;
const MAX_BLOCK_INSNS = 100;

export interface RegionInsn {
  readonly insn: Insn;
  /** Page offset of its first byte. */
  readonly offset: number;
}

export interface BasicBlock {
  /** Page offset where it begins. */
  readonly start: number;
  readonly insns: readonly RegionInsn[];
  /** Page offset behind its last instruction: where it goes on if that is no unconditional transfer. */
  readonly end: number;
  /** Page offsets of blocks of this region that it can go to: taken target first, then fall-through. */
  readonly successors: readonly number[];
}

export interface Region {
  readonly entry: number;
  readonly blocks: ReadonlyMap<number, BasicBlock>;
  readonly insnCount: number;
}

/**
 * Discovers the region whose entry is at page offset `entry`. `bytes[pageStart..]` is the page. Undefined when not even the
 * first instruction can be translated (crosses the page, undecodable).
 */
export function discoverRegion(
  bytes: Uint8Array,
  pageStart: number,
  entry: number,
  mode: number,
  single: boolean,
): Region | undefined {
  const size = mode & L.MODE_SIZE_MASK;
  const codeSize: Bits = size === L.MODE_64 ? 64 : size === L.MODE_32 ? 32 : 16;
  const scan = new Scan(bytes, pageStart, codeSize, single || (mode & L.MODE_TF) !== 0, mode);
  const blocks = scan.blocks(entry);
  const first = blocks.get(entry);
  if (first === undefined || first.insns.length === 0) return undefined;
  let insnCount = 0;
  for (const block of blocks.values()) insnCount += block.insns.length;
  return { entry, blocks, insnCount };
}

class Scan {
  private readonly bytes: Uint8Array;
  private readonly pageStart: number;
  private readonly codeSize: Bits;
  private readonly single: boolean;
  private readonly mode: number;
  private readonly decoded = new Map<number, Insn | undefined>();

  constructor(bytes: Uint8Array, pageStart: number, codeSize: Bits, single: boolean, mode: number) {
    this.mode = mode;
    this.bytes = bytes;
    this.pageStart = pageStart;
    this.codeSize = codeSize;
    this.single = single;
  }

  private insnAt(offset: number): Insn | undefined {
    if (offset < 0 || offset >= PAGE) return undefined;
    if (this.decoded.has(offset)) return this.decoded.get(offset);
    const insn = createInsn();
    const status = decode(this.bytes, this.pageStart + offset, this.pageStart + PAGE, this.codeSize, insn);
    const kept = status === DecodeStatus.ok && runsIn(insn.row, this.mode) ? cloneInsn(insn) : undefined;
    this.decoded.set(offset, kept);
    return kept;
  }

  /** Offset a direct jump goes to when that lies in the page and needs no cutting. */
  private target(insn: Insn, offset: number): number | undefined {
    if (insn.operands[0].kind !== OperandKind.rel || insn.row.name === 'CALL') return undefined;
    if (this.codeSize === 16 || insn.operandSize === 16) return undefined;
    const target = offset + insn.length + insn.immLow;
    return target >= 0 && target < PAGE ? target : undefined;
  }

  blocks(entry: number): Map<number, BasicBlock> {
    const leaders = this.leaders(entry);
    const blocks = new Map<number, BasicBlock>();
    for (const start of leaders) {
      const block = this.block(start, leaders);
      if (block.insns.length > 0) blocks.set(start, block);
    }
    // Successors that turned out to be no blocks are exits.
    for (const [start, block] of blocks) {
      blocks.set(start, { ...block, successors: block.successors.filter((s) => blocks.has(s)) });
    }
    return blocks;
  }

  /** Page offsets where basic blocks begin, the entry first, nearest first, within the size limit. */
  private leaders(entry: number): Set<number> {
    const leaders = new Set<number>([entry]);
    const queue = [entry];
    let budget = this.single ? 1 : MAX_INSNS;
    const seen = new Set<number>();
    for (let start = queue.shift(); start !== undefined && budget > 0; start = queue.shift()) {
      let offset = start;
      for (let n = 0; n < MAX_BLOCK_INSNS && budget > 0 && !seen.has(offset); n++) {
        const insn = this.insnAt(offset);
        if (insn === undefined) break;
        seen.add(offset);
        budget--;
        const target = this.single ? undefined : this.target(insn, offset);
        if (target !== undefined && !leaders.has(target)) {
          leaders.add(target);
          queue.push(target);
        }
        offset += insn.length;
        if (insn.row.endsBlock !== true) continue;
        if (!isConditional(insn) || this.single) break;
        if (!leaders.has(offset)) {
          leaders.add(offset);
          queue.unshift(offset);
        }
        break;
      }
    }
    return leaders;
  }

  private block(start: number, leaders: ReadonlySet<number>): BasicBlock {
    const insns: RegionInsn[] = [];
    let offset = start;
    const limit = this.single ? 1 : MAX_BLOCK_INSNS;
    while (insns.length < limit && (offset === start || !leaders.has(offset))) {
      const insn = this.insnAt(offset);
      if (insn === undefined) break;
      insns.push({ insn, offset });
      const here = offset;
      offset += insn.length;
      if (insn.row.endsBlock !== true) continue;
      const target = this.single ? undefined : this.target(insn, here);
      const successors = target === undefined ? [] : [target];
      if (isConditional(insn) && !this.single) successors.push(offset);
      return { start, insns, end: offset, successors };
    }
    return { start, insns, end: offset, successors: this.single ? [] : [offset] };
  }
}
