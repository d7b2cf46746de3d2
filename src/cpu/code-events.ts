/** What happens to decoded and translated code, for those who watch (`-d jit`, trace events, statistics). */

/** Something that happened to decoded or translated code. Times are milliseconds of the host's clock. */
export type CodeEvent =
  /** A region was turned into a function, which runs once its batch is compiled. */
  | {
      readonly what: 'translate';
      /** Guest physical address of the entry. */
      readonly physical: number;
      /** CPU_MODE that the code was translated for (layout.ts). */
      readonly mode: number;
      readonly insns: number;
      readonly blocks: number;
      readonly guestBytes: number;
      /** Size of the function's body, before the engine below compiles it. */
      readonly wasmBytes: number;
      readonly decodeMs: number;
      readonly generateMs: number;
      /** The same entry was translated before. */
      readonly again: boolean;
    }
  /** A batch of functions was compiled and can be called. */
  | { readonly what: 'compile'; readonly functions: number; readonly wasmBytes: number; readonly compileMs: number }
  /** A translation was thrown away. */
  | { readonly what: 'evict'; readonly physical: number; readonly wasmBytes: number }
  /** The code of a page was forgotten, because the page was written or for want of room. */
  | { readonly what: 'invalidate'; readonly physical: number; readonly blocks: number; readonly translations: number }
  /** All code was forgotten. */
  | { readonly what: 'flush'; readonly blocks: number };

/** Figures about decoded and translated code since the machine was made. */
export interface CodeStatistics {
  /** Tier 0: blocks and instructions decoded to records; blocks that are there now, and bytes of records. */
  readonly blocksDecoded: number;
  readonly insnsDecoded: number;
  readonly liveBlocks: number;
  readonly recordBytes: number;
  /** Interpreter handlers generated. */
  readonly handlers: number;
  /** Tier 1: regions translated, and how many of them for a second time or more. */
  readonly translations: number;
  readonly retranslations: number;
  readonly insnsTranslated: number;
  /** Bytes of guest code and of WebAssembly that translation read and wrote. */
  readonly guestBytesTranslated: number;
  readonly wasmBytesGenerated: number;
  readonly modulesCompiled: number;
  /** Translations that can be called now, and the size of their WebAssembly. */
  readonly liveTranslations: number;
  readonly liveWasmBytes: number;
  readonly evictions: number;
  /** Pages whose code was forgotten; times all code was. */
  readonly invalidations: number;
  readonly flushes: number;
  /**
   * Host milliseconds: decoding blocks for tier 0 (with the handlers they need), and the three steps of a translation. What the
   * JavaScript engine puts off until a function is first called, or does on threads of its own, is not in them.
   */
  readonly decodeMs: number;
  readonly discoverMs: number;
  readonly generateMs: number;
  readonly compileMs: number;
}
