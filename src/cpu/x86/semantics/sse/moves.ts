/** Moves between xmm registers, general registers and memory; bitwise logic; MXCSR. SDM volume 2. */
import * as L from '../../../layout.ts';
import { type FloatType, i32 } from '../../../../wasm/expr.ts';
import { RDI, type Semantics, type SemanticsTable } from '../context.ts';
import { OperandKind } from '../../decode/insn.ts';
import { binary, both, halves, put, putHalves, scratch, source, unary } from './operands.ts';
import { lane64, lowLane, pick, signBits, vector, withFloatLane } from './simd.ts';

const move: Semantics = (x) => {
  putHalves(x, halves(x, 1));
  x.noteCopy(1, 0);
};

/** Low lane to low lane; the rest of an xmm destination stays. */
const moveLow: Semantics = (x) => {
  if (x.isMemory(0)) {
    x.write(0, x.read(1));
    return;
  }
  const bits = x.width(1) === 64 ? 64 : 32;
  const [low, others] = [x.holdsNoDenormal(1, bits, false), x.holdsNoDenormal(0, bits, true)];
  x.writeFloat(0, x.readFloat(1, bits === 64 ? 'f64' : 'f32'));
  if (low) x.noteNoDenormal(0, bits, others);
};

/** MOVD, MOVQ, and the loading MOVSS and MOVSD: an xmm destination is cleared above what is moved. */
const moveZeroing: Semantics = (x) => {
  if (x.operand(0).kind !== OperandKind.xmm) x.write(0, x.read(1));
  else if (x.operand(1).kind === OperandKind.gpr) put(x, 0, lowLane(x.read(1)));
  else put(x, 0, lowLane(x.readFloat(1, x.width(1) === 64 ? 'f64' : 'f32')));
};

const moveHigh: Semantics = (x) => {
  if (x.isMemory(0)) x.write(0, lane64(source(x, 1), 1), 64);
  else x.writeVector(0, withFloatLane(x.readVector(0), 1, x.readFloat(1, 'f64')));
};

/** VEX forms with three operands: a lane of operand 1 is replaced by what operand 2 has in its low lane. */
function merge(type: FloatType, lane: 0 | 1): Semantics {
  return (x) => put(x, 0, withFloatLane(x.readVector(1), lane, x.readFloat(2, type)));
}

/** Stores the bytes of operand 0 whose mask byte in operand 1 is negative, at segment:rDI. */
const maskedStore: Semantics = (x) => {
  const mask = source(x, 1);
  const data = source(x, 0);
  const offset = x.reg(RDI, x.insn.addressSize).toI64();
  x.setState(128, L.CPU_SCRATCH + 16, data);
  x.microOrFault('sseMaskedStore', x.segmentNumber(), offset, x.let(signBits(8, mask)), scratch(x, 16), i32(16));
};

const loadMxcsr: Semantics = (x) => {
  const value = x.read(0).toI32();
  x.raiseIf(value.shr_u(i32(16)), L.EXC_GP);
  x.microVoid('sseLoadMxcsr', value);
  x.refreshFloatBounds();
};

const storeMxcsr: Semantics = (x) => x.write(0, x.let(x.state32(L.CPU_MXCSR)));

const and = binary((a, b) => vector('v128.and', a, b));
const andNot = binary((a, b) => vector('v128.andnot', b, a));
const or = binary((a, b) => vector('v128.or', a, b));
const xor = binary((a, b) => vector('v128.xor', a, b));

function moveMask(bits: 8 | 32 | 64): Semantics {
  return (x) => {
    const [low, high] = halves(x, 1);
    let mask = signBits(bits, low);
    if (high !== undefined) mask = mask.or(signBits(bits, high).shl(i32(128 / bits)));
    mask = x.let(mask);
    x.write(0, x.width(0) === 64 ? mask.toI64() : mask);
  };
}

// prettier-ignore
export const moves: SemanticsTable = {
  ...both({
    MOVAPS: move, MOVAPD: move, MOVUPS: move, MOVUPD: move, MOVDQA: move, MOVDQU: move, LDDQU: move,
    MOVNTPS: move, MOVNTPD: move, MOVNTDQ: move, MOVNTDQA: move,
    MOVD: moveZeroing, MOVQ: moveZeroing, MOVSS_load: moveZeroing, MOVSD_load: moveZeroing,
    MOVSS: moveLow, MOVSD: moveLow, MOVLPS: moveLow, MOVLPD: moveLow, MOVHPS: moveHigh, MOVHPD: moveHigh,
    MOVHLPS: binary((a, b) => pick(64, b, a, [1, 3])), MOVLHPS: binary((a, b) => pick(64, a, b, [0, 2])),
    MOVSLDUP: unary((a) => pick(32, a, a, [0, 0, 2, 2])),
    MOVSHDUP: unary((a) => pick(32, a, a, [1, 1, 3, 3])),
    MOVDDUP: unary((a) => pick(64, a, a, [0, 0])),
    MASKMOVDQU: maskedStore,
    MOVMSKPS: moveMask(32), MOVMSKPD: moveMask(64), PMOVMSKB: moveMask(8),
    PAND: and, ANDPS: and, ANDPD: and, PANDN: andNot, ANDNPS: andNot, ANDNPD: andNot,
    POR: or, ORPS: or, ORPD: or, PXOR: xor, XORPS: xor, XORPD: xor,
    LDMXCSR: loadMxcsr, STMXCSR: storeMxcsr,
  }),
  VMOVSS_merge: merge('f32', 0), VMOVSD_merge: merge('f64', 0), VMOVLPS_merge: merge('f64', 0), VMOVLPD_merge: merge('f64', 0),
  VMOVHPS_merge: merge('f64', 1), VMOVHPD_merge: merge('f64', 1),
};
