/**
 * Saved state: a kind, a version and named fields, never positions. Values are plain data, so a state travels through
 * structured clone, JSON (bytes as arrays) or state-codec.ts unchanged.
 */
import { UserError } from '../base/errors.ts';

export type StateValue = number | boolean | string | null | Uint8Array | StateValue[] | StateFields;
export interface StateFields {
  [name: string]: StateValue;
}

export interface SavedState {
  readonly kind: string;
  readonly version: number;
  readonly fields: StateFields;
}

/** Whatever can be saved and restored. `load` may throw a UserError for a state it cannot use. */
export interface Saveable {
  save(): SavedState;
  load(state: SavedState): void;
}

/**
 * Reads the named fields of one saved state and complains in one sentence about what is missing or of the wrong type.
 * A saved state comes from outside and is trusted no more than a disk image: readers bound every number.
 */
export class StateReader {
  readonly kind: string;
  readonly version: number;
  private readonly fields: StateFields;

  constructor(state: SavedState, kind: string, newestVersion: number) {
    if (state.kind !== kind) throw new UserError(`Saved state of '${state.kind}' was given to '${kind}'.`);
    if (!(state.version >= 1 && state.version <= newestVersion)) {
      throw new UserError(
        `Saved state of '${kind}' has version ${state.version}; this build reads 1 to ${newestVersion}.`,
      );
    }
    this.kind = kind;
    this.version = state.version;
    this.fields = state.fields;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.fields, name);
  }

  number(name: string, min: number = -Infinity, max: number = Infinity): number {
    const value = this.fields[name];
    if (typeof value !== 'number' || Number.isNaN(value)) throw this.wrong(name, 'a number');
    if (value < min || value > max)
      throw new UserError(`Saved state of '${this.kind}': '${name}' is ${value}, outside ${min} to ${max}.`);
    return value;
  }

  u8(name: string): number {
    return this.integer(name, 0xff);
  }

  u16(name: string): number {
    return this.integer(name, 0xffff);
  }

  u32(name: string): number {
    return this.integer(name, 0xffffffff);
  }

  integer(name: string, max: number): number {
    const value = this.number(name, 0, max);
    if (!Number.isInteger(value)) throw this.wrong(name, 'a whole number');
    return value;
  }

  bool(name: string): boolean {
    const value = this.fields[name];
    if (typeof value !== 'boolean') throw this.wrong(name, 'a boolean');
    return value;
  }

  string(name: string): string {
    const value = this.fields[name];
    if (typeof value !== 'string') throw this.wrong(name, 'a string');
    return value;
  }

  bytes(name: string, sizeBytes?: number): Uint8Array {
    const value = this.fields[name];
    if (!(value instanceof Uint8Array)) throw this.wrong(name, 'bytes');
    if (sizeBytes !== undefined && value.length !== sizeBytes) throw this.wrong(name, `${sizeBytes} bytes`);
    return value;
  }

  /** A list of whole numbers of at most `max`; with `length`, of exactly that many. */
  numbers(name: string, max: number, length?: number): number[] {
    const value = this.fields[name];
    if (!Array.isArray(value) || (length !== undefined && value.length !== length))
      throw this.wrong(name, `a list of ${length ?? 'some'} numbers`);
    return value.map((item) => {
      if (typeof item !== 'number' || !Number.isInteger(item) || item < 0 || item > max)
        throw this.wrong(name, `a list of numbers up to ${max}`);
      return item;
    });
  }

  /** A saved state nested in a field. */
  state(name: string): SavedState {
    const value = this.fields[name];
    if (
      isFields(value) &&
      typeof value['kind'] === 'string' &&
      typeof value['version'] === 'number' &&
      isFields(value['fields'])
    ) {
      return { kind: value['kind'], version: value['version'], fields: value['fields'] };
    }
    throw this.wrong(name, 'a saved state');
  }

  /** Plain named fields in a field. */
  fieldsOf(name: string): StateFields {
    const value = this.fields[name];
    if (!isFields(value)) throw this.wrong(name, 'named fields');
    return value;
  }

  /** A list of named fields; with `length`, of exactly that many. */
  list(name: string, length?: number): StateFields[] {
    const value = this.fields[name];
    if (!Array.isArray(value) || (length !== undefined && value.length !== length) || !value.every(isFields))
      throw this.wrong(name, `a list of ${length ?? 'some'} named fields`);
    return value;
  }

  states(name: string): SavedState[] {
    const value = this.fields[name];
    if (!Array.isArray(value)) throw this.wrong(name, 'a list of saved states');
    return value.map((item, i) =>
      new StateReader({ kind: name, version: 1, fields: { [i]: item } }, name, 1).state(String(i)),
    );
  }

  private wrong(name: string, expected: string): UserError {
    return new UserError(`Saved state of '${this.kind}': field '${name}' is not ${expected}.`);
  }
}

/** A saved state as a field of another one. */
export function nested(state: SavedState): StateFields {
  return { kind: state.kind, version: state.version, fields: state.fields };
}

function isFields(value: StateValue | undefined): value is StateFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}
