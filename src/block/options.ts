/** Options of nodes as people write them: file names, "a.b=c" keys, "json:{…}"; and what comes out as nested JSON. */
import { ImageError } from './block-error.ts';
import type { NodeOptions } from './driver.ts';
import type { JsonValue } from './node.ts';

/** How deep options may nest: a chain of hand-written nodes is short, and a deeper one only serves to exhaust the stack. */
const MAX_OPTION_DEPTH = 64;

/** {"file.driver": "x", "size": "1"} becomes {"file": {"driver": "x"}, "size": "1"}; "extents.0" becomes a list. At any depth. */
export function nestOptions(flat: Readonly<Record<string, JsonValue>>): NodeOptions {
  // INVARIANT: lists come from objects, and the root is none.
  return withLists(nested(flat, 0)) as NodeOptions;
}

function nested(flat: Readonly<Record<string, JsonValue>>, depth: number): Record<string, JsonValue> {
  const root: Record<string, JsonValue> = {};
  for (const [path, value] of Object.entries(flat)) {
    const steps = path.split('.');
    if (depth + steps.length > MAX_OPTION_DEPTH) throw new ImageError(`Option '${path.slice(0, 80)}…' nests too deep`);
    let at = root;
    for (const step of steps.slice(0, -1)) {
      const found = Object.hasOwn(at, step) ? at[step] : undefined;
      // The one option that is a word and has parts.
      const isBoth = typeof found === 'string' && step === 'overlap-check';
      if (found !== undefined && !isBoth && !isObject(found))
        throw new ImageError(`Option '${path}' and option '${step}' exclude each other`);
      const next: Record<string, JsonValue> = isObject(found) ? { ...found } : {};
      if (isBoth) next[''] = found;
      define(at, step, next);
      at = next;
    }
    const last = steps.at(-1) ?? '';
    const present = Object.hasOwn(at, last) ? at[last] : undefined;
    const inner = isObject(value) ? nested(value, depth + steps.length) : value;
    define(at, last, isObject(present) && isObject(inner) ? { ...present, ...inner } : inner);
  }
  return root;
}

function isObject(value: JsonValue | undefined): value is NodeOptions {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Also for names like "__proto__". */
function define(target: Record<string, JsonValue>, name: string, value: JsonValue): void {
  Object.defineProperty(target, name, { value, writable: true, enumerable: true, configurable: true });
}

function withLists(value: JsonValue): JsonValue {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).map(([name, inner]): [string, JsonValue] => [name, withLists(inner)]);
  const isList = entries.length > 0 && entries.every(([name], i) => name === String(i));
  if (isList) return entries.map(([, inner]) => inner);
  const copy: Record<string, JsonValue> = {};
  for (const [name, inner] of entries) define(copy, name, inner);
  return copy;
}

/** The nested options of "json:{…}", or undefined for any other name. */
export function jsonFilename(filename: string): NodeOptions | undefined {
  if (!filename.startsWith('json:')) return undefined;
  let value: JsonValue;
  try {
    // INVARIANT: JSON.parse gives JSON.
    value = JSON.parse(doubleQuoted(filename.slice(5))) as JsonValue;
  } catch {
    throw new ImageError('Could not parse the JSON options');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ImageError('Invalid JSON object given');
  // INVARIANT: an object, see above.
  return nestOptions(value as Record<string, JsonValue>);
}

/** JSON whose strings may stand in single quotes, so that it can stand in a shell's double ones. */
function doubleQuoted(text: string): string {
  return text.replace(/"(?:[^"\\]|\\.)*"|'((?:[^'\\]|\\.)*)'/gs, (whole, single: string | undefined) => {
    if (single === undefined) return whole;
    return `"${single.replace(/\\'/g, "'").replace(/(\\.)|"/gs, (_, escape?: string) => escape ?? '\\"')}"`;
  });
}

/** Options of a child by its name, which may be a path ("extents.0"). */
export function childOption(options: NodeOptions, name: string): JsonValue | undefined {
  let value: JsonValue | undefined = options;
  for (const step of name.split('.')) {
    if (typeof value !== 'object' || value === null) return undefined;
    // INVARIANT: objects and lists are both read by name.
    value = (value as Readonly<Record<string, JsonValue>>)[step];
  }
  return value;
}

export function textOption(options: NodeOptions, name: string): string | undefined {
  const value = options[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'object') throw new ImageError(`Invalid parameter type for '${name}', expected: string`);
  return String(value);
}

export function boolOption(options: NodeOptions, name: string, otherwise: boolean): boolean {
  const value = options[name];
  if (value === undefined) return otherwise;
  if (value === true || value === 'on' || value === 'yes' || value === 'true' || value === 'y') return true;
  if (value === false || value === 'off' || value === 'no' || value === 'false' || value === 'n') return false;
  throw new ImageError(`Parameter '${name}' expects 'on' or 'off'`);
}

const SUFFIXES = 'BKMGTPE';

/** A number of bytes, with a suffix like 64k; 1.5G too. */
export function sizeOption(options: NodeOptions, name: string): number | undefined {
  const text = textOption(options, name);
  return text === undefined ? undefined : parseSize(text, name);
}

export function parseSize(text: string, name: string): number {
  const match = /^\s*(0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?)([bkmgtpeBKMGTPE]?)$/.exec(text);
  if (match === null) {
    throw new ImageError(`Parameter '${name}' expects a non-negative number below 2^64`);
  }
  const power = Math.max(SUFFIXES.indexOf((match[2] ?? '').toUpperCase()), 0);
  const bytes = Math.trunc(Number(match[1]) * 1024 ** power);
  if (!Number.isSafeInteger(bytes)) throw new ImageError(`Value '${text}' is too large for parameter '${name}'`);
  return bytes;
}
