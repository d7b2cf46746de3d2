/** Numbers as `orrery io` reads and prints them: sizes with units, pattern bytes, durations, rates. */

/** Largest value that is no overflow: sizes are signed 64-bit numbers. */
const MAX_SIZE = (1n << 63n) - 1n;
const SUFFIXES = 'bkmgtpe';

/** A size such as `64k`, `1.5M`, `0x200`; a sentence to print when it is none. */
export function parseBytes(text: string): number | string {
  const malformed = `Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${text}\n`;
  const match = /^\s*\+?(?:(0x[0-9a-f]+)([kmgtp]?)|(\d+)(?:\.(\d*))?([bkmgtpe]?)|\.(\d+)([bkmgtpe]?))$/i.exec(text);
  if (match === null) return malformed;
  const [, hex, hexSuffix, decimal, decimalFraction, decimalSuffix, bareFraction, bareSuffix] = match;
  const suffix = (hexSuffix ?? decimalSuffix ?? bareSuffix ?? '').toLowerCase();
  const unit = 1n << BigInt(10 * Math.max(0, SUFFIXES.indexOf(suffix)));
  const fraction = Number(`0.${decimalFraction ?? bareFraction ?? ''}0`);
  if (fraction > 0 && unit === 1n) return malformed;
  const value = BigInt(hex ?? decimal ?? 0) * unit + BigInt(Math.trunc(fraction * Number(unit)));
  if (value > MAX_SIZE) return `Parsing error: argument too large -- ${text}\n`;
  // Above 2^53 nothing can be addressed; that the last digits are lost does not matter to a request that fails.
  return Number(value);
}

/** strtol(3) with base 0: decimal, `0x…` or octal with a leading zero. NaN for anything else. */
export function parseLong(text: string): number {
  const match = /^\s*([+-]?)(?:0x([0-9a-f]+)|0([0-7]*)|([1-9]\d*))$/i.exec(text);
  if (match === null) return Number.NaN;
  const [, sign, hex, octal, decimal] = match;
  const digits = hex ?? (octal === undefined ? decimal : `0${octal}`) ?? '';
  const value = Number.parseInt(digits, hex === undefined ? (octal === undefined ? 10 : 8) : 16);
  return sign === '-' ? -value : value;
}

/** The byte of `-P`, or a sentence to print when it is none. */
export function parsePattern(text: string): number | string {
  const value = parseLong(text);
  return value >= 0 && value <= 0xff ? value : `${text} is not a valid pattern byte\n`;
}

const UNITS = ['EiB', 'PiB', 'TiB', 'GiB', 'MiB', 'KiB'] as const;

/** `64 KiB`, `1.500 MiB`, `12 bytes`. */
export function sizeText(bytes: number): string {
  for (const [place, unit] of UNITS.entries()) {
    const scale = 1024 ** (UNITS.length - place);
    if (bytes >= scale) return withUnit((bytes / scale).toFixed(3), unit);
  }
  return withUnit(bytes.toFixed(6), 'bytes');
}

/** Digits behind the point are left out when they begin with three zeroes. */
function withUnit(figure: string, unit: string): string {
  const point = figure.indexOf('.000');
  return `${point < 0 ? figure : figure.slice(0, point)} ${unit}`;
}

export interface Report {
  /** "read", "wrote", "discard". */
  readonly what: string;
  readonly offset: number;
  readonly bytes: number;
  readonly elapsedMs: number;
  /** `-C`: figures between commas. */
  readonly commas: boolean;
}

/** What is printed of a transfer that succeeded. */
export function reportText({ what, offset, bytes, elapsedMs, commas }: Report): string {
  const seconds = Math.max(elapsedMs, 1e-6) / 1000;
  if (commas) {
    return `${bytes},1,${clock(seconds)},${(bytes / seconds).toFixed(3)},${(1 / seconds).toFixed(3)}\n`;
  }
  const time = seconds >= 1 ? clock(seconds) : `${seconds.toFixed(2).padStart(5, '0')} sec`;
  const rates = `${sizeText(bytes / seconds)}/sec and ${(1 / seconds).toFixed(4)} ops/sec`;
  return `${what} ${bytes}/${bytes} bytes at offset ${offset}\n${sizeText(bytes)}, 1 ops; ${time} (${rates})\n`;
}

function clock(seconds: number): string {
  const whole = Math.trunc(seconds);
  const minutes = String(Math.trunc(whole / 60) % 60).padStart(2, '0');
  const rest = ((whole % 60) + (seconds - whole)).toFixed(2).padStart(5, '0');
  return `${Math.trunc(whole / 3600)}:${minutes}:${rest}`;
}

/** Sixteen bytes a line, each in hexadecimal and, when it is a letter or a digit, as itself. */
export function dumpText(bytes: Uint8Array, offset: number): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const hex = row.map((byte) => `${byte.toString(16).padStart(2, '0')} `).join('');
    const letters = row.map((byte) => String.fromCharCode(byte).replace(/[^0-9A-Za-z]/, '.')).join('');
    text += `${(offset + at).toString(16).padStart(8, '0')}:  ${hex} ${letters}\n`;
  }
  return text;
}
