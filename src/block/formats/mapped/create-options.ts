/** Values of creation options, which come as text, checked. */
import { ImageError } from '../../block-error.ts';

type Options = Readonly<Record<string, string>>;

export function boolOption(options: Options, name: string, otherwise = false): boolean {
  const value = options[name];
  if (value === undefined) return otherwise;
  if (value === 'on' || value === 'yes' || value === 'true' || value === 'y') return true;
  if (value === 'off' || value === 'no' || value === 'false' || value === 'n') return false;
  throw new ImageError(`Parameter '${name}' expects 'on' or 'off'`);
}

export function wordOption<T extends string>(options: Options, name: string, words: readonly T[], otherwise: T): T {
  const value = options[name] ?? otherwise;
  const found = words.find((word) => word === value);
  if (found === undefined) throw new ImageError(`Parameter '${name}' does not accept value '${value}'`);
  return found;
}

const UNITS = 'bkmgtpe';

/** A size as the tools take it: digits, perhaps with a fraction, and a unit of 1024. */
export function sizeOption(options: Options, name: string): number | undefined {
  const text = options[name];
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)([bkmgtpe]?)$/i.exec(text);
  // INVARIANT: both groups matched.
  const power = match === null ? 0 : Math.max(0, UNITS.indexOf(match[2]!.toLowerCase()));
  const value = match === null ? Number.NaN : Math.floor(Number(match[1]) * 1024 ** (match[2] === '' ? 0 : power));
  if (!Number.isSafeInteger(value)) throw new ImageError(`Parameter '${name}' expects a size, not '${text}'`);
  return value;
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
