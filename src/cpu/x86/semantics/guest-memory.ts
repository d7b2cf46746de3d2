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
    const low = x.f.temporary('v128');
    const high = x.f.temporary('v128');
    const take = (from: Expr<'i32'>, offset: number): void => {
      x.f.set(low, load('v128', 128, from, offset));
      x.f.set(high, load('v128', 128, from, offset + 16));
    };
    this.access(address, 32, false, aligned, take, (va) => {
      x.microOrFault('slowLoad', va, x.stackAccess.or(i32(32)));
      take(x.cpu, L.CPU_SCRATCH);
    });
    return [low.get, high.get];
  }

  loadFloat(address: Expr<'i64'>, type: FloatType): Expr<FloatType> {
    return this.loadAs(type, address, type === 'f64' ? 64 : 32);
  }

  private loadAs<T extends ValType>(type: T, address: Expr<'i64'>, bits: number, aligned = false): Expr<T> {
    const { x } = this;
    const value = x.f.temporary(type);
    const take = (from: Expr<'i32'>, offset: number): void => x.f.set(value, load(type, bits, from, offset));
    this.access(address, bits / 8, false, aligned, take, (va) => {
      x.microOrFault('slowLoad', va, x.stackAccess.or(i32(bits / 8)));
      take(x.cpu, L.CPU_SCRATCH);
    });
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
    const [low, high] = [x.let(value[0]), x.let(value[1])];
    const put = (to: Expr<'i32'>, offset: number): void => {
      x.f.store(128, to, low, offset);
      x.f.store(128, to, high, offset + 16);
    };
    this.access(address, 32, true, aligned, put, (va) => {
      put(x.cpu, L.CPU_SCRATCH);
      x.microOrFault('slowStore', va, x.stackAccess.or(i32(32)));
    });
  }

  private storeAs(address: Expr<'i64'>, bits: number, given: Expr, aligned = false): void {
    const { x } = this;
    const value = x.let(given);
    const put = (to: Expr<'i32'>, offset: number): void => x.f.store(bits, to, value, offset);
    this.access(address, bits / 8, true, aligned, put, (va) => {
      put(x.cpu, L.CPU_SCRATCH);
      x.microOrFault('slowStore', va, x.stackAccess.or(i32(bits / 8)));
    });
  }

  /**
   * Emits `fast` for when the bytes can be reached directly, at an offset from a host address, and `slow` for when not. The address
   * is evaluated once. With `aligned`, #GP where it is no multiple of `bytes`.
   */
  private access(
    address: Expr<'i64'>,
    bytes: number,
    write: boolean,
    aligned: boolean,
    fast: (host: Expr<'i32'>, offset: number) => void,
    slow: (va: Expr<'i64'>) => void,
  ): void {
    const { x } = this;
    const va = x.let(address);
    const slowly = (): void => {
      if (aligned) this.requireAligned(va, bytes);
      slow(va);
    };
    const grouped = x.grouped(address, bytes, write, aligned);
    if (grouped !== undefined) {
      const { host, offset, even } = grouped;
      if (even) {
        x.f.if(host.ne(i32(0)), () => fast(host, offset), slowly, true);
        return;
      }
      x.f.block((done) => {
        x.f.block((slow) => {
          x.f.branchIf(slow, host.eqz(), false);
          // Within a page, host addresses are as aligned as guest addresses.
          x.f.branchIf(slow, host.add(i32(offset)).and(i32(bytes - 1)), false);
          fast(host, offset);
          x.f.branch(done);
        });
        slowly();
      });
      return;
    }
    this.lookUp(va, bytes, write, aligned, (host) => fast(host, 0), slowly);
  }

  /** One look into the TLB: `hit` with the host address of `bytes` at `va`, or `miss`. */
  lookUp(
    va: Expr<'i64'>,
    bytes: number,
    write: boolean,
    aligned: boolean,
    hit: (host: Expr<'i32'>, addend: Expr<'i32'>) => void,
    miss: () => void,
  ): void {
    const { x } = this;
    const entry = x.let(this.entry(va));
    const tag = x.let(load('i64', 64, entry, write ? L.TLB_WRITE_TAG : L.TLB_READ_TAG));
    x.f.if(
      this.matches(tag, va, bytes, aligned),
      () => {
        const addend = x.let(load('i32', 32, entry, L.TLB_ADDEND));
        hit(x.let(va.toI32().add(addend)), addend);
      },
      () => {
        // V8 loads what it compares with memory twice, unless something else wants the value too.
        if (x.inlines) x.setState(64, L.CPU_SCRATCH, tag);
        miss();
      },
      true,
    );
  }

  /** Read-modify-write with write permission checked first; atomic when `locked` and the address is aligned. */
  modify(address: Expr<'i64'>, bits: number, compute: (old: Int) => Int, locked: boolean): { old: Int; result: Int } {
    const { x } = this;
    const type = intType(bits);
    const old = x.f.temporary(type);
    const result = x.f.temporary(type);
    const update = (host: Expr<'i32'>, offset: number): void => {
      x.f.set(old, load(type, bits, host, offset));
      x.f.set(result, compute(old.get));
      x.f.store(bits, host, result.get, offset);
    };
    if (!locked) {
      this.access(address, bits / 8, true, false, update, (va) => {
        const host = x.micro('i32', 'slowRmw', va, x.stackAccess.or(i32(bits / 8)));
        x.f.if(host.eqz(), () => x.leaveHere(), undefined, false);
        update(host, 0);
        this.commit(host);
      });
      return { old: old.get, result: result.get };
    }
    const host = this.hostForUpdate(address, bits);
    x.f.loop((again) => {
      x.f.set(old, load(type, bits, host.get));
      x.f.set(result, compute(old.get));
      x.f.if(
        host.get.and(i32(bits / 8 - 1)).eqz(),
        () => x.f.branchIf(again, atomic('cmpxchg', type, bits, host.get, old.get, result.get).ne(old.get)),
        () => x.f.store(bits, host.get, result.get),
        true,
      );
    });
    this.commitUpdate(host);
    return { old: old.get, result: result.get };
  }

  /**
   * Host address of `bits` at `address`, to be read and written in place; then `commitUpdate`. For accesses that lie in a device
   * or across pages it is a bounce buffer, which is why the commit is needed.
   */
  hostForUpdate(address: Expr<'i64'>, bits: number): Local<'i32'> {
    const { x } = this;
    const host = x.f.temporary('i32');
    const direct = (base: Expr<'i32'>, offset: number): void => x.f.set(host, base.add(i32(offset)));
    this.access(address, bits / 8, true, false, direct, (va) => {
      x.f.set(host, x.micro('i32', 'slowRmw', va, x.stackAccess.or(i32(bits / 8))));
      x.f.if(host.get.eqz(), () => x.leaveHere(), undefined, false);
    });
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
    this.commit(host.get);
  }

  /** Writes back what lies in the bounce buffer, if it is there. */
  private commit(host: Expr<'i32'>): void {
    const { x } = this;
    const bounced = host.eq(x.cpu.add(i32(L.CPU_SCRATCH)));
    x.f.if(bounced, () => x.f.drop(x.micro('i32', 'rmwCommit')), undefined, false);
  }

  /** Address of the TLB entry of `va` in the current set. */
  entry(va: Expr<'i64'>): Expr<'i32'> {
    return va.toI32().shr_u(i32(INDEX_SHIFT)).and(i32(INDEX_MASK)).add(this.x.tlbSet());
  }

  /**
   * Whether the entry allows an access to `bytes` at `va`. Of an access that must be aligned no byte crosses a page, and its low
   * bits must be as zero as the tag's.
   */
  hits(entry: Expr<'i32'>, va: Expr<'i64'>, bytes: number, tag: number): Expr<'i32'> {
    return this.matches(load('i64', 64, entry, tag), va, bytes, false);
  }

  private matches(tag: Expr<'i64'>, va: Expr<'i64'>, bytes: number, aligned: boolean): Expr<'i32'> {
    const last = bytes === 1 || aligned ? va : va.add(i64(bytes - 1));
    const wanted = last.and(i64(aligned ? -4096 | (bytes - 1) : -4096));
    return wanted.eq(tag);
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
