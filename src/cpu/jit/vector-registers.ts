/**
 * Vector registers in locals, for tier 1: each 256-bit register is two v128 locals, its low half (the xmm register) and its high
 * half, and a half that a region never names costs nothing. As with general registers, a region loads where it is entered the
 * halves that are used from there on and writes back where it is left those that may have changed.
 */
import * as L from '../layout.ts';
import { type Expr, type FloatType, type IntType, laneOp, SIMD, v128Zero, type ValType } from '../../wasm/expr.ts';
import type { Local } from '../../wasm/function-builder.ts';
import type { Int, X86 } from '../x86/semantics/context.ts';
import { type KeySet, VECTOR_KEYS } from './register-use.ts';

/** Bits 127:0 and bits 255:128 of a register. */
export type Half = 0 | 1;

/** Opcodes of lane accesses in the SIMD space. */
const I32X4_EXTRACT = 0x1b;
const I32X4_REPLACE = 0x1c;
const I64X2_EXTRACT = 0x1d;
const I64X2_REPLACE = 0x1e;
const FLOAT_LANE = { f32: { extract: 0x1f, replace: 0x20 }, f64: { extract: 0x21, replace: 0x22 } } as const;

/** Who is told which half (register * 2 + half) is used and which gets a new value. */
export interface VectorEvents {
  used(key: number): void;
  changed(key: number): void;
}

export class VectorRegisters {
  private readonly x: X86;
  /** By register * 2 + half. Complete when all blocks are emitted. */
  private readonly locals = new Map<number, Local<'v128'>>();
  /** Halves whose current value is in the state, because the instruction at hand asked for their address. */
  private readonly spilled = new Set<number>();

  private readonly events: VectorEvents;

  constructor(x: X86, events: VectorEvents) {
    this.x = x;
    this.events = events;
  }

  private local(key: number): Local<'v128'> {
    let local = this.locals.get(key);
    if (local === undefined) {
      local = this.x.f.local('v128');
      this.locals.set(key, local);
    }
    return local;
  }

  get(n: number, half: Half = 0): Expr<'v128'> {
    this.events.used(n * 2 + half);
    return this.local(n * 2 + half).get;
  }

  set(n: number, value: Expr<'v128'>, half: Half = 0): void {
    const key = n * 2 + half;
    this.x.f.set(this.local(key), value);
    this.events.changed(key);
  }

  /** Clears the upper halves of the first `count` registers: those the region never names stay out of its locals. */
  zeroHigh(count: number): void {
    for (let key = 1; key < count * 2; key += 2) this.events.changed(key);
    // Which of them have a local is known when everything is emitted.
    this.x.f.deferred(() => {
      for (let key = 1; key < count * 2; key += 2) {
        const local = this.locals.get(key);
        if (local === undefined) this.x.setState(128, offset(key), v128Zero);
        else this.x.f.set(local, v128Zero);
      }
    });
  }

  /** Takes halves from the state. */
  load(keys: KeySet): void {
    for (const [key, local] of this.locals) {
      if (keys.has(VECTOR_KEYS + key)) this.x.f.set(local, this.x.state('v128', 128, offset(key)));
    }
  }

  /** Writes halves to the state; a half without a local is there. */
  store(keys: KeySet): void {
    for (const [key, local] of this.locals) {
      if (keys.has(VECTOR_KEYS + key)) this.x.setState(128, offset(key), local.get);
    }
  }

  // ---- lane 0 ----

  readFloat<T extends FloatType>(n: number, type: T): Expr<T> {
    return laneOp(type, SIMD + FLOAT_LANE[type].extract, 0, this.get(n));
  }

  writeFloat(n: number, value: Expr<FloatType>): void {
    this.set(n, laneOp('v128', SIMD + FLOAT_LANE[value.type].replace, 0, this.get(n), value));
  }

  readInt(n: number, bits: number): Int {
    if (bits === 64) return laneOp<IntType>('i64', SIMD + I64X2_EXTRACT, 0, this.get(n));
    return laneOp<IntType>('i32', SIMD + I32X4_EXTRACT, 0, this.get(n)).zeroExtend(bits);
  }

  writeInt(n: number, bits: number, value: Int): void {
    if (bits !== 32 && bits !== 64) throw new RangeError(`no xmm register is written ${bits} bits at a time`);
    const lane: Expr<ValType> = bits === 64 ? value.toI64() : value.toI32();
    this.set(n, laneOp('v128', SIMD + (bits === 64 ? I64X2_REPLACE : I32X4_REPLACE), 0, this.get(n), lane));
  }

  // ---- instructions that work on a register's place in the state ----

  /** Puts the register's low half, or all of it, into its place in the state until the instruction ends. */
  spill(n: number, halves: 1 | 2): void {
    for (let key = n * 2; key < n * 2 + halves; key++) {
      if (this.spilled.has(key)) continue;
      this.events.used(key);
      this.x.setState(128, offset(key), this.local(key).get);
      this.spilled.add(key);
    }
  }

  /** What the last instruction may have put into the state becomes the registers' value. */
  takeSpilled(): void {
    for (const key of this.spilled) {
      this.x.f.set(this.local(key), this.x.state('v128', 128, offset(key)));
      this.events.changed(key);
    }
    this.spilled.clear();
  }

  /** Control came another way, on which nothing was spilled. */
  forgetSpilled(): void {
    this.spilled.clear();
  }
}

function offset(key: number): number {
  return L.CPU_XMM + (key >> 1) * L.XMM_STRIDE + (key & 1) * 16;
}
