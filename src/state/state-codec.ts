/**
 * Saved states as bytes. Each value is a tag byte and its content, little-endian; names are written out, so that a reader
 * needs no schema and a reordered or extended state still reads. What comes in is from outside: every length is checked
 * against what is left, and nesting is bounded.
 */
import { ByteBuilder, viewOf } from '../base/bytes.ts';
import { UserError } from '../base/errors.ts';
import type { SavedState, StateFields, StateValue } from './state.ts';

const MAGIC = 'ORST';
const FORMAT_VERSION = 1;
/** Deeper than any state of ours, and shallow enough for the stack. */
const MAX_DEPTH = 32;

const TAG_NULL = 0;
const TAG_FALSE = 1;
const TAG_TRUE = 2;
const TAG_INTEGER = 3; // u32
const TAG_NUMBER = 4; // IEEE double
const TAG_STRING = 5; // u32 length, UTF-8
const TAG_BYTES = 6; // u32 length
const TAG_LIST = 7; // u32 count, values
const TAG_FIELDS = 8; // u32 count, then name (u32 length, UTF-8) and value each

export function encodeState(state: SavedState): Uint8Array {
  const builder = new ByteBuilder().text(MAGIC).u32(FORMAT_VERSION);
  writeValue(builder, { kind: state.kind, version: state.version, fields: state.fields });
  return builder.build();
}

/** Throws a UserError for what is not a saved state. */
export function decodeState(bytes: Uint8Array): SavedState {
  const reader = new Decoder(bytes);
  const { kind, version, fields } = reader.state();
  if (typeof kind !== 'string' || typeof version !== 'number' || !isFields(fields)) throw broken('it has no kind');
  return { kind, version, fields };
}

function writeValue(builder: ByteBuilder, value: StateValue): void {
  if (value === null) builder.u8(TAG_NULL);
  else if (typeof value === 'boolean') builder.u8(value ? TAG_TRUE : TAG_FALSE);
  else if (typeof value === 'string') writeText(builder.u8(TAG_STRING), value);
  else if (typeof value === 'number') writeNumber(builder, value);
  else if (value instanceof Uint8Array) builder.u8(TAG_BYTES).u32(value.length).raw(value);
  else if (Array.isArray(value)) {
    builder.u8(TAG_LIST).u32(value.length);
    for (const item of value) writeValue(builder, item);
  } else {
    const entries = Object.entries(value);
    builder.u8(TAG_FIELDS).u32(entries.length);
    for (const [name, item] of entries) {
      writeText(builder, name);
      writeValue(builder, item);
    }
  }
}

function writeNumber(builder: ByteBuilder, value: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= 0xffffffff && !Object.is(value, -0)) {
    builder.u8(TAG_INTEGER).u32(value);
    return;
  }
  const bytes = new Uint8Array(8);
  viewOf(bytes).setFloat64(0, value, true);
  builder.u8(TAG_NUMBER).raw(bytes);
}

function writeText(builder: ByteBuilder, text: string): void {
  const bytes = new TextEncoder().encode(text);
  builder.u32(bytes.length).raw(bytes);
}

class Decoder {
  private readonly bytes: Uint8Array;
  private at: number = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  state(): StateFields {
    const magic = new TextDecoder().decode(this.take(MAGIC.length));
    if (magic !== MAGIC) throw broken('it does not begin as one');
    const version = this.u32();
    if (version !== FORMAT_VERSION) throw broken(`its format ${version} is not known to this build`);
    const value = this.value(0);
    if (!isFields(value)) throw broken('it has no fields');
    if (this.at !== this.bytes.length) throw broken('something follows it');
    return value;
  }

  private value(depth: number): StateValue {
    if (depth > MAX_DEPTH) throw broken('it is nested too deeply');
    const [tag] = this.take(1);
    switch (tag) {
      case TAG_NULL:
        return null;
      case TAG_FALSE:
        return false;
      case TAG_TRUE:
        return true;
      case TAG_INTEGER:
        return this.u32();
      case TAG_NUMBER:
        return viewOf(this.take(8)).getFloat64(0, true);
      case TAG_STRING:
        return this.text();
      case TAG_BYTES:
        return this.take(this.u32()).slice();
      case TAG_LIST:
        return this.list(depth);
      case TAG_FIELDS:
        return this.fields(depth);
      default:
        throw broken(`tag ${tag} is not known`);
    }
  }

  private list(depth: number): StateValue[] {
    const count = this.count();
    const list: StateValue[] = [];
    for (let i = 0; i < count; i++) list.push(this.value(depth + 1));
    return list;
  }

  private fields(depth: number): StateFields {
    const count = this.count();
    const entries: [string, StateValue][] = [];
    for (let i = 0; i < count; i++) {
      const name = this.text();
      entries.push([name, this.value(depth + 1)]);
    }
    // fromEntries defines properties: a field named __proto__ is a field like any other.
    return Object.fromEntries(entries);
  }

  /** A number of values; each takes at least a byte, which bounds it. */
  private count(): number {
    const count = this.u32();
    if (count > this.bytes.length - this.at) throw broken('it is truncated');
    return count;
  }

  private text(): string {
    return new TextDecoder().decode(this.take(this.u32()).slice());
  }

  private u32(): number {
    const value = this.take(4);
    return viewOf(value).getUint32(0, true);
  }

  private take(count: number): Uint8Array {
    if (count > this.bytes.length - this.at) throw broken('it is truncated');
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
}

function isFields(value: StateValue | undefined): value is StateFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

function broken(why: string): UserError {
  return new UserError(`The saved state cannot be read: ${why}.`);
}
