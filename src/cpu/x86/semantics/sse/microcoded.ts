/** AES-NI, PCLMULQDQ, SHA and the dot products: operands go to the microcode as addresses. SDM volume 2. */
import { type Expr, i32, load } from '../../../../wasm/expr.ts';
import type { Semantics, SemanticsTable, X86 } from '../context.ts';
import { byteValue, putScratch, scratch, source } from './operands.ts';

/** Address of a 16-byte operand; memory is copied into the work space. */
function address(x: X86, i: number): Expr<'i32'> {
  if (!x.isMemory(i)) return x.registerAddress(i);
  putScratch(x, 0, source(x, i));
  return scratch(x);
}

/** `name(destination, destination, source)` */
function ofBoth(name: string): Semantics {
  return (x) => {
    const b = address(x, 1);
    x.microVoid(name, x.registerAddress(0), x.registerAddress(0), b);
  };
}

/** `name(destination, destination, source, XMM0)` */
function ofBothAndXmm0(name: string): Semantics {
  return (x) => {
    const b = address(x, 1);
    x.microVoid(name, x.registerAddress(0), x.registerAddress(0), b, x.registerAddress(2));
  };
}

/** `name(destination, destination, source, immediate)` */
function ofBothAndImmediate(name: string): Semantics {
  return (x) => {
    const b = address(x, 1);
    x.microVoid(name, x.registerAddress(0), x.registerAddress(0), b, byteValue(x, 2));
  };
}

const aesImc: Semantics = (x) => {
  const a = address(x, 1);
  x.microVoid('sseAesInverseMix', x.registerAddress(0), a);
};

const aesKeygenAssist: Semantics = (x) => {
  const a = address(x, 1);
  x.microVoid('sseAesKeyAssist', x.registerAddress(0), a, byteValue(x, 2));
};

/** Bits 0 and 4 of the immediate choose the quadwords. */
const pclmulqdq: Semantics = (x) => {
  const b = address(x, 1);
  const immediate = byteValue(x, 2);
  const quadword = (base: Expr<'i32'>, bit: number): Expr<'i64'> =>
    x.let(load('i64', 64, base.add(immediate.shr_u(i32(bit)).and(i32(1)).shl(i32(3)))));
  const first = quadword(x.registerAddress(0), 0);
  x.microVoid('sseMultiplyCarryless', x.registerAddress(0), first, quadword(b, 4));
};

function dot(name: string): Semantics {
  return (x) => {
    const b = source(x, 1);
    putScratch(x, 0, source(x, 0));
    putScratch(x, 16, b);
    x.microOrFault(name, byteValue(x, 2), x.registerAddress(0), scratch(x), scratch(x, 16));
  };
}

// prettier-ignore
export const microcoded: SemanticsTable = {
  AESENC: ofBoth('sseAesEncrypt'), AESENCLAST: ofBoth('sseAesEncryptLast'), AESDEC: ofBoth('sseAesDecrypt'),
  AESDECLAST: ofBoth('sseAesDecryptLast'), AESIMC: aesImc, AESKEYGENASSIST: aesKeygenAssist, PCLMULQDQ: pclmulqdq,
  SHA1RNDS4: ofBothAndImmediate('sseSha1Rounds'), SHA1NEXTE: ofBoth('sseSha1NextE'), SHA1MSG1: ofBoth('sseSha1Message1'),
  SHA1MSG2: ofBoth('sseSha1Message2'), SHA256RNDS2: ofBothAndXmm0('sseSha256Rounds'), SHA256MSG1: ofBoth('sseSha256Message1'),
  SHA256MSG2: ofBoth('sseSha256Message2'), DPPS: dot('sseDotF32'), DPPD: dot('sseDotF64'),
};
