/**
 * Names of code by address. Addresses are numbers, sign-extended from 64 bits where they are a 64-bit kernel's, which keeps them
 * exact (VcpuPlace).
 */

export interface CodeSymbol {
  readonly address: number;
  readonly name: string;
  /** What lies here is code; other symbols only bound the one before. */
  readonly code: boolean;
  readonly global: boolean;
}

/** A file that brings symbols: a kernel's System.map, or an ELF file with a symbol table. */
export interface SymbolFile {
  /** For messages. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A function that an address lies in. */
export interface FoundSymbol {
  readonly name: string;
  readonly address: number;
}

/** No function is longer; an address farther behind the last symbol belongs to something without a name. */
const LONGEST_FUNCTION = 1 << 20;
/** Marks of tools at the addresses of functions. */
const MARK = /^(?:__pfx_|__cfi_|\$[xtad])/;

export class SymbolTable {
  private readonly addresses: Float64Array;
  private readonly symbols: readonly CodeSymbol[];
  private readonly byName = new Map<string, number>();

  constructor(symbols: readonly CodeSymbol[]) {
    const sorted = symbols.toSorted((a, b) => a.address - b.address || rank(b) - rank(a));
    this.symbols = sorted.filter((symbol, i) => i === 0 || sorted[i - 1]?.address !== symbol.address);
    this.addresses = Float64Array.from(this.symbols, ({ address }) => address);
    for (const { name, address } of symbols) this.byName.set(name, address);
  }

  /** Whether it names any code. */
  get hasCode(): boolean {
    return this.symbols.some(({ code }) => code);
  }

  addressOf(name: string): number | undefined {
    return this.byName.get(name);
  }

  /** The function that `address` lies in. */
  find(address: number): FoundSymbol | undefined {
    let low = 0;
    let high = this.addresses.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      // INVARIANT: low <= middle < high <= length.
      if (this.addresses[middle]! <= address) low = middle + 1;
      else high = middle;
    }
    const symbol = this.symbols[low - 1];
    return symbol?.code === true && address - symbol.address < LONGEST_FUNCTION ? symbol : undefined;
  }
}

/** Which of several names for one address is shown: that of code, of a function rather than a mark, a global one. */
function rank({ code, global, name }: CodeSymbol): number {
  return (code ? 4 : 0) + (MARK.test(name) ? 0 : 2) + (global ? 1 : 0);
}

/** Sixteen or fewer hexadecimal digits as a number; 64-bit values above 2^63 are negative. */
function addressFrom(digits: string): number {
  if (digits.length < 16) return Number.parseInt(digits, 16);
  return (Number.parseInt(digits.slice(0, -8), 16) | 0) * 2 ** 32 + Number.parseInt(digits.slice(-8), 16);
}

/** Reads the lines `address type name` of a System.map or of /proc/kallsyms. */
export function readSystemMap(text: string): CodeSymbol[] {
  const symbols: CodeSymbol[] = [];
  for (const line of text.split('\n')) {
    const match = /^([0-9a-f]{8,16}) ([a-zA-Z]) (\S+)/.exec(line);
    if (match === null) continue;
    const [, digits = '', type = '', name = ''] = match;
    symbols.push({ address: addressFrom(digits), name, ...symbolKind(type) });
  }
  return symbols;
}

/** By nm's letter: T and W are code, capitals are global. */
export function symbolKind(letter: string): { readonly code: boolean; readonly global: boolean } {
  return { code: 'tTwW'.includes(letter), global: letter === 'T' || letter === 'W' };
}
