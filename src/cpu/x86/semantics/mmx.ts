/**
 * MMX: the 64-bit integer instructions on the x87 registers, and what SSE and SSSE3 added to them. SDM volume 2; volume 1,
 * chapter 9. Lanes are computed as in the xmm forms, in the low half of a vector.
 */
import * as L from '../../layout.ts';
import { type Expr, i32, i64, select } from '../../../wasm/expr.ts';
import { OperandKind } from '../decode/insn.ts';
import { type Semantics, type SemanticsTable, RDI, type X86 } from './context.ts';
import { byteValue, checked, put, putScratch, scratch, source } from './sse/operands.ts';
import { PACKED } from './sse/packed.ts';
import { shiftBy } from './sse/shifts.ts';
import {
  lane64,
  type Lanes,
  lowLane,
  signBits,
  splat,
  type Vector,
  vector,
  type VectorOp,
  withLane,
} from './sse/simd.ts';

const CR0_EM = 4;
const CR0_TS = 8;
const FSW_ES = 0x80;

/** #UD, #NM or #MF before anything else (SDM volume 3, table 14-1). */
function requireMmx(x: X86): void {
  const cr0 = x.state32(L.CPU_CR0).and(i32(CR0_EM | CR0_TS));
  const trouble = x.let(cr0.or(x.state('i32', 16, L.CPU_FSW).and(i32(FSW_ES))));
  x.f.if(trouble, () => {
    x.raiseIf(trouble.and(i32(CR0_EM)), L.EXC_UD);
    x.raiseIf(trouble.and(i32(CR0_TS)), L.EXC_NM);
    x.raise(L.EXC_MF);
  });
}

/** The x87 registers become MMX registers: TOP = 0, none is empty. Comes after whatever can fault. */
function enter(x: X86): void {
  x.setState(32, L.CPU_FTOP, i32(0));
  x.setState(8, L.CPU_FTAG, i32(0xff));
}

function mmxInstruction(body: Semantics): Semantics {
  return (x) => {
    requireMmx(x);
    body(x);
    enter(x);
  };
}

/** Operand `i` in the low half of a vector, zeros above. */
function operandVector(x: X86, i: number): Vector {
  return x.let(lowLane(x.read(i).toI64()));
}

function putLow(x: X86, value: Vector, half: 0 | 1 = 0): void {
  x.write(0, x.let(lane64(value, half)), 64);
}

type Compute = (a: Vector, b: Vector, x: X86) => Vector;

/** Low half of what the xmm form gives for the low halves. */
function low(compute: Compute): Semantics {
  return mmxInstruction((x) => {
    const b = operandVector(x, 1);
    putLow(x, compute(operandVector(x, 0), b, x));
  });
}

/** The destination below, the source above, as one vector given twice: what packs or adds neighbours wants it so. */
function joined(compute: Compute): Semantics {
  return mmxInstruction((x) => {
    const b = x.read(1).toI64();
    const both = x.let(withLane(64, operandVector(x, 0), 1, b));
    putLow(x, compute(both, both, x));
  });
}

/** Interleaving of the high halves: the upper half of interleaving the low ones. */
function high(compute: Compute): Semantics {
  return mmxInstruction((x) => {
    const b = operandVector(x, 1);
    putLow(x, compute(operandVector(x, 0), b, x), 1);
  });
}

function unaryLow(name: VectorOp): Semantics {
  return mmxInstruction((x) => putLow(x, vector(name, operandVector(x, 1))));
}

function shift(kind: 'shl' | 'shr_s' | 'shr_u', bits: Lanes): Semantics {
  return mmxInstruction((x) => {
    let count: Expr<'i32'>;
    if (x.operand(1).kind === OperandKind.imm) count = byteValue(x, 1);
    else {
      const value = x.read(1).toI64();
      count = x.let(select(value.gt_u(i64(255)), i32(255), value.toI32()));
    }
    putLow(x, shiftBy(kind, bits, operandVector(x, 0), count));
  });
}

/** Bitwise logic needs no lanes. */
function logic(compute: (a: Expr<'i64'>, b: Expr<'i64'>) => Expr<'i64'>): Semantics {
  return mmxInstruction((x) => {
    const b = x.read(1).toI64();
    x.write(0, x.let(compute(x.read(0).toI64(), b)));
  });
}

// ---- moves ----

/** MOVD, MOVQ: a narrower source is zero-extended, a narrower destination gets the low part. */
const move = mmxInstruction((x) => {
  const value = x.read(1);
  if (x.operand(0).kind === OperandKind.mmx) x.write(0, value.toI64(), 64);
  else x.write(0, x.width(0) === 64 ? value.toI64() : value.toI32());
});

const movq2dq = mmxInstruction((x) => x.writeVector(0, operandVector(x, 1)));

const movdq2q = mmxInstruction((x) => x.write(0, x.read(1, 64), 64));

const maskmovq = mmxInstruction((x) => {
  const mask = x.let(signBits(8, operandVector(x, 1)));
  const offset = x.reg(RDI, x.insn.addressSize).toI64();
  putScratch(x, 16, operandVector(x, 0));
  enter(x); // even when the store faults
  x.microOrFault('sseMaskedStore', x.segmentNumber(), offset, mask, scratch(x, 16), i32(8));
});

const emms: Semantics = (x) => {
  requireMmx(x);
  x.microVoid('mmxEmpty');
};

// ---- shuffles ----

const pshufw = mmxInstruction((x) => {
  const a = x.read(1).toI64();
  const order = byteValue(x, 2).toI64();
  let result: Expr<'i64'> = i64(0);
  for (let i = 0; i < 4; i++) {
    const from = order
      .shr_u(i64(2 * i))
      .and(i64(3))
      .shl(i64(4));
    result = result.or(
      a
        .shr_u(from)
        .and(i64(0xffff))
        .shl(i64(16 * i)),
    );
  }
  x.write(0, x.let(result));
});

const pinsrw = mmxInstruction((x) => {
  const value = x.read(1, 16).toI64();
  const at = x.let(byteValue(x, 2).toI64().and(i64(3)).shl(i64(4)));
  const kept = x.read(0).toI64().and(i64(0xffff).shl(at).not());
  x.write(0, x.let(kept.or(value.and(i64(0xffff)).shl(at))));
});

const pextrw = mmxInstruction((x) => {
  const at = byteValue(x, 2).toI64().and(i64(3)).shl(i64(4));
  const word = x.let(x.read(1).toI64().shr_u(at).and(i64(0xffff)));
  x.write(0, x.width(0) === 64 ? word : word.toI32());
});

const pmovmskb = mmxInstruction((x) => {
  const mask = x.let(signBits(8, operandVector(x, 1)));
  x.write(0, x.width(0) === 64 ? mask.toI64() : mask);
});

/** Destination and source as 16 bytes, shifted right by the immediate. */
const palignr = mmxInstruction((x) => {
  const below = x.read(1).toI64();
  const above = x.read(0).toI64();
  const count = x.let(byteValue(x, 2).toI64().shl(i64(3)));
  const near = below.shr_u(count).or(select(count.eqz(), i64(0), above.shl(i64(64).sub(count))));
  const far = select(count.lt_u(i64(128)), above.shr_u(count.sub(i64(64))), i64(0));
  x.write(0, x.let(select(count.lt_u(i64(64)), near, far)));
});

const pshufb: Compute = (a, b) => vector('i8x16.swizzle', a, vector('v128.and', b, splat(8, 0x87)));

// ---- conversions between mmx and xmm: exact microcode, for MXCSR has its say ----
// The switch to MMX use happens even when the conversion raises #XM. A memory source of CVTPI2PS and CVTPI2PD leaves the x87
// state alone.

const cvtpi2ps: Semantics = (x) => {
  if (!x.isMemory(1)) requireMmx(x);
  putScratch(x, 0, operandVector(x, 1));
  if (!x.isMemory(1)) enter(x);
  x.microOrFault('sseCvtI32ToF32', x.registerAddress(0), scratch(x), i32(2));
};

const cvtpi2pd: Semantics = (x) => {
  if (!x.isMemory(1)) requireMmx(x);
  put(x, 0, vector('f64x2.convert_low_i32x4_s', operandVector(x, 1)));
  if (!x.isMemory(1)) enter(x);
};

function toIntegers(bits: 32 | 64, truncate: 0 | 1): Semantics {
  return (x) => {
    requireMmx(x);
    putScratch(x, 0, source(x, 1));
    enter(x);
    x.microOrFault(`sseCvtF${bits}ToI32`, scratch(x, 16), scratch(x), i32(2), i32(truncate));
    x.write(0, x.let(x.state64(L.CPU_SCRATCH + 16)), 64);
  };
}

/** Instructions whose xmm form does the same in the low half. */
const LOW_HALF = [
  'PADDB', 'PADDW', 'PADDD', 'PADDQ', 'PADDSB', 'PADDSW', 'PADDUSB', 'PADDUSW',
  'PSUBB', 'PSUBW', 'PSUBD', 'PSUBQ', 'PSUBSB', 'PSUBSW', 'PSUBUSB', 'PSUBUSW',
  'PMINUB', 'PMINSW', 'PMAXUB', 'PMAXSW', 'PCMPEQB', 'PCMPEQW', 'PCMPEQD', 'PCMPGTB', 'PCMPGTW', 'PCMPGTD',
  'PAVGB', 'PAVGW', 'PMULLW', 'PMULHW', 'PMULHUW', 'PMULUDQ', 'PMULHRSW', 'PMADDWD', 'PMADDUBSW', 'PSADBW',
  'PSIGNB', 'PSIGNW', 'PSIGND', 'PUNPCKLBW', 'PUNPCKLWD', 'PUNPCKLDQ',
]; // prettier-ignore
const JOINED = ['PACKSSWB', 'PACKUSWB', 'PACKSSDW', 'PHADDW', 'PHADDD', 'PHADDSW', 'PHSUBW', 'PHSUBD', 'PHSUBSW'];
const HIGH_HALF: Readonly<Record<string, string>> = {
  PUNPCKHBW: 'PUNPCKLBW',
  PUNPCKHWD: 'PUNPCKLWD',
  PUNPCKHDQ: 'PUNPCKLDQ',
};

function xmmForm(name: string): Compute {
  const compute = PACKED[name];
  if (compute === undefined) throw new Error(`no packed operation ${name}`);
  return compute;
}

function forms(names: readonly string[], make: (compute: Compute) => Semantics): SemanticsTable {
  return Object.fromEntries(names.map((name) => [`${name}_mmx`, make(xmmForm(HIGH_HALF[name] ?? name))]));
}

export const mmx: SemanticsTable = {
  ...forms(LOW_HALF, low),
  ...forms(JOINED, joined),
  ...forms(Object.keys(HIGH_HALF), high),
  PSHUFB_mmx: low(pshufb),
  PABSB_mmx: unaryLow('i8x16.abs'), PABSW_mmx: unaryLow('i16x8.abs'), PABSD_mmx: unaryLow('i32x4.abs'),
  PSLLW_mmx: shift('shl', 16), PSLLD_mmx: shift('shl', 32), PSLLQ_mmx: shift('shl', 64),
  PSRLW_mmx: shift('shr_u', 16), PSRLD_mmx: shift('shr_u', 32), PSRLQ_mmx: shift('shr_u', 64),
  PSRAW_mmx: shift('shr_s', 16), PSRAD_mmx: shift('shr_s', 32),
  PAND_mmx: logic((a, b) => a.and(b)), PANDN_mmx: logic((a, b) => a.not().and(b)), POR_mmx: logic((a, b) => a.or(b)),
  PXOR_mmx: logic((a, b) => a.xor(b)),
  MOVD_mmx: move, MOVQ_mmx: move, MOVNTQ: move, MASKMOVQ: maskmovq, EMMS: emms,
  PSHUFW: pshufw, PINSRW_mmx: pinsrw, PEXTRW_mmx: pextrw, PMOVMSKB_mmx: pmovmskb, PALIGNR_mmx: palignr,
  ...checked({
    MOVQ2DQ: movq2dq, MOVDQ2Q: movdq2q, CVTPI2PS: cvtpi2ps, CVTPI2PD: cvtpi2pd,
    CVTPS2PI: toIntegers(32, 0), CVTTPS2PI: toIntegers(32, 1), CVTPD2PI: toIntegers(64, 0), CVTTPD2PI: toIntegers(64, 1),
  }),
}; // prettier-ignore
