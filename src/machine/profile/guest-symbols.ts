/**
 * What is known about the names of a guest's code: from files (System.map, ELF), from the kernel that the machine loaded, and from
 * a running Linux's own table (kallsyms.ts).
 *
 * A kernel may have moved itself from where it was linked (KASLR). How far is told by where its entries are: the target of SYSCALL,
 * of SYSENTER, or the page fault gate, against the addresses that the file has for them.
 */
import type { Vcpu, VcpuPlace } from '../../accel/contract.ts';
import { viewOf } from '../../base/bytes.ts';
import { UserError } from '../../base/errors.ts';
import { readElfSymbols } from './elf-symbols.ts';
import { readKallsyms } from './kallsyms.ts';
import { type FoundSymbol, readSystemMap, type SymbolFile, SymbolTable } from './symbol-table.ts';

const PAGE = 4096;
const PAGE_FAULT = 14;
/** Fewer names than this are no kernel's. */
const MIN_KERNEL_SYMBOLS = 1000;
/** Of a running kernel's memory, at most this is searched for its symbols, from just before its entries on. */
const IMAGE_BEFORE = 32 << 20;
const IMAGE_BYTES = 96 << 20;
/** So much that is not mapped ends the search. */
const MAX_GAP = 8 << 20;
const CHUNK = 1 << 20;

/** Names of kernel entries, by what leads there. */
const ENTRIES: readonly { readonly names: readonly string[]; readonly of: (entries: KernelEntries) => number }[] = [
  { names: ['entry_SYSCALL_64'], of: ({ syscall }) => syscall },
  { names: ['entry_SYSENTER_32', 'entry_SYSENTER_compat'], of: ({ sysenter }) => sysenter },
  { names: ['asm_exc_page_fault', 'page_fault', 'async_page_fault'], of: ({ pageFault }) => pageFault },
];

interface KernelEntries {
  readonly syscall: number;
  readonly sysenter: number;
  readonly pageFault: number;
}

interface Table {
  readonly table: SymbolTable;
  /** To be added to the file's addresses; undefined = for a kernel whose place is not known yet. */
  slide: number | undefined;
  /** Has a kernel's entries, so that it may have moved. */
  readonly movable: boolean;
}

/** Reads one file; throws UserError for what has no symbols. */
export function readSymbolFile({ name, bytes }: SymbolFile): SymbolTable {
  const isElf = bytes[0] === 0x7f && bytes[1] === 0x45;
  const table = new SymbolTable(isElf ? readElfSymbols(bytes) : readSystemMap(new TextDecoder().decode(bytes)));
  if (table.hasCode) return table;
  const why = isElf
    ? 'an ELF file without a symbol table'
    : 'neither an ELF file nor a System.map with lines of address, type and name (some distributions ship an empty one)';
  throw new UserError(`--symbols ${name}: ${why}`);
}

export class GuestSymbols {
  private readonly vcpu: Vcpu;
  private readonly tables: Table[];
  /** Read from the guest's memory. */
  private own: SymbolTable | undefined;
  private triedAt: string | undefined;

  constructor(vcpu: Vcpu, files: readonly SymbolTable[]) {
    this.vcpu = vcpu;
    this.tables = files.map((table) => {
      const movable = ENTRIES.some(({ names }) => names.some((name) => table.addressOf(name) !== undefined));
      return { table, movable, slide: movable ? undefined : 0 };
    });
  }

  /** The machine was reset: what is known about the running kernel's place is void. */
  forget(): void {
    this.own = undefined;
    this.triedAt = undefined;
    for (const table of this.tables) if (table.movable) table.slide = undefined;
  }

  /** Looks where the kernel is, with `kernelTables` as page tables that map it. Cheap unless something changed. */
  locate(kernelTables: number): void {
    const place = this.vcpu.place();
    const entries = {
      syscall: place.syscallEntry,
      sysenter: place.sysenterEntry,
      pageFault: this.pageFaultEntry(place, kernelTables),
    };
    for (const table of this.tables) {
      if (table.movable) table.slide = slideOf(table.table, entries) ?? table.slide;
    }
    const covered = this.tables.some(({ movable, slide }) => movable && slide !== undefined);
    const anchor = [entries.syscall, entries.pageFault].find((entry) => isKernelAddress(entry, place.longMode));
    if (covered || this.own !== undefined || anchor === undefined) return;
    // A kernel that has no table where its entries are now will not have one later.
    const key = `${entries.syscall} ${entries.pageFault}`;
    if (this.triedAt === key) return;
    this.triedAt = key;
    this.own = this.readOwn(anchor, place.longMode, kernelTables);
  }

  /** The function at a linear address. */
  find(address: number): FoundSymbol | undefined {
    for (const { table, slide } of this.tables) {
      if (slide === undefined) continue;
      const found = table.find(address - slide);
      if (found !== undefined) return { name: found.name, address: found.address + slide };
    }
    return this.own?.find(address);
  }

  /** Target of the gate for page faults, 0 when there is none. */
  private pageFaultEntry({ interruptTable, longMode }: VcpuPlace, kernelTables: number): number {
    const gate = new Uint8Array(16);
    const size = longMode ? 16 : 8;
    const at = longMode ? interruptTable : interruptTable >>> 0;
    if (this.vcpu.peek(at + PAGE_FAULT * size, gate.subarray(0, size), kernelTables) < size) return 0;
    const view = viewOf(gate);
    const low = view.getUint16(0, true) + view.getUint16(6, true) * 0x10000;
    return longMode ? view.getInt32(8, true) * 2 ** 32 + low : low;
  }

  private readOwn(anchor: number, longMode: boolean, kernelTables: number): SymbolTable | undefined {
    const image = this.copy(anchor, kernelTables);
    const symbols = readKallsyms(image, longMode ? 8 : 4);
    return symbols === undefined || symbols.length < MIN_KERNEL_SYMBOLS ? undefined : new SymbolTable(symbols);
  }

  /** What is mapped around `anchor`, from the first page on; holes are zero. */
  private copy(anchor: number, kernelTables: number): Uint8Array {
    const image = new Uint8Array(IMAGE_BYTES);
    const start = Math.floor((anchor - IMAGE_BEFORE) / CHUNK) * CHUNK;
    let end = 0;
    for (let at = 0; at < IMAGE_BYTES; at += PAGE) {
      const read = this.vcpu.peek(start + at, image.subarray(at, at + PAGE), kernelTables);
      if (read > 0) end = at + read;
      else if (at > IMAGE_BEFORE && at - end > MAX_GAP) break;
    }
    return image.subarray(0, end);
  }
}

function isKernelAddress(address: number, longMode: boolean): boolean {
  return longMode ? address < 0 : address >= 2 ** 31;
}

/** How far a kernel is from where `table` has it. It moves by whole pages. */
function slideOf(table: SymbolTable, entries: KernelEntries): number | undefined {
  for (const { names, of } of ENTRIES) {
    const linked = names.map((name) => table.addressOf(name)).find((address) => address !== undefined);
    const slide = linked === undefined || of(entries) === 0 ? Number.NaN : of(entries) - linked;
    if (slide % PAGE === 0 && Math.abs(slide) < 2 ** 31) return slide;
  }
  return undefined;
}
