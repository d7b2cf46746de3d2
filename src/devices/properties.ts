/** Device properties: a schema in the device's own file, from which options are read and help is printed. */
import { UserError } from '../base/errors.ts';

export type PropertyType = 'uint8' | 'uint16' | 'uint32' | 'size' | 'bool' | 'string';

export interface PropertyDeclaration {
  readonly type: PropertyType;
  readonly description: string;
  readonly default: number | boolean | string;
}

/** One declaration for each property; `Values` is an interface of the device's own file. */
export type PropertySchema<Values extends object = Record<string, number | boolean | string>> = {
  readonly [Name in keyof Values]: PropertyDeclaration;
};

const LIMITS: Readonly<Record<'uint8' | 'uint16' | 'uint32' | 'size', number>> = {
  uint8: 0xff,
  uint16: 0xffff,
  uint32: 0xffffffff,
  size: Number.MAX_SAFE_INTEGER,
};

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/** Values for a device from option text ("iobase=0x2f8") or typed values; what is not given takes its default. */
export function readProperties<Values extends object>(
  device: string,
  schema: PropertySchema<Values>,
  given: Readonly<Record<string, string | number | boolean>> = {},
): Values {
  const values: Record<string, number | boolean | string> = {};
  // INVARIANT: every property of a schema is a declaration.
  const declarations = schema as Readonly<Record<string, PropertyDeclaration>>;
  for (const [name, declaration] of Object.entries(declarations)) values[name] = declaration.default;
  for (const [name, value] of Object.entries(given)) {
    const declaration = Object.hasOwn(declarations, name) ? declarations[name] : undefined;
    if (!declaration)
      throw new UserError(
        `Device '${device}' has no property '${name}'; it has ${Object.keys(schema).join(', ') || 'none'}.`,
      );
    values[name] = readValue(device, name, declaration.type, value);
  }
  // INVARIANT: one value of the declared type for every name of the schema.
  return values as Values;
}

function readValue(
  device: string,
  name: string,
  type: PropertyType,
  value: string | number | boolean,
): number | boolean | string {
  const wrong = (expected: string): UserError =>
    new UserError(`Property '${name}' of device '${device}' is '${value}', not ${expected}.`);
  if (type === 'string') return String(value);
  if (type === 'bool') {
    if (value === true || value === 'on' || value === 'yes' || value === 'true') return true;
    if (value === false || value === 'off' || value === 'no' || value === 'false') return false;
    throw wrong('on or off');
  }
  const number = typeof value === 'string' ? parseNumber(value, type === 'size') : Number(value);
  if (!(number >= 0 && number <= LIMITS[type] && Number.isInteger(number)))
    throw wrong(`a ${type} (0 to ${LIMITS[type]})`);
  return number;
}

function parseNumber(text: string, withUnit: boolean): number {
  const match = /^(0x[0-9a-f]+|\d+)([bkmgt]?)$/i.exec(text.trim());
  if (!match || (match[2] && !withUnit)) return NaN;
  return Number(match[1]) * (SIZE_UNITS[(match[2] ?? '').toLowerCase()] ?? NaN);
}

/** The lines of `-device NAME,help`. */
export function describeProperties(schema: Readonly<Record<string, PropertyDeclaration>>): string[] {
  return Object.entries(schema).map(
    ([name, { type, description, default: value }]) =>
      `  ${name}=<${type}>  - ${description} (default: ${typeof value === 'boolean' ? (value ? 'on' : 'off') : value})`,
  );
}
