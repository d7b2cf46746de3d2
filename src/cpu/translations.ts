/**
 * Tier 1's side of the code cache: which blocks become translations, where those are entered, and when they go.
 *
 * A translation covers blocks of several pages and can be entered at several of them: the entry record of such a block has the
 * translation's function for its handler, the entry's number in REC_IMM and, behind it, how far its page is from the page that
 * the translation counts from. When control keeps coming in at a block that a translation has inside but cannot be entered
 * at, it is made anew with that entry, so that code is not translated twice.
 */
import type { CodeEvent } from './code-events.ts';
import { type BlockEntry, type CodePage, type EntryPoint, entryKey, type LiveTranslation } from './code-page.ts';
import { type Handlers, Pseudo } from './interp/handlers.ts';
import type { CodeView } from './jit/region.ts';
import type { Translation, Translator } from './jit/translator.ts';
import * as L from './layout.ts';
import { PAGE } from './page.ts';

const TRANSLATIONS_A_MODULE = 16;
/** WebAssembly of all translations; compiled it takes five times as much. */
const MAX_WASM_BYTES = 32 << 20;
/** A translation is made anew with more entries at most so often. */
const MAX_AGE = 8;
/** Times tier 0 came to a block inside a translation that make it an entry when that is made anew. */
const ENTERED_OFTEN = 32;
/** With a lower threshold tier 0 has seen too little of the code to tell what of it is cold. */
const EAGER_BELOW = 64;
/** Translated entries that are remembered to tell a second translation from a first. */
const MAX_REMEMBERED = 1 << 18;

/** What translations need of the code cache. */
export interface CodePages {
  readonly bytes: Uint8Array;
  readonly i32: Int32Array;
  readonly handlers: Handlers;
  /** Entries into a block before it is translated. */
  readonly hotAfter: number;
  /** Most translations kept at once. */
  readonly maxTranslations: number;
  /** Physical pages that may hold code. */
  readonly codePageCount: number;
  known(ppn: number): CodePage | undefined;
  /** No translation that waits for a return (CPU_EXPECTED_RETURN) goes on when that comes. */
  forgetReturns(): void;
  /** The page, made known. */
  page(ppn: number): CodePage;
  /** The page `delta` pages from CPU_RIP's, if it can be executed without further ado. */
  nearPage(cpu: number, delta: number): { readonly ppn: number; readonly host: number } | undefined;
  /** Where the 64-bit pointer `offset` bytes from that page's start points to, as such an offset; undefined: not known without a fill. */
  pointer(cpu: number, offset: number): number | undefined;
}

export class Translations {
  private readonly pages: CodePages;
  private readonly translator: Translator;
  /** All that can be called or will be, the oldest first. */
  private readonly living = new Set<LiveTranslation>();
  /** Not compiled yet. */
  private readonly waiting: LiveTranslation[] = [];
  /** Physical address and mode of everything translated so far, forgotten when there is too much of it. */
  private readonly remembered = new Set<number>();
  retranslations = 0;
  onCode: ((event: CodeEvent) => void) | undefined;

  constructor(pages: CodePages, translator: Translator) {
    this.pages = pages;
    this.translator = translator;
  }

  get waitingCount(): number {
    return this.waiting.length;
  }

  /**
   * The block became hot: translates it. Until `install` its records run on, as they do for good when it cannot be translated.
   * CPU_RIP of `cpu` is where it begins.
   */
  translate(entry: BlockEntry, cpu: number): void {
    const { i32, handlers, hotAfter } = this.pages;
    this.makeRoom();
    const earlier = this.coveredBy(entry);
    if (earlier?.installed === false) {
      // It waits to be compiled: whether this block is still come to in tier 0 then remains to be seen. It must run before it is hot again.
      i32[(entry.record + L.REC_IMM) >> 2] = Math.max(hotAfter >> 1, 2);
      return;
    }
    i32[entry.record >> 2] = handlers.pseudo(Pseudo.skip);
    const others = earlier === undefined ? [] : this.entriesSeenFrom(entry, earlier);
    const replaces = new Set(earlier === undefined ? [] : [earlier]);
    const made = this.translator.translate(this.view(entry, cpu, replaces), entry.phys & (PAGE - 1), others);
    if (made === undefined) return;
    const ppnOf = (address: number): number => {
      const delta = Math.floor(address / PAGE);
      // INVARIANT: a translation lists the pages of all its addresses.
      return made.pages.find((page) => page.delta === delta)!.ppn;
    };
    const physOf = (address: number): number => ppnOf(address) * PAGE + (((address % PAGE) + PAGE) % PAGE);
    for (const [from, to] of made.ranges) {
      const start = Math.floor(from / PAGE) * PAGE;
      this.pages.page(ppnOf(from)).mark(from - start, to - start);
    }
    const live: LiveTranslation = {
      slot: made.slot,
      mode: entry.mode,
      pages: made.pages.map(({ ppn }) => ppn),
      entries: made.entries.map(({ address, number }) => ({
        phys: physOf(address),
        mode: entry.mode,
        number,
        pageDistance: Math.floor(address / PAGE) * PAGE,
        translation: () => live,
      })),
      blocks: new Map(made.ownBlocks.map((address) => [physOf(address), address])),
      insns: made.insns,
      replaces: [...replaces],
      age: Math.max(-1, ...[...replaces].map(({ age }) => age)) + 1,
      installed: false,
      dropped: false,
    };
    for (const ppn of live.pages) this.pages.page(ppn).translations.add(live);
    this.waiting.push(live);
    this.living.add(live);
    this.note(entry, made);
    if (this.waiting.length >= (hotAfter === 1 ? 1 : TRANSLATIONS_A_MODULE)) this.install();
  }

  /** Lets the oldest go when there are too many, or too large ones. */
  private makeRoom(): void {
    const { living, translator } = this;
    while (living.size >= this.pages.maxTranslations || translator.counts.liveBytes > MAX_WASM_BYTES) {
      const [oldest] = living;
      if (oldest === undefined) return;
      if (!oldest.installed) this.install();
      this.drop(oldest);
    }
  }

  /** Compiles what waits, and lets the entry records of blocks that are still there lead to it. */
  install(): void {
    if (this.waiting.length === 0) return;
    const installed = this.translator.install();
    this.onCode?.({ what: 'compile', ...installed });
    for (const live of this.waiting) {
      if (live.dropped) {
        this.release(live);
        for (const point of live.entries) this.recount(point);
        continue;
      }
      live.installed = true;
      for (const earlier of live.replaces) this.drop(earlier);
      this.noteCounts(live);
      for (const point of live.entries) {
        const page = this.pages.page(point.phys >>> 12);
        const key = entryKey(point.phys, point.mode);
        // An entry that an earlier translation has keeps it, unless this one was made for it.
        if (point.number > 0 && page.entryPoints.has(key)) continue;
        page.entryPoints.set(key, point);
        for (const block of page.blocksAt(point)) this.lead(block, point);
      }
    }
    this.waiting.length = 0;
  }

  /** A block with a counting record was just decoded: it may be an entry of a translation. */
  attach(page: CodePage, block: BlockEntry): void {
    const point = page.entryPoints.get(entryKey(block.phys, block.mode));
    if (point !== undefined) this.lead(block, point);
  }

  /** The translation's guest code changes or is forgotten, or it is no longer wanted: its entries are blocks of records again. */
  drop(live: LiveTranslation): void {
    if (live.dropped) return;
    live.dropped = true;
    this.living.delete(live);
    for (const ppn of live.pages) this.pages.known(ppn)?.translations.delete(live);
    if (!live.installed) return;
    // It may be waiting for a return.
    this.pages.forgetReturns();
    for (const point of live.entries) {
      const page = this.pages.known(point.phys >>> 12);
      const key = entryKey(point.phys, point.mode);
      if (page?.entryPoints.get(key) !== point) continue;
      page.entryPoints.delete(key);
      this.recount(point);
    }
    this.release(live);
  }

  private release(live: LiveTranslation): void {
    const wasmBytes = this.translator.sizeOf(live.slot);
    this.translator.release(live.slot);
    this.onCode?.({ what: 'evict', physical: live.entries[0]?.phys ?? 0, wasmBytes });
  }

  // ---- entries ----

  /** From now on the block's entry record is an entrance of the translation. */
  private lead(block: BlockEntry, point: EntryPoint): void {
    if (block.translated !== undefined && point.number > 0) return;
    const { i32 } = this.pages;
    const live = point.translation();
    block.translated = live;
    i32[(block.record + L.REC_IMM) >> 2] = point.number;
    i32[(block.record + L.REC_IMM + 4) >> 2] = point.pageDistance;
    i32[block.record >> 2] = live.slot;
  }

  /** The block at an entry of a translation that is no more runs in tier 0 and may become hot again. */
  private recount(point: EntryPoint): void {
    const { i32, handlers, hotAfter } = this.pages;
    for (const block of this.pages.known(point.phys >>> 12)?.blocksAt(point) ?? []) {
      if (block.translated !== undefined && block.translated !== point.translation()) continue;
      delete block.translated;
      delete block.seen;
      i32[(block.record + L.REC_IMM) >> 2] = hotAfter;
      i32[block.record >> 2] = handlers.pseudo(Pseudo.count);
    }
  }

  private blocksOf(live: LiveTranslation): BlockEntry[] {
    return live.pages.flatMap((ppn) => {
      const entries = this.pages.known(ppn)?.entries ?? [];
      return entries.filter(({ mode, phys }) => mode === live.mode && live.blocks.has(phys));
    });
  }

  /** From now on, what comes to the translation's blocks in tier 0 comes from outside. */
  private noteCounts(live: LiveTranslation): void {
    for (const block of this.blocksOf(live)) block.seen = this.pages.i32[(block.record + L.REC_IMM) >> 2] ?? 0;
  }

  /** The translation that has this block inside, where it cannot be entered. */
  private coveredBy({ phys, mode }: BlockEntry): LiveTranslation | undefined {
    for (const live of this.pages.known(phys >>> 12)?.translations ?? []) {
      if (live.mode === mode && live.age < MAX_AGE && live.blocks.has(phys)) return live;
    }
    return undefined;
  }

  /**
   * Where `live` should be entered beside the block at hand: its entries, and all of its blocks that tier 0 was seen to come to
   * since; as addresses counted from the block's page.
   */
  private entriesSeenFrom(entry: BlockEntry, live: LiveTranslation): number[] {
    const origin = Math.floor((live.blocks.get(entry.phys) ?? 0) / PAGE) * PAGE;
    const wanted = new Set(live.entries.map(({ phys }) => phys));
    for (const block of this.blocksOf(live)) {
      if (block.translated === undefined && this.enteredSince(block) >= ENTERED_OFTEN) wanted.add(block.phys);
    }
    wanted.delete(entry.phys);
    return [...wanted].flatMap((phys) => {
      const address = live.blocks.get(phys);
      return address === undefined ? [] : [address - origin];
    });
  }

  /** Times tier 0 came to the block since a translation has had it inside. */
  private enteredSince(block: BlockEntry): number {
    const { i32, handlers, hotAfter } = this.pages;
    if (i32[block.record >> 2] !== handlers.pseudo(Pseudo.count)) return 0;
    return (block.seen ?? hotAfter) - (i32[(block.record + L.REC_IMM) >> 2] ?? 0);
  }

  // ---- what the translator sees ----

  /** Around a block; `replaced`: translations that the new one takes the place of, which may become more. */
  private view(entry: BlockEntry, cpu: number, replaced: Set<LiveTranslation>): CodeView {
    const { bytes, hotAfter, codePageCount } = this.pages;
    const pages = new Map<number, { start: number; ppn: number } | undefined>([
      [0, { start: entry.hostPage, ppn: entry.phys >>> 12 }],
    ]);
    const page = (delta: number): { start: number; ppn: number } | undefined => {
      if (!pages.has(delta)) {
        const near = this.pages.nearPage(cpu, delta);
        // Where stores to code go unnoticed none is translated.
        const usable = near !== undefined && near.host !== 0 && near.ppn < codePageCount;
        pages.set(delta, usable ? { start: near.host, ppn: near.ppn } : undefined);
      }
      return pages.get(delta);
    };
    const heats = new Map<number, Map<number, number>>();
    const heatsOf = (delta: number): Map<number, number> => {
      const heat = heats.get(delta) ?? this.heats(page(delta)?.ppn, delta, entry.mode);
      heats.set(delta, heat);
      return heat;
    };
    const physOf = (address: number): number | undefined => {
      const delta = Math.floor(address / PAGE);
      const ppn = page(delta)?.ppn;
      return ppn === undefined ? undefined : ppn * PAGE + address - delta * PAGE;
    };
    const liveAt = (address: number): LiveTranslation | undefined => {
      const phys = physOf(address);
      if (phys === undefined) return undefined;
      const point = this.pages.known(Math.floor(phys / PAGE))?.entryPoints.get(entryKey(phys, entry.mode));
      return point?.translation();
    };
    return {
      bytes,
      mode: entry.mode,
      single: false,
      eager: hotAfter < EAGER_BELOW,
      page,
      heat: (address) => heatsOf(Math.floor(address / PAGE)).get(address),
      known: (delta) => heatsOf(delta).keys(),
      elsewhere: (address) => {
        const live = liveAt(address);
        if (live === undefined || replaced.has(live)) return 0;
        return live.age < MAX_AGE ? live.insns : Infinity;
      },
      absorb: (address) => {
        const live = liveAt(address);
        const point = live?.entries.find(({ phys }) => phys === physOf(address));
        if (live === undefined || point === undefined) return [];
        replaced.add(live);
        const origin = Math.floor(address / PAGE) * PAGE - point.pageDistance;
        return live.entries.map(({ phys, pageDistance }) => origin + pageDistance + (phys & (PAGE - 1)));
      },
      pointer: (address) => this.pages.pointer(cpu, address),
    };
  }

  /** How often tier 0 came to the blocks of a page, by linear address. */
  private heats(ppn: number | undefined, delta: number, mode: number): Map<number, number> {
    const { i32, handlers, hotAfter } = this.pages;
    const counting = handlers.pseudo(Pseudo.count);
    const heat = new Map<number, number>();
    for (const block of (ppn === undefined ? undefined : this.pages.known(ppn))?.entries ?? []) {
      if (block.mode !== mode) continue;
      const counts = i32[block.record >> 2] === counting;
      const entered = counts ? hotAfter - (i32[(block.record + L.REC_IMM) >> 2] ?? 0) : hotAfter;
      heat.set((block.phys & (PAGE - 1)) + delta * PAGE, entered);
    }
    return heat;
  }

  private note({ phys, mode }: BlockEntry, made: Translation): void {
    const key = phys * 2 ** L.MODE_BITS + mode;
    const again = this.remembered.has(key);
    if (again) this.retranslations++;
    if (this.remembered.size >= MAX_REMEMBERED) this.remembered.clear();
    this.remembered.add(key);
    if (this.onCode === undefined) return;
    const { insns, blocks, guestBytes, wasmBytes, discoverMs: decodeMs, generateMs } = made;
    const figures = { insns, blocks, guestBytes, wasmBytes, decodeMs, generateMs };
    this.onCode({ what: 'translate', physical: phys, mode, ...figures, again });
  }
}
