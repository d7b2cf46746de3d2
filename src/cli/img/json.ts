/**
 * JSON as QEMU's tools print it: four spaces, and the members of an object in the order of QEMU's hash table (512 buckets by the hash
 * of the trivial database, the latest first within one), which its human-readable output of a format's facts follows too.
 */
import type { JsonValue } from '../../block/node.ts';

const BUCKETS = 512;

function hashOf(name: string): number {
  const bytes = new TextEncoder().encode(name);
  let value = Math.imul(0x238f13af, bytes.length);
  for (const [i, byte] of bytes.entries()) value = (value + (byte << ((i * 5) % 24))) | 0;
  return (Math.imul(1103515243, value) + 12345) >>> 0;
}

/** Without members that nobody knows. */
export function knownMembers(object: Readonly<Record<string, JsonValue | undefined>>): Record<string, JsonValue> {
  const known = Object.entries(object).filter((entry): entry is [string, JsonValue] => entry[1] !== undefined);
  return Object.fromEntries(known);
}

/** Members in QEMU's order. */
export function membersOf(object: Readonly<Record<string, JsonValue>>): [string, JsonValue][] {
  return Object.entries(object)
    .map(([name, value], index) => ({ name, value, bucket: hashOf(name) % BUCKETS, index }))
    .sort((a, b) => a.bucket - b.bucket || b.index - a.index)
    .map(({ name, value }) => [name, value]);
}

/** Text without a newline at its end. */
export function jsonText(value: JsonValue, indent = ''): string {
  if (typeof value !== 'object' || value === null) return asciiJson(value);
  const inner = `${indent}    `;
  const isList = Array.isArray(value);
  const parts = isList
    ? // INVARIANT: a list of JSON values.
      (value as readonly JsonValue[]).map((item) => inner + jsonText(item, inner))
    : // INVARIANT: not a list, so an object.
      membersOf(value as Readonly<Record<string, JsonValue>>).map(
        ([name, item]) => `${inner}${asciiJson(name)}: ${jsonText(item, inner)}`,
      );
  const [open, close] = isList ? '[]' : '{}';
  return parts.length === 0 ? `${open}\n${indent}${close}` : `${open}\n${parts.join(',\n')}\n${indent}${close}`;
}

/** A scalar; what is no ASCII is escaped. */
export function asciiJson(value: string | number | boolean | null): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
  );
}
