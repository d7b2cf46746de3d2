/**
 * Typed WebAssembly expressions: trees that are written into a function body when a statement consumes them.
 *
 * An `Expr` is evaluated where it is consumed, as often as it is consumed, so a tree that reads memory or is used more
 * than once goes through `FunctionBuilder.let` first. Mixed types are refused when the tree is built.
 * Opcodes: WebAssembly core specification 3.0, chapter 5.4.
 */
import type { ByteWriter } from './byte-writer.ts';

export type ValType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';
export type IntType = 'i32' | 'i64';
export type FloatType = 'f32' | 'f64';

export const VAL_TYPE_CODE: Record<ValType, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

const enc = new DataView(new ArrayBuffer(8));

function mismatch(what: string, left: ValType, right: ValType): never {
  throw new TypeError(`wasm expression ${what}: ${left} and ${right} do not go together`);
}

/** How a node's immediates are written after its opcode. */
type Emit = (w: ByteWriter) => void;

/** Opcode prefix spaces: 0xFC (saturating, bulk), 0xFD (SIMD), 0xFE (atomics), written as prefix * 0x1000 + opcode. */
const PREFIX_SHIFT = 12;
export const SIMD: number = 0xfd << PREFIX_SHIFT;
export const ATOMIC: number = 0xfe << PREFIX_SHIFT;
export const MISC: number = 0xfc << PREFIX_SHIFT;

function writeOpcode(w: ByteWriter, opcode: number): void {
  if (opcode < 0x100) {
    w.byte(opcode);
  } else {
    w.byte(opcode >>> PREFIX_SHIFT);
    w.u32(opcode & ((1 << PREFIX_SHIFT) - 1));
  }
}

/** [i32, i64] opcodes of the integer operations that both types have. */
const INT = {
  eqz: [0x45, 0x50], eq: [0x46, 0x51], ne: [0x47, 0x52], lt_s: [0x48, 0x53], lt_u: [0x49, 0x54], gt_s: [0x4a, 0x55],
  gt_u: [0x4b, 0x56], le_s: [0x4c, 0x57], le_u: [0x4d, 0x58], ge_s: [0x4e, 0x59], ge_u: [0x4f, 0x5a],
  clz: [0x67, 0x79], ctz: [0x68, 0x7a], popcnt: [0x69, 0x7b], add: [0x6a, 0x7c], sub: [0x6b, 0x7d], mul: [0x6c, 0x7e],
  div_s: [0x6d, 0x7f], div_u: [0x6e, 0x80], rem_s: [0x6f, 0x81], rem_u: [0x70, 0x82], and: [0x71, 0x83], or: [0x72, 0x84],
  xor: [0x73, 0x85], shl: [0x74, 0x86], shr_s: [0x75, 0x87], shr_u: [0x76, 0x88], rotl: [0x77, 0x89], rotr: [0x78, 0x8a],
  extend8: [0xc0, 0xc2], extend16: [0xc1, 0xc3],
} as const; // prettier-ignore
type IntOp = keyof typeof INT;

/** [f32, f64] opcodes. */
const FLOAT = {
  eq: [0x5b, 0x61], ne: [0x5c, 0x62], lt: [0x5d, 0x63], gt: [0x5e, 0x64], le: [0x5f, 0x65], ge: [0x60, 0x66],
  abs: [0x8b, 0x99], neg: [0x8c, 0x9a], ceil: [0x8d, 0x9b], floor: [0x8e, 0x9c], trunc: [0x8f, 0x9d], nearest: [0x90, 0x9e],
  sqrt: [0x91, 0x9f], add: [0x92, 0xa0], sub: [0x93, 0xa1], mul: [0x94, 0xa2], div: [0x95, 0xa3], min: [0x96, 0xa4],
  max: [0x97, 0xa5], copysign: [0x98, 0xa6],
} as const; // prettier-ignore
export type FloatOp = keyof typeof FLOAT;
const FLOAT_COMPARE: ReadonlySet<string> = new Set(['eq', 'ne', 'lt', 'gt', 'le', 'ge']);

/** A value of type `T`. Integer methods exist on all, and throw when the tree is built if the type is not an integer's. */
export class Expr<T extends ValType = ValType> {
  readonly type: T;
  private readonly opcode: number;
  private readonly args: readonly Expr[];
  private readonly immediates: Emit | undefined;
  /** Set for constants, so that folding and shape tests can see them; i64 as its signed value when it is exact. */
  readonly constant: number | undefined;
  /** Reads memory or calls: evaluated later it may give something else. */
  readonly volatile: boolean;
  /** Of a `localGet`: its index. */
  readonly local: number | undefined;

  constructor(
    type: T,
    opcode: number,
    args: readonly Expr[],
    immediates?: Emit,
    constant?: number,
    volatile = false,
    local?: number,
  ) {
    this.type = type;
    this.opcode = opcode;
    this.args = args;
    this.immediates = immediates;
    this.constant = constant;
    this.volatile = volatile || args.some((arg) => arg.volatile);
    this.local = local;
  }

  /** Adds the indices of all locals that the tree reads. */
  collectLocals(into: Set<number>): void {
    if (this.local !== undefined) into.add(this.local);
    for (const arg of this.args) arg.collectLocals(into);
  }

  /** Writes the tree in stack order. */
  emit(w: ByteWriter): void {
    for (const arg of this.args) arg.emit(w);
    if (this.opcode >= 0) writeOpcode(w, this.opcode);
    if (this.immediates !== undefined) this.immediates(w);
  }

  private int(op: IntOp, other?: Expr): Expr {
    const codes: readonly number[] = INT[op];
    if (this.type !== 'i32' && this.type !== 'i64') mismatch(op, this.type, this.type);
    const column = this.type === 'i32' ? 0 : 1;
    if (other !== undefined && other.type !== this.type) mismatch(op, this.type, other.type);
    const compare = INT[op][0] <= 0x5a;
    // INVARIANT: column is 0 or 1, both present in every row of INT.
    return new Expr(compare ? 'i32' : this.type, codes[column]!, other === undefined ? [this] : [this, other]);
  }

  private same(op: IntOp, other?: Expr): Expr<T> {
    // INVARIANT: not a comparison, so the result has this node's type.
    return this.int(op, other) as Expr<T>;
  }

  private truth(op: IntOp, other?: Expr): Expr<'i32'> {
    // INVARIANT: comparisons give i32.
    return this.int(op, other) as Expr<'i32'>;
  }

  add(o: Expr<T>): Expr<T> {
    if (o.constant === 0 && this.type !== 'f64' && this.type !== 'f32') return this;
    return this.same('add', o);
  }
  sub(o: Expr<T>): Expr<T> {
    return this.same('sub', o);
  }
  mul(o: Expr<T>): Expr<T> {
    return this.same('mul', o);
  }
  div_s(o: Expr<T>): Expr<T> {
    return this.same('div_s', o);
  }
  div_u(o: Expr<T>): Expr<T> {
    return this.same('div_u', o);
  }
  rem_s(o: Expr<T>): Expr<T> {
    return this.same('rem_s', o);
  }
  rem_u(o: Expr<T>): Expr<T> {
    return this.same('rem_u', o);
  }
  and(o: Expr<T>): Expr<T> {
    return this.same('and', o);
  }
  or(o: Expr<T>): Expr<T> {
    return this.same('or', o);
  }
  xor(o: Expr<T>): Expr<T> {
    return this.same('xor', o);
  }
  /** Shift counts are taken modulo the width, as WebAssembly does. */
  shl(o: Expr<T>): Expr<T> {
    return o.constant === 0 ? this : this.same('shl', o);
  }
  shr_s(o: Expr<T>): Expr<T> {
    return this.same('shr_s', o);
  }
  shr_u(o: Expr<T>): Expr<T> {
    return this.same('shr_u', o);
  }
  rotl(o: Expr<T>): Expr<T> {
    return this.same('rotl', o);
  }
  rotr(o: Expr<T>): Expr<T> {
    return this.same('rotr', o);
  }
  clz(): Expr<T> {
    return this.same('clz');
  }
  ctz(): Expr<T> {
    return this.same('ctz');
  }
  popcnt(): Expr<T> {
    return this.same('popcnt');
  }
  not(): Expr<T> {
    return this.xor(int(this.type, -1));
  }
  neg(): Expr<T> {
    return int(this.type, 0).sub(this);
  }
  /** Sign-extends the low `bits` (8, 16, 32 or the whole) within the type. */
  signExtend(bits: number): Expr<T> {
    if (bits === 8) return this.same('extend8');
    if (bits === 16) return this.same('extend16');
    if (bits === 32 && this.type === 'i64') return new Expr(this.type, 0xc4, [this]);
    return this;
  }
  /** Clears everything above the low `bits`. */
  zeroExtend(bits: number): Expr<T> {
    if (bits === 8 || bits === 16) return this.and(int(this.type, bits === 8 ? 0xff : 0xffff));
    if (bits === 32 && this.type === 'i64') return this.and(int(this.type, 0xffffffff));
    return this;
  }
  eqz(): Expr<'i32'> {
    return this.truth('eqz');
  }
  eq(o: Expr<T>): Expr<'i32'> {
    return this.truth('eq', o);
  }
  ne(o: Expr<T>): Expr<'i32'> {
    return this.truth('ne', o);
  }
  lt_s(o: Expr<T>): Expr<'i32'> {
    return this.truth('lt_s', o);
  }
  lt_u(o: Expr<T>): Expr<'i32'> {
    return this.truth('lt_u', o);
  }
  gt_s(o: Expr<T>): Expr<'i32'> {
    return this.truth('gt_s', o);
  }
  gt_u(o: Expr<T>): Expr<'i32'> {
    return this.truth('gt_u', o);
  }
  le_s(o: Expr<T>): Expr<'i32'> {
    return this.truth('le_s', o);
  }
  le_u(o: Expr<T>): Expr<'i32'> {
    return this.truth('le_u', o);
  }
  ge_s(o: Expr<T>): Expr<'i32'> {
    return this.truth('ge_s', o);
  }
  ge_u(o: Expr<T>): Expr<'i32'> {
    return this.truth('ge_u', o);
  }

  /** Integer of the other width or the same: zero-extending or truncating. */
  toI32(): Expr<'i32'> {
    // INVARIANT: the type tag says i32.
    if (this.type === 'i32') return this as Expr as Expr<'i32'>;
    if (this.type !== 'i64') mismatch('toI32', this.type, 'i32');
    return new Expr('i32', 0xa7, [this]);
  }
  toI64(): Expr<'i64'> {
    // INVARIANT: the type tag says i64.
    if (this.type === 'i64') return this as Expr as Expr<'i64'>;
    if (this.type !== 'i32') mismatch('toI64', this.type, 'i64');
    return new Expr('i64', 0xad, [this]);
  }
  toI64Signed(): Expr<'i64'> {
    // INVARIANT: the type tag says i64.
    if (this.type === 'i64') return this as Expr as Expr<'i64'>;
    if (this.type !== 'i32') mismatch('toI64Signed', this.type, 'i64');
    return new Expr('i64', 0xac, [this]);
  }
  /** To integer type `type`, zero-extending or truncating. */
  toInt<U extends IntType>(type: U): Expr<U> {
    // INVARIANT: the branch taken yields exactly `type`.
    return (type === 'i32' ? this.toI32() : this.toI64()) as Expr as Expr<U>;
  }

  /** Float operation; comparisons give i32. Both operands have this node's type. */
  float(op: FloatOp, other?: Expr): Expr<T> {
    if (this.type !== 'f32' && this.type !== 'f64') mismatch(op, this.type, this.type);
    if (other !== undefined && other.type !== this.type) mismatch(op, this.type, other.type);
    return new Expr(this.type, FLOAT[op][this.type === 'f32' ? 0 : 1], other === undefined ? [this] : [this, other]);
  }
  compareFloat(op: 'eq' | 'ne' | 'lt' | 'gt' | 'le' | 'ge', other: Expr<T>): Expr<'i32'> {
    if (!FLOAT_COMPARE.has(op)) mismatch(op, this.type, other.type);
    const column = this.type === 'f32' ? 0 : 1;
    if (this.type !== other.type || (this.type !== 'f32' && this.type !== 'f64')) mismatch(op, this.type, other.type);
    return new Expr('i32', FLOAT[op][column], [this, other]);
  }
  /** Same bits as the integer or float of the same width. */
  reinterpret<U extends ValType>(type: U): Expr<U> {
    const table: Record<string, number> = { f32i32: 0xbc, f64i64: 0xbd, i32f32: 0xbe, i64f64: 0xbf };
    const opcode = table[this.type + type];
    if (opcode === undefined) mismatch('reinterpret', this.type, type);
    return new Expr(type, opcode, [this]);
  }
}

/** Any operation by opcode, for what has no method: conversions (0xa8..0xc4), SIMD (`SIMD + n`), saturating (`MISC + n`). */
export function op<T extends ValType>(type: T, opcode: number, ...args: Expr[]): Expr<T> {
  return new Expr(type, opcode, args);
}

/** SIMD operation with a lane index (extract_lane, replace_lane). */
export function laneOp<T extends ValType>(type: T, opcode: number, lane: number, ...args: Expr[]): Expr<T> {
  return new Expr(type, opcode, args, (w) => w.byte(lane));
}

/** i8x16.shuffle: `lanes` picks 16 bytes of the 32 bytes a then b. */
export function shuffle(a: Expr<'v128'>, b: Expr<'v128'>, lanes: readonly number[]): Expr<'v128'> {
  return new Expr('v128', SIMD + 13, [a, b], (w) => w.bytes(lanes));
}

export function i32(value: number): Expr<'i32'> {
  return new Expr('i32', 0x41, [], (w) => w.s32(value), value | 0);
}

/** 64-bit constant from a number (exact integers only) or a bigint (taken modulo 2^64). */
export function i64(value: number | bigint): Expr<'i64'> {
  if (typeof value === 'bigint') {
    const low = Number(BigInt.asIntN(32, value));
    const high = Number(BigInt.asIntN(32, value >> 32n));
    return i64Halves(low, high);
  }
  return i64Halves(value | 0, Math.floor(value / 4294967296) | 0);
}

export function i64Halves(low: number, high: number): Expr<'i64'> {
  const exact = high * 4294967296 + (low >>> 0);
  return new Expr('i64', 0x42, [], (w) => w.s64(low, high), Number.isSafeInteger(exact) ? exact : undefined);
}

/** Integer constant of a type known at build time. */
export function int<T extends ValType>(type: T, value: number): Expr<T> {
  if (type !== 'i32' && type !== 'i64') mismatch('int', type, 'i32');
  // INVARIANT: the branch taken yields exactly `type`.
  return (type === 'i32' ? i32(value) : i64(value)) as Expr as Expr<T>;
}

export function f32Bits(bits: number): Expr<'f32'> {
  return new Expr('f32', 0x43, [], (w) => w.bytes([bits & 255, (bits >>> 8) & 255, (bits >>> 16) & 255, bits >>> 24]));
}

export function f64(value: number): Expr<'f64'> {
  return new Expr('f64', 0x44, [], (w) => {
    enc.setFloat64(0, value, true);
    w.bytes(new Uint8Array(enc.buffer, 0, 8));
  });
}

export function v128(bytes: readonly number[]): Expr<'v128'> {
  return new Expr('v128', SIMD + 12, [], (w) => w.bytes(bytes));
}

export const v128Zero: Expr<'v128'> = v128(Array.from({ length: 16 }, () => 0));

/** `condition ? a : b`, both evaluated. */
export function select<T extends ValType>(condition: Expr<'i32'>, a: Expr<T>, b: Expr<T>): Expr<T> {
  if (a.type !== b.type) mismatch('select', a.type, b.type);
  if (a.type === 'v128') return new Expr(a.type, 0x1c, [a, b, condition], (w) => w.bytes([1, VAL_TYPE_CODE.v128]));
  return new Expr(a.type, 0x1b, [a, b, condition]);
}

const LOADS: Record<string, number> = {
  'i32:8u': 0x2d, 'i32:8s': 0x2c, 'i32:16u': 0x2f, 'i32:16s': 0x2e, 'i32:32u': 0x28, 'i32:32s': 0x28,
  'i64:8u': 0x31, 'i64:8s': 0x30, 'i64:16u': 0x33, 'i64:16s': 0x32, 'i64:32u': 0x35, 'i64:32s': 0x34, 'i64:64u': 0x29, 'i64:64s': 0x29,
  'f32:32u': 0x2a, 'f64:64u': 0x2b, 'v128:128u': SIMD + 0,
}; // prettier-ignore
const STORES: Record<string, number> = {
  'i32:8': 0x3a, 'i32:16': 0x3b, 'i32:32': 0x36, 'i64:8': 0x3c, 'i64:16': 0x3d, 'i64:32': 0x3e, 'i64:64': 0x37,
  'f32:32': 0x38, 'f64:64': 0x39, 'v128:128': SIMD + 11,
}; // prettier-ignore

/** Load of `bits` at `address + offset` into a value of `type`, no alignment promised. */
export function load<T extends ValType>(
  type: T,
  bits: number,
  address: Expr<'i32'>,
  offset = 0,
  signed = false,
): Expr<T> {
  const opcode = LOADS[`${type}:${bits}${signed ? 's' : 'u'}`];
  if (opcode === undefined) throw new TypeError(`no wasm load of ${bits} bits into ${type}`);
  const immediates: Emit = (w) => {
    w.u32(0);
    w.u32(offset);
  };
  return new Expr(type, opcode, [address], immediates, undefined, true);
}

/** Opcode and immediates of a store, for `FunctionBuilder.store`. */
export function storeOp(type: ValType, bits: number): number {
  const opcode = STORES[`${type}:${bits}`];
  if (opcode === undefined) throw new TypeError(`no wasm store of ${bits} bits from ${type}`);
  return opcode;
}

/** Log2 of the access size in bytes, which atomics must state exactly. */
const ALIGNMENT: Record<number, number> = { 8: 0, 16: 1, 32: 2, 64: 3 };

/** [i32: 32, 8, 16 bits; i64: 64, 8, 16, 32 bits] opcodes in the 0xFE space. */
const ATOMIC_COLUMN: Record<string, number> = {
  'i32:32': 0, 'i64:64': 1, 'i32:8': 2, 'i32:16': 3, 'i64:8': 4, 'i64:16': 5, 'i64:32': 6,
}; // prettier-ignore
const ATOMIC_BASE = {
  load: 0x10,
  store: 0x17,
  add: 0x1e,
  sub: 0x25,
  and: 0x2c,
  or: 0x33,
  xor: 0x3a,
  xchg: 0x41,
  cmpxchg: 0x48,
} as const;
export type AtomicOp = 'add' | 'sub' | 'and' | 'or' | 'xor' | 'xchg' | 'cmpxchg' | 'load';

/** Sequentially consistent access; traps when `address` is not a multiple of the size, so the caller makes sure of it. */
export function atomic<T extends IntType>(
  name: AtomicOp,
  type: T,
  bits: number,
  address: Expr<'i32'>,
  ...args: Expr[]
): Expr<T> {
  const column = ATOMIC_COLUMN[`${type}:${bits}`];
  const align = ALIGNMENT[bits];
  if (column === undefined || align === undefined) throw new TypeError(`no atomic ${name} of ${bits} bits in ${type}`);
  const immediates: Emit = (w) => {
    w.u32(align);
    w.u32(0);
  };
  return new Expr(type, ATOMIC + ATOMIC_BASE[name] + column, [address, ...args], immediates, undefined, true);
}

export function localGet<T extends ValType>(type: T, index: number): Expr<T> {
  return new Expr(type, 0x20, [], (w) => w.u32(index), undefined, false, index);
}

/** `pure`: the function reads and changes nothing. */
export function callExpr<T extends ValType>(
  type: T,
  functionIndex: number,
  args: readonly Expr[],
  pure = false,
): Expr<T> {
  return new Expr(type, 0x10, args, (w) => w.u32(functionIndex), undefined, !pure);
}
