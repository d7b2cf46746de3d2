/** Sizes as people write them, and as they are told. */
import { ImgFailure } from './arguments.ts';
import { calledAs } from '../called-as.ts';

const SUFFIXES = 'BKMGTPE';
const MAX_INT64 = '9223372036854775807';

/** Sizes are signed 64-bit numbers; beyond 2^53 they are not exact, and refused by whoever would have to be. */
export const MAX_SIZE: number = 2 ** 63 - 1024;

/** Bytes of "64k", "1.5G", "0x200"; undefined: no size at all; Infinity: more than MAX_SIZE. */
export function sizeOf(text: string): number | undefined {
  const match = /^\s*\+?(?:(0x[0-9a-f]+)|(\d+(?:\.\d*)?|\.\d+)([bkmgtpe]?))$/i.exec(text);
  if (match === null) return undefined;
  const [, hex, decimal = '', suffix = ''] = match;
  if (hex !== undefined) return limited(Number(hex));
  const unit = 1024 ** Math.max(SUFFIXES.indexOf(suffix.toUpperCase()), 0);
  if (unit === 1 && decimal.includes('.') && Number(decimal) % 1 !== 0) return undefined;
  return limited(Math.trunc(Number(decimal) * unit));
}

function limited(bytes: number): number {
  return bytes > MAX_SIZE ? Number.POSITIVE_INFINITY : bytes;
}

/** A size that `what` tells on errors. */
export function parseNumber(what: string, text: string, min = 0, max: number = Number.MAX_SAFE_INTEGER): number {
  const bytes = sizeOf(text);
  if (bytes === undefined) {
    throw new ImgFailure(
      `Invalid ${what} specified. You may use k, M, G, T, P or E suffixes for\n` +
        `${calledAs('img')}: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.`,
    );
  }
  if (bytes < min || bytes > max) {
    const upper = max >= Number.MAX_SAFE_INTEGER ? MAX_INT64 : String(max);
    throw new ImgFailure(`Invalid ${what} specified. Must be between ${min} and ${upper}.`);
  }
  return bytes;
}

/** All digits, also of large ones. */
export function digitsOf(bytes: number): string {
  return String(BigInt(bytes));
}

const UNITS = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

/** "1.5 GiB": three digits, of the unit that has fewer than four before the point. */
export function sizeText(bytes: number): string {
  const power = bytes === 0 ? 0 : Math.max(0, Math.floor(Math.log2(bytes / (1000 / 1024)) / 10));
  return `${threeDigits(bytes / 1024 ** power)} ${UNITS[power] ?? ''}B`;
}

/** printf's %.3g. */
function threeDigits(value: number): string {
  if (value === 0) return '0';
  const text = value.toPrecision(3);
  if (!text.includes('e')) return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
  const [mantissa = '', exponent = ''] = text.split('e');
  const sign = exponent.startsWith('-') ? '-' : '+';
  return `${mantissa.includes('.') ? mantissa.replace(/\.?0+$/, '') : mantissa}e${sign}${exponent.replace(/^[+-]/, '').padStart(2, '0')}`;
}
