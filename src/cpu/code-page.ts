/** What the code cache knows of a guest physical page with code: its blocks, the bytes they cover, translations made from it. */
import { PAGE } from './page.ts';

const GRANULE_SHIFT = 6;

/** A decoded block, known by physical address and mode. */
export interface BlockEntry {
  /** Address of its first record. */
  readonly record: number;
  readonly phys: number;
  readonly mode: number;
  /** Address of the page's first byte in the memory. */
  readonly hostPage: number;
  /** Its instructions, and the record of the first. */
  readonly insns: number;
  readonly first: number;
  /** What its entry record leads to. */
  translated?: LiveTranslation;
  /** Its count when a translation took it in. */
  seen?: number;
}

/** A translation as the cache knows it. */
export interface LiveTranslation {
  readonly slot: number;
  readonly mode: number;
  /** Guest physical numbers of the pages it was made from. */
  readonly pages: readonly number[];
  /** Blocks that it is to be entered at, the one it was made for first. */
  readonly entries: readonly EntryPoint[];
  /** Its blocks by physical address: their linear addresses as the translation counts them. */
  readonly blocks: ReadonlyMap<number, number>;
  readonly insns: number;
  /** Earlier ones, which it takes the place of. */
  readonly replaces: readonly LiveTranslation[];
  /** How many were replaced, one after the other, to get to this. */
  readonly age: number;
  installed: boolean;
  dropped: boolean;
}

export interface EntryPoint {
  readonly phys: number;
  readonly mode: number;
  /** By which the translation knows it. */
  readonly number: number;
  /** Linear distance in bytes of its page from the one that the translation counts from. */
  readonly pageDistance: number;
  readonly translation: () => LiveTranslation;
}

/** Names a block within its page. */
export function entryKey(phys: number, mode: number): number {
  return (phys & (PAGE - 1)) | (mode << 12);
}

export class CodePage {
  /** Blocks that begin here. */
  readonly entries: BlockEntry[] = [];
  /** Pages with an instruction that ends in this one. */
  readonly crossers: Set<number> = new Set();
  /** Translations made from bytes of this page. */
  readonly translations: Set<LiveTranslation> = new Set();
  /** Where they can be entered in this page, by entryKey. */
  readonly entryPoints: Map<number, EntryPoint> = new Map();
  /** Pieces of 64 bytes that hold decoded bytes. */
  private readonly granules = new Uint8Array(PAGE >> GRANULE_SHIFT);

  /** Page offsets [from, to) hold code. */
  mark(from: number, to: number): void {
    this.granules.fill(1, from >> GRANULE_SHIFT, ((to - 1) >> GRANULE_SHIFT) + 1);
  }

  /** Whether code may lie at page offsets from..to. */
  holds(from: number, to: number): boolean {
    return this.granules.subarray(from >> GRANULE_SHIFT, (to >> GRANULE_SHIFT) + 1).includes(1);
  }

  /** The blocks at an entry: more than one when the block hash lost the first and it was decoded again. */
  blocksAt({ phys, mode }: { readonly phys: number; readonly mode: number }): BlockEntry[] {
    return this.entries.filter((block) => block.phys === phys && block.mode === mode);
  }
}
