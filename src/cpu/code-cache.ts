/**
 * Decoded code: from guest bytes to blocks of records, and back to nothing when those bytes change.
 *
 * A block is a straight run of records, from its entry to a jump, the end of the page or MAX_BLOCK_INSNS; conditional branches
 * stay inside it. Blocks are keyed by physical address and mode and reached through the block hash (layout.ts). Links between
 * records never leave their page, so dropping a page's blocks leaves no pointer behind but those of jump caches, whose entries
 * go stale because the entry record's handler is overwritten.
 *
 * Memory is bounded: when the arena is full, all records are dropped. Translations have bounds of their own and stay.
 */
import type { CodeEvent, CodeStatistics } from './code-events.ts';
import { type BlockEntry, CodePage } from './code-page.ts';
import * as L from './layout.ts';
import { type Handlers, Pseudo } from './interp/handlers.ts';
import type { CodeView } from './jit/region.ts';
import type { Translator } from './jit/translator.ts';
import { addressForm, AddressForm } from './interp/address-form.ts';
import { isConditional, isDynamicRegister, registerField } from './interp/interp-context.ts';
import { protectedNot86, runsIn } from './mode.ts';
import { PAGE } from './page.ts';
import { stateOffset } from './state-offset.ts';
import { Translations } from './translations.ts';
import { cloneInsn, createInsn, decode } from './x86/decode/decoder.ts';
import { type Bits, DecodeStatus, type Insn, NO_REGISTER, OperandKind, RIP_BASE } from './x86/decode/insn.ts';

/** REC_INDEX is a byte; the last value is kept for the closing record. */
const MAX_BLOCK_INSNS = 120;
/** Records a block may take: its instructions, a counter and a page-crossing check before, a closing record behind. */
const MAX_BLOCK_BYTES = (MAX_BLOCK_INSNS + 3) * L.REC_SIZE;

export interface CodeCacheLayout {
  readonly memory: WebAssembly.Memory;
  /** Byte addresses in the memory. */
  readonly arena: number;
  readonly arenaBytes: number;
  readonly blockHash: number;
  readonly codePageMap: number;
  readonly codePageCount: number;
  readonly cpus: readonly number[];
  /** Entries into a block before it is translated; 0 = never. */
  readonly hotAfter: number;
  /** Most translations kept at once, at least 1. */
  readonly maxTranslations: number;
}

/** What the cache reports, so that the microcode's TLBs and a trace can follow. */
export interface CodeCacheEvents {
  /** Page `ppn` gets its first decoded code: stores to it must take the slow path from now on. */
  codePage(ppn: number): void;
  /** Translates the linear address of the page after CPU_RIP's; gives physical page and host address, or undefined on a fault. */
  secondPage(cpu: number): { phys: number; host: number } | undefined;
  /** The page `delta` pages from CPU_RIP's, if it can be executed without further ado. */
  nearPage(cpu: number, delta: number): { ppn: number; host: number } | undefined;
  /** Where the 64-bit pointer `offset` bytes from that page's start points to, as such an offset, if that can be told as easily. */
  pointer(cpu: number, offset: number): number | undefined;
  /** A block was decoded: for `-d in_asm`. */
  decoded?(insns: readonly Insn[], cpu: number): void;
  wantsDecoded(): boolean;
}

/** Table slot of a translation, or undefined when there is none. */
type Translated = number | undefined;

export class CodeCache {
  private readonly layout: CodeCacheLayout;
  private readonly handlers: Handlers;
  private readonly events: CodeCacheEvents;
  private readonly translator: Translator | undefined;
  private readonly bytes: Uint8Array;
  private readonly u16: Uint16Array;
  private readonly i32: Int32Array;
  private readonly pages = new Map<number, CodePage>();
  private readonly translations: Translations | undefined;
  /** Every known block by its entry record. */
  private readonly entries = new Map<number, BlockEntry>();
  private readonly insns: [Insn, Insn] = [createInsn(), createInsn()];
  private readonly crossing = new Uint8Array(32);
  private top: number;
  /** Blocks and instructions decoded and what that took, drops of everything, pages dropped. */
  readonly counts: {
    blocks: number;
    insns: number;
    flushes: number;
    invalidations: number;
    decodeMs: number;
  } = { blocks: 0, insns: 0, flushes: 0, invalidations: 0, decodeMs: 0 };
  private watcher: ((event: CodeEvent) => void) | undefined;

  constructor(layout: CodeCacheLayout, handlers: Handlers, events: CodeCacheEvents, translator?: Translator) {
    this.translator = translator;
    this.layout = layout;
    this.handlers = handlers;
    this.events = events;
    this.bytes = new Uint8Array(layout.memory.buffer);
    this.u16 = new Uint16Array(layout.memory.buffer);
    this.i32 = new Int32Array(layout.memory.buffer);
    this.top = layout.arena + MAX_BLOCK_BYTES;
    if (translator !== undefined) {
      const pages = {
        bytes: this.bytes,
        i32: this.i32,
        handlers,
        hotAfter: layout.hotAfter,
        maxTranslations: layout.maxTranslations,
        codePageCount: layout.codePageCount,
        known: (ppn: number) => this.pages.get(ppn),
        page: (ppn: number) => this.page(ppn),
        forgetReturns: () => {
          for (const cpu of layout.cpus)
            this.i32.fill(L.NO_RETURN, (cpu + L.CPU_EXPECTED_RETURN) >> 2, (cpu + L.CPU_EXPECTED_RETURN + 8) >> 2);
        },
        nearPage: (cpu: number, delta: number) => events.nearPage(cpu, delta),
        pointer: (cpu: number, offset: number) => events.pointer(cpu, offset),
      };
      this.translations = new Translations(pages, translator);
    }
  }

  /** Sees what happens to code: for `-d jit`. */
  get onCode(): ((event: CodeEvent) => void) | undefined {
    return this.watcher;
  }

  set onCode(watcher: ((event: CodeEvent) => void) | undefined) {
    this.watcher = watcher;
    if (this.translations !== undefined) this.translations.onCode = watcher;
  }

  /**
   * Decodes the block at the address that findBlock left in the scratch area of `cpu`, or takes it back into the block hash. With
   * `most`, at most so many instructions into the arena's first block, known to nobody. Gives the record to run, or 0 when an exception is pending.
   */
  decodeBlock(cpu: number, most?: number): number {
    const single = most !== undefined;
    const phys = this.load32(cpu + L.CPU_SCRATCH);
    const host = this.load32(cpu + L.CPU_SCRATCH + 8);
    const mode = this.load32(cpu + L.CPU_MODE);
    if (host === 0) {
      this.i32[(cpu + L.CPU_EXC) >> 2] = L.EXC_UD;
      return 0;
    }
    if (!single) {
      const known = this.pages.get(phys >>> 12)?.entries.find((entry) => entry.phys === phys && entry.mode === mode);
      if (known !== undefined) {
        this.insert(phys, mode, known.record);
        return known.record;
      }
    }
    if (!single && this.top + MAX_BLOCK_BYTES > this.layout.arena + this.layout.arenaBytes) this.dropRecords();
    const record = single ? this.layout.arena : this.top;
    const codeSize: Bits =
      (mode & L.MODE_SIZE_MASK) === L.MODE_64 ? 64 : (mode & L.MODE_SIZE_MASK) === L.MODE_32 ? 32 : 16;
    const limit = (mode & L.MODE_TF) !== 0 ? 1 : Math.min(most ?? MAX_BLOCK_INSNS, MAX_BLOCK_INSNS);

    const hostPage = host - (phys & (PAGE - 1));
    let offset = phys & (PAGE - 1);
    let at = record;
    let index = 0;
    let previous: Insn | undefined;
    const trace: Insn[] | undefined = this.events.wantsDecoded() ? [] : undefined;
    const page = single ? undefined : this.page(phys >>> 12);
    let crossed = false;
    const counting =
      page !== undefined && this.translator !== undefined && this.layout.hotAfter > 0 && (mode & L.MODE_TF) === 0;
    if (counting) {
      at = this.close(at, offset, 0, Pseudo.count);
      this.i32[(at - L.REC_SIZE + L.REC_IMM) >> 2] = this.layout.hotAfter;
    }
    const start = at;
    for (;;) {
      // INVARIANT: the index is 0 or 1.
      const insn = this.insns[index & 1]!;
      let status = decode(this.bytes, hostPage + offset, hostPage + PAGE, codeSize, insn);
      if (status === DecodeStatus.truncated) {
        if (index > 0) {
          at = this.close(at, offset, index, Pseudo.goOn);
          break;
        }
        const second = this.events.secondPage(cpu);
        if (second === undefined) return 0;
        status = this.decodeAcross(hostPage + offset, PAGE - offset, second.host, codeSize, insn);
        at = this.pseudo(at, offset, 0, Pseudo.crossPage);
        this.i32[(at - L.REC_SIZE + L.REC_IMM) >> 2] = second.phys / PAGE;
        this.i32[(at - L.REC_SIZE + L.REC_IMM + 4) >> 2] = 0;
        if (page !== undefined) this.crosses(phys >>> 12, second.phys / PAGE);
        crossed = true;
      }
      if (status !== DecodeStatus.ok || !runsIn(insn.row, mode)) {
        at = this.close(at, offset, index, refusal(status, mode));
        break;
      }
      trace?.push(cloneInsn(insn));
      const linkable = isLinkable(insn, offset, codeSize);
      this.write(at, insn, mode, offset, index);
      const ends = insn.row.endsBlock === true && !isConditional(insn);
      if (previous !== undefined && canFuse(previous, insn, mode)) {
        this.i32[(at - L.REC_SIZE) >> 2] = this.handlers.pairSlot(previous, insn, mode, linkable);
        this.i32[at >> 2] = 0;
      } else {
        this.i32[at >> 2] = this.handlers.slot(insn, mode, linkable);
      }
      at += L.REC_SIZE;
      offset += insn.length;
      index++;
      previous = insn;
      if (ends) break;
      if (index >= limit || offset >= PAGE || crossed) {
        const last = (mode & L.MODE_TF) !== 0 ? Pseudo.stepDone : single ? Pseudo.stale : Pseudo.goOn;
        at = this.close(at, offset, index, last);
        break;
      }
    }
    // The second half of a fused pair keeps no handler of its own; the flush below makes all others callable.
    this.handlers.flush();
    if (page !== undefined) {
      page.mark(phys & (PAGE - 1), Math.min(Math.max(offset, (phys & (PAGE - 1)) + 1), PAGE));
      const entry: BlockEntry = { record, phys, mode, hostPage, insns: index, first: start };
      page.entries.push(entry);
      this.entries.set(record, entry);
      this.insert(phys, mode, record);
      if (counting) this.translations?.attach(page, entry);
      this.top = at;
      this.counts.blocks++;
    }
    this.counts.insns += index;
    if (trace !== undefined) this.events.decoded?.(trace, cpu);
    return record;
  }

  /** The block whose counting record this is became hot: see Translations. */
  translate(record: number, cpu: number): void {
    const entry = this.entries.get(record);
    if (entry !== undefined) this.translations?.translate(entry, cpu);
  }

  get waitingTranslations(): number {
    return this.translations?.waitingCount ?? 0;
  }

  installTranslations(): void {
    this.translations?.install();
  }

  /** Host time spent on making code, milliseconds. */
  get busyMs(): number {
    const jit = this.translator?.counts;
    return this.counts.decodeMs + (jit === undefined ? 0 : jit.discoverMs + jit.generateMs + jit.compileMs);
  }

  statistics(): CodeStatistics {
    const { counts } = this;
    const jit = this.translator?.counts;
    return {
      blocksDecoded: counts.blocks,
      insnsDecoded: counts.insns,
      liveBlocks: this.entries.size,
      recordBytes: this.top - this.layout.arena - MAX_BLOCK_BYTES,
      handlers: this.handlers.generated,
      translations: jit?.regions ?? 0,
      retranslations: this.translations?.retranslations ?? 0,
      insnsTranslated: jit?.insns ?? 0,
      guestBytesTranslated: jit?.guestBytes ?? 0,
      wasmBytesGenerated: jit?.wasmBytes ?? 0,
      modulesCompiled: jit?.modules ?? 0,
      liveTranslations: jit?.live ?? 0,
      liveWasmBytes: jit?.liveBytes ?? 0,
      evictions: jit?.evicted ?? 0,
      invalidations: counts.invalidations,
      flushes: counts.flushes,
      decodeMs: counts.decodeMs,
      discoverMs: jit?.discoverMs ?? 0,
      generateMs: jit?.generateMs ?? 0,
      compileMs: jit?.compileMs ?? 0,
    };
  }

  /** First record of a block of at most `most` instructions as tier 0 runs it, by its entry record; undefined if it is longer. */
  interpreted(record: number, most: number): number | undefined {
    const entry = this.entries.get(record);
    return entry !== undefined && entry.insns <= most ? entry.first : undefined;
  }

  /** Puts a translation of the one instruction of the single block (`decodeBlock` with a limit of 1) in its place, if it has one. */
  translateSingle(cpu: number): Translated {
    const phys = this.load32(cpu + L.CPU_SCRATCH);
    const host = this.load32(cpu + L.CPU_SCRATCH + 8);
    const offset = phys & (PAGE - 1);
    const mode = this.load32(cpu + L.CPU_MODE);
    // Decoding an instruction that crosses pages leaves the second page's address there: it stays in tier 0.
    if (this.u16[(this.layout.arena + L.REC_OFFSET) >> 1] !== offset) return undefined;
    const view: CodeView = {
      bytes: this.bytes,
      mode,
      single: true,
      eager: true,
      page: (delta) => (delta === 0 ? { start: host - offset, ppn: phys >>> 12 } : undefined),
      heat: () => undefined,
      known: () => [],
      elsewhere: () => 0,
      absorb: () => [],
      pointer: () => undefined,
    };
    const translation = this.translator?.translate(view, offset);
    if (translation === undefined) return undefined;
    this.translator?.install();
    this.i32[this.layout.arena >> 2] = translation.slot;
    return translation.slot;
  }

  releaseTranslation(slot: number): void {
    this.translator?.release(slot);
  }

  private decodeAcross(host: number, here: number, secondHost: number, codeSize: Bits, insn: Insn): DecodeStatus {
    this.crossing.set(this.bytes.subarray(host, host + here));
    if (secondHost === 0) return DecodeStatus.invalid;
    this.crossing.set(this.bytes.subarray(secondHost, secondHost + 16), here);
    return decode(this.crossing, 0, here + 16, codeSize, insn);
  }

  /** Stores of `bytes` at `phys` are about to happen. True when that dropped blocks. */
  invalidate(phys: number, bytes: number): boolean {
    const first = Math.floor(phys / PAGE);
    const last = Math.floor((phys + bytes - 1) / PAGE);
    let dropped = false;
    for (let ppn = first; ppn <= last; ppn++) {
      const page = this.pages.get(ppn);
      if (page === undefined) continue;
      const from = ppn === first ? phys % PAGE : 0;
      const to = ppn === last ? (phys + bytes - 1) % PAGE : PAGE - 1;
      if (page.holds(from, to)) {
        this.dropPage(ppn);
        dropped = true;
      }
    }
    return dropped;
  }

  /** Makes one block unknown: its next use decodes anew. */
  dropBlock(record: number): void {
    // The check of a page crossing, which asks for this, may come behind a counter.
    const entry = this.entries.get(record) ?? this.entries.get(record - L.REC_SIZE);
    if (entry === undefined) return;
    this.forget(entry);
    const page = this.pages.get(entry.phys >>> 12);
    page?.entries.splice(page.entries.indexOf(entry), 1);
  }

  private forget(entry: BlockEntry): void {
    this.i32[entry.record >> 2] = this.handlers.pseudo(Pseudo.stale);
    this.remove(entry.phys, entry.mode);
    this.entries.delete(entry.record);
  }

  /** Nothing is known any more: what physical addresses lead to changes. */
  dropAll(): void {
    const blocks = this.entries.size;
    for (const ppn of [...this.pages.keys()]) this.dropPage(ppn);
    this.clearArena(blocks);
  }

  /** The arena is full. Blocks that translations begin with lead to them again as soon as they are decoded anew. */
  private dropRecords(): void {
    const blocks = this.entries.size;
    for (const page of this.pages.values()) {
      for (const entry of page.entries) this.forget(entry);
      page.entries.length = 0;
    }
    this.clearArena(blocks);
  }

  /** Nothing in the arena is in use; no jump cache may lead there either. */
  private clearArena(blocks: number): void {
    for (const cpu of this.layout.cpus) {
      this.i32[(cpu + L.CPU_LINK_FROM) >> 2] = 0;
      for (let bank = 0; bank <= L.USER_BANKS; bank++) {
        const at = cpu + L.CPU_BANKS + bank * L.BANK_SIZE;
        if (this.i32[(at + L.BANK_READY) >> 2] === 0) continue;
        this.bytes.fill(0, at + L.BANK_JUMP_CACHE, at + L.BANK_JUMP_CACHE + L.JUMP_CACHE_ENTRIES * 16);
      }
    }
    this.top = this.layout.arena + MAX_BLOCK_BYTES;
    this.counts.flushes++;
    this.onCode?.({ what: 'flush', blocks });
  }

  private dropPage(ppn: number): void {
    const page = this.pages.get(ppn);
    if (page === undefined) return;
    this.pages.delete(ppn);
    if (ppn < this.layout.codePageCount) this.bytes[this.layout.codePageMap + ppn] = 0;
    if (this.onCode !== undefined) {
      const blocks = page.entries.length;
      const translations = page.translations.size;
      this.onCode({ what: 'invalidate', physical: ppn * PAGE, blocks, translations });
    }
    for (const live of page.translations) this.translations?.drop(live);
    for (const entry of page.entries) this.forget(entry);
    for (const cpu of this.layout.cpus) this.i32[(cpu + L.CPU_LINK_FROM) >> 2] = 0;
    this.counts.invalidations++;
    for (const crosser of page.crossers) this.dropPage(crosser);
  }

  private page(ppn: number): CodePage {
    let page = this.pages.get(ppn);
    if (page === undefined) {
      page = new CodePage();
      this.pages.set(ppn, page);
      if (ppn < this.layout.codePageCount) this.bytes[this.layout.codePageMap + ppn] = 1;
      this.events.codePage(ppn);
    }
    return page;
  }

  private crosses(from: number, into: number): void {
    const page = this.page(into);
    page.crossers.add(from);
    page.mark(0, 1);
  }

  // ---- block hash (layout.ts), as microcode/blocks.ts reads it ----

  private hashEntry(phys: number, mode: number, way: number): number {
    const index = ((phys ^ (phys >>> 12) ^ (mode * 0x1f1)) & (L.BLOCK_HASH_ENTRIES - 1)) ^ way;
    return (this.layout.blockHash + index * L.BLOCK_HASH_ENTRY_SIZE) >> 2;
  }

  /** The newest are found first: what is in a way moves on to the next, up to one that is free. */
  private insert(phys: number, mode: number, record: number): void {
    let free = 0;
    while (free < L.BLOCK_HASH_WAYS - 1 && this.i32[this.hashEntry(phys, mode, free) + 2] !== 0) free++;
    for (let way = free; way > 0; way--) {
      const [to, from] = [this.hashEntry(phys, mode, way), this.hashEntry(phys, mode, way - 1)];
      this.i32.copyWithin(to, from, from + 4);
    }
    const first = this.hashEntry(phys, mode, 0);
    this.i32[first] = phys;
    this.i32[first + 1] = mode;
    this.i32[first + 2] = record;
    this.i32[first + 3] = 0;
  }

  private remove(phys: number, mode: number): void {
    for (let way = 0; way < L.BLOCK_HASH_WAYS; way++) {
      const entry = this.hashEntry(phys, mode, way);
      if (this.i32[entry] === (phys | 0) && this.i32[entry + 1] === mode) this.i32.fill(0, entry, entry + 4);
    }
  }

  // ---- records ----

  private close(at: number, offset: number, index: number, kind: Pseudo): number {
    return this.pseudo(at, offset, index, kind);
  }

  private pseudo(at: number, offset: number, index: number, kind: Pseudo): number {
    this.i32[at >> 2] = this.handlers.pseudo(kind);
    this.u16[(at + L.REC_OFFSET) >> 1] = offset;
    this.bytes[at + L.REC_LENGTH] = 0;
    this.bytes[at + L.REC_INDEX] = index;
    return at + L.REC_SIZE;
  }

  private write(at: number, insn: Insn, mode: number, offset: number, index: number): void {
    const { bytes, u16, i32 } = this;
    u16[(at + L.REC_OFFSET) >> 1] = offset;
    bytes[at + L.REC_LENGTH] = insn.length;
    bytes[at + L.REC_INDEX] = index;
    let immLow = insn.immLow;
    let immHigh = insn.immHigh;
    for (let i = 0; i < insn.operandCount; i++) {
      // INVARIANT: operandCount is at most 4, the length of `operands`.
      const operand = insn.operands[i]!;
      if (isDynamicRegister(operand.kind)) {
        const field = registerField(insn, i);
        if (field === L.REC_IMM) immLow = stateOffset(operand);
        else u16[(at + field) >> 1] = stateOffset(operand);
      } else if (operand.kind === OperandKind.rel) {
        immLow = 0;
        immHigh = offset + insn.length + insn.immLow;
      } else if (operand.kind === OperandKind.imm2 || operand.kind === OperandKind.far) {
        u16[(at + L.REC_R2) >> 1] = insn.imm2;
      }
    }
    const { mem } = insn;
    const form = addressForm(insn, mode);
    if (form === AddressForm.absolute) {
      immLow = mem.disp;
      immHigh = mem.dispHigh;
    }
    u16[(at + L.REC_BASE) >> 1] =
      mem.base === NO_REGISTER ? L.CPU_ZERO : mem.base === RIP_BASE ? L.CPU_RIP_PAGE : mem.base * 8;
    u16[(at + L.REC_INDEX_REG) >> 1] = indexOffset(insn);
    i32[(at + L.REC_DISP) >> 2] = mem.base === RIP_BASE ? mem.disp + offset + insn.length : mem.disp;
    bytes[at + L.REC_SCALE] = mem.scale;
    bytes[at + L.REC_SEG] = dataSegment(insn, form);
    i32[(at + L.REC_IMM) >> 2] = immLow;
    i32[(at + L.REC_IMM + 4) >> 2] = immHigh;
  }

  private load32(address: number): number {
    return (this.i32[address >> 2] ?? 0) >>> 0;
  }
}

/** State offset of the register, general or vector, that the memory operand's index is. */
function indexOffset({ mem }: Insn): number {
  if (mem.vectorIndex !== NO_REGISTER) return L.CPU_XMM + mem.vectorIndex * L.XMM_STRIDE;
  return mem.index === NO_REGISTER ? L.CPU_ZERO : mem.index * 8;
}

/** What stands for bytes that do not run. */
function refusal(status: DecodeStatus, mode: number): Pseudo {
  if (status === DecodeStatus.tooLong) return Pseudo.tooLong;
  return status === DecodeStatus.ok && protectedNot86(mode) ? Pseudo.noAvx : Pseudo.invalid;
}

/** Segment of the memory operand, or of a string instruction's source. */
function dataSegment(insn: Insn, form: AddressForm): number {
  if (form !== AddressForm.none) return insn.mem.segment;
  const override = insn.segmentOverride;
  if (override < 0 || (insn.codeSize === 64 && override < L.FS)) return L.DS;
  return override;
}

/** Direct jumps that stay in their page and whose target needs no cutting can link to the target's record. */
export function isLinkable(insn: Insn, offset: number, codeSize: Bits): boolean {
  if (insn.operands[0].kind !== OperandKind.rel || codeSize === 16 || insn.operandSize === 16) return false;
  const target = offset + insn.length + insn.immLow;
  return target >= 0 && target < PAGE;
}

const FUSABLE: ReadonlySet<string> = new Set(['CMP', 'TEST', 'SUB', 'AND', 'ADD', 'DEC', 'INC', 'OR', 'XOR']);

/** A flag-setting instruction and the conditional jump behind it become one handler. */
export function canFuse(first: Insn, second: Insn, mode: number): boolean {
  if (second.row.name !== 'Jcc' || !FUSABLE.has(first.row.name) || first.lock) return false;
  return (mode & (L.MODE_SIZE_MASK | L.MODE_TF)) === L.MODE_64;
}
