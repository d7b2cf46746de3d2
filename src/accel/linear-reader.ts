/**
 * Reads guest memory by linear address from outside, as the guest's page tables map it (Intel SDM volume 3, chapter 4): 4-level,
 * PAE and 32-bit paging, or none. For profilers and debuggers: no accessed bit is set, no TLB entry made, no device touched.
 *
 * Linear addresses are numbers, sign-extended from 48 bits, so that those of a kernel are negative and exact.
 */
import * as L from '../cpu/layout.ts';

const PAGE = 4096;
const CR0_PG = 0x80000000;
const CR4_PSE = 0x10;
const CR4_PAE = 0x20;
const EFER_LMA = 0x400;
const PTE_P = 0x1;
const PTE_PS = 0x80;
const NOWHERE = -1;

export class LinearReader {
  private readonly i32: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly cpu: number;

  constructor(memory: WebAssembly.Memory, cpu: number) {
    this.i32 = new Int32Array(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.cpu = cpu;
  }

  /** Physical address of the page tables in use. */
  get pageTables(): number {
    return this.pageTablesOf(this.state(L.CPU_CR3), this.state(L.CPU_CR3 + 4));
  }

  /** Copies what is mapped at `linear` into `into`; gives how many bytes that were before the first that is no memory. */
  read(linear: number, into: Uint8Array, pageTables: number = this.pageTables): number {
    let done = 0;
    while (done < into.length) {
      const at = linear + done;
      const count = Math.min(into.length - done, PAGE - (at & (PAGE - 1)));
      const host = this.host(this.physical(at, pageTables));
      if (host === NOWHERE) break;
      into.set(this.bytes.subarray(host, host + count), done);
      done += count;
    }
    return done;
  }

  private state(offset: number): number {
    return this.i32[(this.cpu + offset) >> 2] ?? 0;
  }

  /** CR3 without flags and PCID. */
  private pageTablesOf(low: number, high: number): number {
    const long = (this.state(L.CPU_EFER) & EFER_LMA) !== 0;
    // PAE paging has a table of 32 bytes that need not begin a page.
    const mask = !long && (this.state(L.CPU_CR4) & CR4_PAE) !== 0 ? ~0x1f : ~0xfff;
    return ((low & mask) >>> 0) + (long ? (high & 0xff) * 2 ** 32 : 0);
  }

  /** Physical address of a linear one. */
  private physical(linear: number, pageTables: number): number {
    const low = linear >>> 0;
    const cr4 = this.state(L.CPU_CR4);
    if ((this.state(L.CPU_CR0) & CR0_PG) === 0) return low;
    if ((this.state(L.CPU_EFER) & EFER_LMA) !== 0) {
      const high = Math.floor(linear / 2 ** 32);
      return this.walk(pageTables, low, high, 39);
    }
    if ((cr4 & CR4_PAE) !== 0) {
      const entry = this.host(pageTables + (low >>> 30) * 8);
      const table = this.entryAt(entry);
      return table === NOWHERE ? NOWHERE : this.walk(table, low, 0, 21);
    }
    return this.walk32(pageTables, low, (cr4 & CR4_PSE) !== 0);
  }

  /** Tables of 512 entries of 8 bytes; `shift` is the lowest address bit that the first table's index has. */
  private walk(first: number, low: number, high: number, shift: number): number {
    let table = first;
    for (let bit = shift; ; bit -= 9) {
      // GUEST: the index is 9 bits, and `host` refuses tables outside of memory.
      const host = this.host(table + indexOf(low, high, bit) * 8);
      const entry = this.entryAt(host);
      if (entry === NOWHERE) return NOWHERE;
      const large = bit > 12 && ((this.i32[host >> 2] ?? 0) & PTE_PS) !== 0;
      if (bit === 12 || large) {
        const size = 2 ** bit;
        const inside = bit === 12 ? low & 0xfff : bit === 21 ? low & 0x1fffff : low & 0x3fffffff;
        return Math.floor(entry / size) * size + inside;
      }
      table = entry;
    }
  }

  private walk32(directory: number, low: number, largePages: boolean): number {
    const pde = this.word(directory + (low >>> 22) * 4);
    if ((pde & PTE_P) === 0) return NOWHERE;
    if (largePages && (pde & PTE_PS) !== 0) return ((pde & 0xffc00000) >>> 0) + (low & 0x3fffff);
    const pte = this.word(((pde & ~0xfff) >>> 0) + ((low >>> 12) & 1023) * 4);
    return (pte & PTE_P) === 0 ? NOWHERE : ((pte & ~0xfff) >>> 0) + (low & 0xfff);
  }

  /** Address in a present entry of 8 bytes. */
  private entryAt(host: number): number {
    if (host === NOWHERE) return NOWHERE;
    const low = this.i32[host >> 2] ?? 0;
    if ((low & PTE_P) === 0) return NOWHERE;
    return ((low & ~0xfff) >>> 0) + ((this.i32[(host >> 2) + 1] ?? 0) & 0xff) * 2 ** 32;
  }

  private word(physical: number): number {
    const host = this.host(physical);
    return host === NOWHERE ? 0 : (this.i32[host >> 2] ?? 0);
  }

  /** Where in the memory a physical address lies; -1 when it is not in RAM or ROM. */
  private host(physical: number): number {
    if (physical === NOWHERE) return NOWHERE;
    const page = Math.floor(physical / PAGE);
    const slots = this.i32[L.MACHINE_SLOT_COUNT >> 2] ?? 0;
    for (let i = 0; i < slots; i++) {
      const at = (L.MACHINE_SLOTS + i * L.SLOT_SIZE) >> 2;
      const first = (this.i32[at + L.SLOT_FIRST_PAGE / 4] ?? 0) >>> 0;
      const pages = (this.i32[at + L.SLOT_PAGES / 4] ?? 0) >>> 0;
      if (page < first || page >= first + pages) continue;
      return ((this.i32[at + L.SLOT_HOST / 4] ?? 0) >>> 0) + (physical - first * PAGE);
    }
    return NOWHERE;
  }
}

function indexOf(low: number, high: number, bit: number): number {
  if (bit === 39) return (high >> 7) & 511;
  if (bit === 30) return ((high << 2) & 0x1fc) | (low >>> 30);
  return (low >>> bit) & 511;
}
