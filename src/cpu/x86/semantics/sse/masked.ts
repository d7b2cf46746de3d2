/**
 * Vector instructions that touch memory element by element: VMASKMOVPS and its kin, and gathers. In 64-bit code what lies in the TLB is
 * done here; the rest, with its faults, by microcode (sse/masked-vectors.ts there). SDM volume 2.
 */
import { type Expr, i32, i64, type IntType, load, select, v128Zero } from '../../../../wasm/expr.ts';
import { type Access, intType, type Semantics, type SemanticsTable, type X86 } from '../context.ts';
import { type Halves, halves, put, putHalves, putScratch, scratch } from './operands.ts';
import { lane32, lane64, lanes, signBits, type Vector, vector, withLane } from './simd.ts';

/** Sign bits of elements. */
function elementMask(x: X86, [low, high]: Halves, bits: 32 | 64): Expr<'i32'> {
  const mask = signBits(bits, low);
  return x.let(high === undefined ? mask : mask.or(signBits(bits, high).shl(i32(128 / bits))));
}

/** All ones in the elements that are negative. */
function negative(bits: 32 | 64, value: Vector): Vector {
  return vector(bits === 32 ? 'i32x4.lt_s' : 'i64x2.lt_s', value, v128Zero);
}

/** What microcode needs to go through the elements one by one. */
function elements(x: X86, mask: Expr<'i32'>, bits: number): Expr[] {
  return [x.segmentNumber(), x.effectiveAddress(), mask, i32(bits / 8)];
}

/** `quick` where all of the memory operand is at hand; else (in code where the operand's segment may have a limit: always) `slow`. */
function atHand(x: X86, bytes: number, access: Access, quick: (host: Expr<'i32'>) => void, slow: () => void): void {
  if (!x.is64) {
    slow();
    return;
  }
  const { hits, host } = x.mem.probe(x.linear(bytes, access), bytes, access);
  x.f.if(hits, () => quick(x.let(host)), slow, true);
}

function maskedLoad(bits: 32 | 64): Semantics {
  return (x) => {
    const mask = halves(x, 1);
    const results = mask.map(() => x.f.temporary('v128'));
    atHand(
      x,
      mask.length * 16,
      'read',
      (host) =>
        results.forEach((result, half) => {
          // INVARIANT: there are as many halves.
          const chosen = negative(bits, mask[half] as Vector);
          x.f.set(result, vector('v128.and', load('v128', 128, host, 16 * half), chosen));
        }),
      () => {
        x.microOrFault('avxMaskedLoad', ...elements(x, elementMask(x, mask, bits), bits));
        results.forEach((result, half) => x.f.set(result, load('v128', 128, scratch(x, 32 + 16 * half))));
      },
    );
    const [low, high] = results;
    // INVARIANT: there is one half at least.
    putHalves(x, high === undefined ? [low!.get] : [low!.get, high.get]);
  };
}

function maskedStore(bits: 32 | 64): Semantics {
  return (x) => {
    const values = halves(x, 2);
    const mask = elementMask(x, halves(x, 1), bits);
    atHand(
      x,
      values.length * 16,
      'write',
      (host) => {
        for (let i = 0; i < (values.length * 128) / bits; i++) {
          const half = values[Math.floor((i * bits) / 128)] as Vector; // INVARIANT: i is within the halves
          const lane = i & (128 / bits - 1);
          const element = bits === 64 ? lane64(half, lane) : lane32(32, half, lane);
          x.f.if(mask.and(i32(1 << i)), () => x.f.store(bits, host, element, (i * bits) / 8));
        }
      },
      () => {
        values.forEach((value, half) => putScratch(x, 32 + 16 * half, value));
        x.microOrFault('avxMaskedStore', ...elements(x, mask, bits));
      },
    );
  };
}

function maskedMove(bits: 32 | 64): Semantics {
  return (x) => (x.isMemory(0) ? maskedStore(bits) : maskedLoad(bits))(x);
}

/** All elements by microcode, which leaves what is done in the registers when one faults. */
function gatherSlowly(x: X86, count: number, bits: number, indexBits: number): void {
  x.microState(
    'avxGather',
    true,
    x.stateAddress(0),
    x.stateAddress(2),
    x.vectorIndexAddress(),
    x.segmentNumber(),
    x.effectiveAddress(),
    x.indexScale(),
    i32(count),
    i32(bits / 8),
    i32(indexBits / 8),
    i32(x.insn.addressSize),
  );
}

/** The width of an element is the memory operand's; as many as the destination holds. */
function gather(indexBits: 32 | 64): Semantics {
  return (x) => {
    const bits = x.width(1) === 64 ? 64 : 32;
    const count = x.width(0) / bits;
    if (!x.is64 || x.insn.addressSize !== 64) {
      gatherSlowly(x, count, bits, indexBits);
      return;
    }
    const mask = halves(x, 2);
    const old = halves(x, 0);
    const indices = x.readVectorIndex();
    const base = x.linear(bits / 8, 'read');
    const scale = x.let(x.indexScale().toI64());
    // INVARIANT: i is below the number of elements in these halves.
    const at = (from: Halves, width: number, i: number): Vector => from[Math.floor((i * width) / 128)] as Vector;
    const parts = Array.from({ length: count }, (_, i) => {
      const lane = i & (128 / indexBits - 1);
      const half = at(indices, indexBits, i);
      const index = indexBits === 64 ? lane64(half, lane) : lane32(32, half, lane).toI64Signed();
      const { hits, host } = x.mem.probe(base.add(index.shl(scale)), bits / 8, 'read');
      const selector = at(mask, bits, i);
      const wanted = x.let(
        bits === 64 ? lane64(selector, i & 1).lt_s(i64(0)) : lane32(32, selector, i & 3).lt_s(i32(0)),
      );
      return { hits: hits.or(wanted.eqz()), host: select(wanted, host, scratch(x)) };
    });
    const all = parts.map(({ hits }) => hits).reduce((left, right) => left.and(right));
    x.if(
      all,
      () => {
        const results = mask.map((selector, half) => {
          let loaded: Vector = v128Zero;
          for (let i = 0; i < 128 / bits && half * (128 / bits) + i < count; i++) {
            const { host } = parts[half * (128 / bits) + i]!; // INVARIANT: it is below `count`
            loaded = withLane(bits, loaded, i, load<IntType>(intType(bits), bits, host));
          }
          // INVARIANT: there are as many halves.
          return x.let(vector('v128.bitselect', loaded, old[half] as Vector, negative(bits, selector)));
        });
        // The upper half of 128 bits, 64 bits of which are the result, is zero.
        const [low, high] = results as [Vector, Vector?]; // INVARIANT: there is one half at least
        if (high !== undefined) putHalves(x, [low, high]);
        else put(x, 0, count * bits === 64 ? vector('v128.and', low, lanes(64, [-1n, 0n])) : low);
        x.writeVectorPair(2, [v128Zero, v128Zero]);
      },
      () => gatherSlowly(x, count, bits, indexBits),
    );
  };
}

// prettier-ignore
export const masked: SemanticsTable = {
  VMASKMOVPS: maskedMove(32), VMASKMOVPD: maskedMove(64), VPMASKMOVD: maskedMove(32), VPMASKMOVQ: maskedMove(64),
  VPGATHERDD: gather(32), VPGATHERDQ: gather(32), VGATHERDPS: gather(32), VGATHERDPD: gather(32),
  VPGATHERQD: gather(64), VPGATHERQQ: gather(64), VGATHERQPS: gather(64), VGATHERQPD: gather(64),
};
