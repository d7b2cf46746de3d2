/**
 * Guest memory by linear address, as generated code reaches it: the TLB inline, microcode (memory.ts there) for the rest.
 *
 * A hit costs an index, a compare and an add; a miss fills the TLB, crosses pages, talks to devices, notices stores to code,
 * or raises a fault, in which case the instruction is left with nothing changed. Layout of an entry: layout.ts, TLB_*.
 */
import * as L from '../../layout.ts';
import { atomic, type Expr, type FloatType, i32, i64, load, type ValType } from '../../../wasm/expr.ts';
import type { Local } from '../../../wasm/function-builder.ts';
import type { Access, VectorPair, X86 } from './context.ts';
import { type Int, intType } from './int.ts';

const INDEX_SHIFT = 7; // (va >> 12) * TLB_ENTRY_SIZE
const INDEX_MASK = (L.TLB_ENTRIES - 1) * L.TLB_ENTRY_SIZE;

export class GuestMemory {
  private readonly x: X86;

  constructor(x: X86) {
    this.x = x;
  }

  /** Loads `bits` (8..64), zero-extended in its container. */
  load(address: Expr<'i64'>, bits: number): Int {
    return this.loadAs(intType(bits), address, bits);
  }

  /** 16 bytes; with `aligned`, #GP where they are not. */
  loadVector(address: Expr<'i64'>, aligned: boolean): Expr<'v128'> {
    return this.loadAs('v128', address, 128, aligned);
  }

  /** 32 bytes: one look into the TLB. */
  loadVectorPair(address: Expr<'i64'>, aligned: boolean): VectorPair {
    const { x } = this;
    const va = x.let(address);
    const low = x.f.temporary('v128');
    const high = x.f.temporary('v128');
    const entry = x.let(this.entry(va));
    x.f.if(
      this.hits(entry, va, 32, L.TLB_READ_TAG, aligned),
      () => {
        const host = x.let(this.host(entry, va));
        x.f.set(low, load('v128', 128, host));
        x.f.set(high, load('v128', 128, host, 16));
      },
      () => {
        if (aligned) this.requireAligned(va, 32);
        x.microOrFault('slowLoad', va, x.stackAccess.or(i32(32)));
        x.f.set(low, load('v128', 128, x.cpu, L.CPU_SCRATCH));
        x.f.set(high, load('v128', 128, x.cpu, L.CPU_SCRATCH + 16));
      },
      true,
    );
    return [low.get, high.get];
  }

  loadFloat(address: Expr<'i64'>, type: FloatType): Expr<FloatType> {
    return this.loadAs(type, address, type === 'f64' ? 64 : 32);
  }

  private loadAs<T extends ValType>(type: T, address: Expr<'i64'>, bits: number, aligned = false): Expr<T> {
    const { x } = this;
    const va = x.let(address);
    const value = x.f.temporary(type);
    const entry = x.let(this.entry(va));
    x.f.if(
      this.hits(entry, va, bits / 8, L.TLB_READ_TAG, aligned),
      () => x.f.set(value, load(type, bits, this.host(entry, va))),
      () => {
        if (aligned) this.requireAligned(va, bits / 8);
        x.microOrFault('slowLoad', va, x.stackAccess.or(i32(bits / 8)));
        x.f.set(value, load(type, bits, x.cpu, L.CPU_SCRATCH));
      },
      true,
    );
    return value.get;
  }

  /** Stores the low `bits` of `value`. */
  store(address: Expr<'i64'>, bits: number, value: Int): void {
    this.storeAs(address, bits, value);
  }

  storeVector(address: Expr<'i64'>, value: Expr<'v128'>, aligned: boolean): void {
    this.storeAs(address, 128, value, aligned);
  }

  storeVectorPair(address: Expr<'i64'>, value: VectorPair, aligned: boolean): void {
    const { x } = this;
    const va = x.let(address);
    const [low, high] = [x.let(value[0]), x.let(value[1])];
    const entry = x.let(this.entry(va));
    x.f.if(
      this.hits(entry, va, 32, L.TLB_WRITE_TAG, aligned),
      () => {
        const host = x.let(this.host(entry, va));
        x.f.store(128, host, low);
        x.f.store(128, host, high, 16);
      },
      () => {
        if (aligned) this.requireAligned(va, 32);
        x.setState(128, L.CPU_SCRATCH, low);
        x.setState(128, L.CPU_SCRATCH + 16, high);
        x.microOrFault('slowStore', va, x.stackAccess.or(i32(32)));
      },
      true,
    );
  }

  private storeAs(address: Expr<'i64'>, bits: number, given: Expr, aligned = false): void {
    const { x } = this;
    const va = x.let(address);
    const value = x.let(given);
    const entry = x.let(this.entry(va));
    x.f.if(
      this.hits(entry, va, bits / 8, L.TLB_WRITE_TAG, aligned),
      () => x.f.store(bits, this.host(entry, va), value),
      () => {
        if (aligned) this.requireAligned(va, bits / 8);
        x.setState(bits, L.CPU_SCRATCH, value);
        x.microOrFault('slowStore', va, x.stackAccess.or(i32(bits / 8)));
      },
      true,
    );
  }

  /** Read-modify-write with write permission checked first; atomic when `locked` and the address is aligned. */
  modify(address: Expr<'i64'>, bits: number, compute: (old: Int) => Int, locked: boolean): { old: Int; result: Int } {
    const { x } = this;
    const type = intType(bits);
    const host = this.hostForUpdate(address, bits);
    const old = x.f.temporary(type);
    const result = x.f.temporary(type);
    if (locked) {
      x.f.loop((again) => {
        x.f.set(old, load(type, bits, host.get));
        x.f.set(result, compute(old.get));
        x.f.if(
          host.get.and(i32(bits / 8 - 1)).eqz(),
          () => x.f.branchIf(again, atomic('cmpxchg', type, bits, host.get, old.get, result.get).ne(old.get)),
          () => x.f.store(bits, host.get, result.get),
        );
      });
    } else {
      x.f.set(old, load(type, bits, host.get));
      x.f.set(result, compute(old.get));
      x.f.store(bits, host.get, result.get);
    }
    this.commitUpdate(host);
    return { old: old.get, result: result.get };
  }

  /**
   * Host address of `bits` at `address`, to be read and written in place; then `commitUpdate`. For accesses that lie in a device
   * or across pages it is a bounce buffer, which is why the commit is needed.
   */
  hostForUpdate(address: Expr<'i64'>, bits: number): Local<'i32'> {
    const { x } = this;
    const va = x.let(address);
    const host = x.f.temporary('i32');
    const entry = x.let(this.entry(va));
    x.f.if(
      this.hits(entry, va, bits / 8, L.TLB_WRITE_TAG),
      () => x.f.set(host, this.host(entry, va)),
      () => {
        x.f.set(host, x.micro('i32', 'slowRmw', va, x.stackAccess.or(i32(bits / 8))));
        x.f.if(host.get.eqz(), () => x.leaveHere(), undefined, false);
      },
      true,
    );
    return host;
  }

  /** Whether an access hits, and its host address if so: for instructions that have a way of their own where it does not. */
  probe(address: Expr<'i64'>, bytes: number, access: Access): { hits: Expr<'i32'>; host: Expr<'i32'> } {
    const { x } = this;
    const va = x.let(address);
    const entry = x.let(this.entry(va));
    const hits = this.hits(entry, va, bytes, access === 'write' ? L.TLB_WRITE_TAG : L.TLB_READ_TAG);
    return { hits, host: this.host(entry, va) };
  }

  commitUpdate(host: Local<'i32'>): void {
    const { x } = this;
    const bounced = host.get.eq(x.cpu.add(i32(L.CPU_SCRATCH)));
    x.f.if(bounced, () => x.f.drop(x.micro('i32', 'rmwCommit')), undefined, false);
  }

  /** Address of the TLB entry of `va` in the current set. */
  entry(va: Expr<'i64'>): Expr<'i32'> {
    return va.shr_u(i64(INDEX_SHIFT)).toI32().and(i32(INDEX_MASK)).add(this.x.tlbSet());
  }

  /** Of an access that must be aligned no byte crosses a page, and its low bits must be as zero as the tag's. */
  private hits(entry: Expr<'i32'>, va: Expr<'i64'>, bytes: number, tag: number, aligned = false): Expr<'i32'> {
    const last = bytes === 1 || aligned ? va : va.add(i64(bytes - 1));
    return last.and(i64(aligned ? -4096 | (bytes - 1) : -4096)).eq(load('i64', 64, entry, tag));
  }

  private requireAligned(va: Expr<'i64'>, bytes: number): void {
    this.x.raiseIf(
      va
        .toI32()
        .and(i32(bytes - 1))
        .ne(i32(0)),
      L.EXC_GP,
    );
  }

  private host(entry: Expr<'i32'>, va: Expr<'i64'>): Expr<'i32'> {
    return va.toI32().add(load('i32', 32, entry, L.TLB_ADDEND));
  }
}
