/**
 * Linux's own symbol table, kallsyms, read from a running kernel's memory, for kernels that come without a System.map. The
 * layout is not announced anywhere, so it is found by what it must contain (scripts/kallsyms.c of Linux writes it):
 *
 *     token table   256 NUL-terminated strings; those of the digits are the digits themselves
 *     token index   256 u16: offset of each string
 *     markers       u32: offset in `names` of each 256th symbol, the first 0; somewhere before the token table
 *     num_syms      u32 with padding, right before names
 *     names         for each symbol a length (two bytes when the first has bit 7) and that many tokens; the first character
 *                   of the text is the type letter
 *     offsets       i32 for each symbol; with relative_base, an address, behind them. Either before num_syms (up to Linux 6.3) or
 *                   behind the token index (since 6.4)
 *
 * A negative offset `o` stands for relative_base - 1 - o; offsets from 0 up are absolute where others are negative, else they
 * count from relative_base. Kernels older than 4.20 have other markers and are not read.
 */
import { viewOf } from '../../base/bytes.ts';
import { type CodeSymbol, symbolKind } from './symbol-table.ts';

const TOKENS = 256;
const MARKER_STEP = 256;
/** Markers that are looked at to be sure that they are some; a kernel has hundreds. */
const SURE_MARKERS = 8;
/** A symbol's name takes 2 to 64 bytes on average over 256 symbols. */
const MIN_STEP_BYTES = MARKER_STEP * 2;
const MAX_STEP_BYTES = MARKER_STEP * 64;
/** How far before the token table the markers may begin, and names before them. */
const MARKERS_WITHIN = 4 << 20;
const NAMES_WITHIN = 16 << 20;
const MAX_SYMBOLS = 1 << 20;
const DIGITS = Uint8Array.from('0123456789', (digit) => digit.charCodeAt(0));

/**
 * The symbols of the kernel whose memory `image` is a copy of, or undefined when there are none to be found. `pointerBytes` is 8 for a
 * 64-bit kernel, else 4.
 */
export function readKallsyms(image: Uint8Array, pointerBytes: 4 | 8): CodeSymbol[] | undefined {
  for (let digits = findDigits(image, 0); digits >= 0; digits = findDigits(image, digits + 1)) {
    const tokens = readTokens(image, digits);
    if (tokens === undefined) continue;
    const found = new Kallsyms(image, pointerBytes, tokens).read();
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Offset of "0\01\0…9\0". */
function findDigits(image: Uint8Array, from: number): number {
  for (let at = image.indexOf(0x30, from); at >= 0; at = image.indexOf(0x30, at + 1)) {
    if (DIGITS.every((digit, i) => image[at + i * 2] === digit && image[at + i * 2 + 1] === 0)) return at;
  }
  return -1;
}

interface Tokens {
  readonly start: number;
  /** Behind the token index. */
  readonly end: number;
  readonly texts: readonly string[];
}

/** The token table around the digits, and the index behind it, if the one fits the other. */
function readTokens(image: Uint8Array, digits: number): Tokens | undefined {
  let start = digits;
  for (let token = DIGITS[0] ?? 0; token > 0; token--) {
    const end = start - 1;
    start = image.lastIndexOf(0, end - 1) + 1;
    if (end - start > 128) return undefined;
  }
  const offsets: number[] = [];
  const texts: string[] = [];
  let at = start;
  for (let token = 0; token < TOKENS; token++) {
    const end = image.indexOf(0, at);
    if (end < 0 || end - at > 128) return undefined;
    offsets.push(at - start);
    texts.push(String.fromCharCode(...image.subarray(at, end)));
    at = end + 1;
  }
  const view = viewOf(image);
  for (const alignment of [4, 8]) {
    const index = Math.ceil(at / alignment) * alignment;
    if (index + TOKENS * 2 > image.length) return undefined;
    if (offsets.every((offset, i) => view.getUint16(index + i * 2, true) === offset)) {
      return { start, end: index + TOKENS * 2, texts };
    }
  }
  return undefined;
}

class Kallsyms {
  private readonly image: Uint8Array;
  private readonly view: DataView;
  private readonly pointerBytes: 4 | 8;
  private readonly tokens: Tokens;

  constructor(image: Uint8Array, pointerBytes: 4 | 8, tokens: Tokens) {
    this.image = image;
    this.view = viewOf(image);
    this.pointerBytes = pointerBytes;
    this.tokens = tokens;
  }

  read(): CodeSymbol[] | undefined {
    const markers = this.findMarkers();
    const names = markers === undefined ? undefined : this.findNames(markers.at, markers.offsets);
    if (names === undefined) return undefined;
    const addresses = this.addressesOf(names.count, names.at - this.pointerBytes);
    if (addresses === undefined) return undefined;
    return names.texts.map((text, i) => ({
      address: addresses[i] ?? 0,
      name: text.slice(1),
      ...symbolKind(text[0] ?? ''),
    }));
  }

  /** The nearest array before the token table that grows as markers do. */
  private findMarkers(): { at: number; offsets: number[] } | undefined {
    const stop = Math.max(0, this.tokens.start - MARKERS_WITHIN);
    for (let at = this.tokens.start & ~3; at >= stop; at -= 4) {
      if (this.u32(at) !== 0) continue;
      const offsets = [0];
      for (let next = at + 4; next + 4 <= this.tokens.start; next += 4) {
        const step = this.u32(next) - (offsets.at(-1) ?? 0);
        if (step < MIN_STEP_BYTES || step > MAX_STEP_BYTES) break;
        offsets.push(this.u32(next));
      }
      if (offsets.length >= SURE_MARKERS) return { at, offsets };
    }
    return undefined;
  }

  /** Names that agree with all markers, by the count before them. */
  private findNames(
    markersAt: number,
    markers: readonly number[],
  ): { at: number; count: number; texts: string[] } | undefined {
    const last = markers.at(-1) ?? 0;
    const stop = Math.max(0, markersAt - NAMES_WITHIN);
    for (let at = (markersAt - last) & ~3; at - this.pointerBytes >= stop; at -= 4) {
      const count = this.u32(at - this.pointerBytes);
      if (this.pointerBytes === 8 && this.u32(at - 4) !== 0) continue;
      if (count <= (markers.length - 1) * MARKER_STEP || count > markers.length * MARKER_STEP) continue;
      if (count > MAX_SYMBOLS) continue;
      const texts = this.readNames(at, count, markers, markersAt);
      if (texts !== undefined) return { at, count, texts };
    }
    return undefined;
  }

  private readNames(at: number, count: number, markers: readonly number[], end: number): string[] | undefined {
    const { image, tokens } = this;
    const texts: string[] = [];
    let next = at;
    for (let symbol = 0; symbol < count; symbol++) {
      if (symbol % MARKER_STEP === 0 && next - at !== markers[symbol / MARKER_STEP]) return undefined;
      let length = image[next++] ?? 0;
      if ((length & 0x80) !== 0) length = (length & 0x7f) | ((image[next++] ?? 0) << 7);
      // GUEST: a length leads at most to the markers.
      if (length === 0 || next + length > end) return undefined;
      let text = '';
      for (let i = 0; i < length; i++) text += tokens.texts[image[next + i] ?? 0] ?? '';
      texts.push(text);
      next += length;
    }
    return texts;
  }

  private addressesOf(count: number, countAt: number): number[] | undefined {
    const { pointerBytes } = this;
    const align = (value: number): number => Math.ceil(value / pointerBytes) * pointerBytes;
    const before = countAt - pointerBytes - align(count * 4);
    const behind = align(this.tokens.end);
    return (
      this.relativeTo(countAt - pointerBytes, before, count) ??
      this.relativeTo(behind + align(count * 4), behind, count)
    );
  }

  /** Addresses from offsets, if they are the offsets of a sorted table. */
  private relativeTo(baseAt: number, offsetsAt: number, count: number): number[] | undefined {
    if (offsetsAt < 0 || baseAt + this.pointerBytes > this.image.length) return undefined;
    const { view } = this;
    const low = this.u32(baseAt);
    const base = this.pointerBytes === 8 ? view.getInt32(baseAt + 4, true) * 2 ** 32 + low : low;
    // A kernel lies in the upper half, at a page.
    if ((this.pointerBytes === 8 ? base >= 0 : base < 2 ** 31) || base % 4096 !== 0) return undefined;
    const offsets = Array.from({ length: count }, (_, i) => view.getInt32(offsetsAt + i * 4, true));
    const negative = offsets.filter((offset) => offset < 0).length;
    const addresses = offsets.map((offset) => {
      if (offset < 0) return base - 1 - offset;
      return negative * 2 > count ? offset : base + offset;
    });
    let unsorted = 0;
    for (let i = 1; i < count; i++) if ((addresses[i] ?? 0) < (addresses[i - 1] ?? 0)) unsorted++;
    // Absolute ones stand first, and are small: there the order breaks once.
    return unsorted <= 1 ? addresses : undefined;
  }

  private u32(at: number): number {
    return at >= 0 && at + 4 <= this.image.length ? this.view.getUint32(at, true) : 0;
  }
}
