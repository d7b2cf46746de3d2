/**
 * The values of QEMU's options: `name,key=value,flag` lists in which a doubled comma stands for one comma, sizes with units,
 * switches.
 */
import { UserError } from '../../base/errors.ts';

export interface OptionList {
  /** What stands before the first comma without a '=': the driver, backend or machine name. */
  readonly name: string | undefined;
  readonly properties: Readonly<Record<string, string>>;
}

/** Splits at single commas; `,,` is a comma. */
function splitCommas(text: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== ',') part += text[at];
    else if (text[at + 1] === ',') {
      part += ',';
      at++;
    } else {
      parts.push(part);
      part = '';
    }
  }
  parts.push(part);
  return parts;
}

/** `e1000,netdev=n0,multifunction=on`. A word without '=' after the first means `word=on`, and `noword` is left to the user. */
export function parseOptionList(option: string, text: string): OptionList {
  const properties: Record<string, string> = {};
  let name: string | undefined;
  for (const [index, part] of splitCommas(text).entries()) {
    const equals = part.indexOf('=');
    if (equals < 0 && index === 0) name = part;
    else if (equals < 0) {
      if (part === '') throw new UserError(`-${option} ${text}: there is nothing between two commas`);
      properties[part] = 'on';
    } else properties[part.slice(0, equals)] = part.slice(equals + 1);
  }
  return { name, properties };
}

const UNITS: Readonly<Record<string, number>> = { b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/** A size such as `512M` or `0x10000000`, in bytes; `defaultUnit` is that of a bare number. */
export function parseSize(option: string, text: string, defaultUnit: 'b' | 'm'): number {
  const match = /^(0x[0-9a-f]+|\d+(?:\.\d+)?)([bkmgt]?)(?:i?b)?$/i.exec(text);
  const unit = UNITS[(match?.[2] || defaultUnit).toLowerCase()];
  if (match === null || unit === undefined) {
    throw new UserError(`-${option}: '${text}' is not a size such as 512M or 2G`);
  }
  return Math.round(Number(match[1]) * unit);
}

export function parseInteger(option: string, text: string, min: number, max: number): number {
  const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max))
    throw new UserError(`-${option}: '${text}' is not a number from ${min} to ${max}`);
  return value;
}

export function parseSwitch(option: string, text: string): boolean {
  if (text === 'on' || text === 'yes' || text === 'true') return true;
  if (text === 'off' || text === 'no' || text === 'false') return false;
  throw new UserError(`-${option}: '${text}' is neither on nor off`);
}
