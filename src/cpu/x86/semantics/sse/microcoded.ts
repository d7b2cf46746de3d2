/** AES-NI, PCLMULQDQ, SHA and the dot products: operands go to the microcode through the work space. SDM volume 2. */
import { type Expr, i32, load } from '../../../../wasm/expr.ts';
import type { Semantics, SemanticsTable, X86 } from '../context.ts';
import { putWork, takeWork, together, work } from './exact.ts';
import {
  both,
  byteValue,
  halves,
  lastImmediate,
  place,
  put,
  putHalves,
  putScratch,
  scratch,
  source,
} from './operands.ts';
import { lane64 } from './simd.ts';

/** Operand 0 becomes what the microcode left at the beginning of the work space. */
function putResult(x: X86): void {
  put(x, 0, x.let(load('v128', 128, scratch(x))));
}

/** `name(result, first operand, second operand, ...)` */
function call(name: string, ...more: ((x: X86) => Expr)[]): Semantics {
  return (x) => {
    const b = source(x, place(x, 1));
    putScratch(x, 0, source(x, place(x, 0)));
    putScratch(x, 16, b);
    x.microVoid(name, scratch(x), scratch(x), scratch(x, 16), ...more.map((argument) => argument(x)));
    putResult(x);
  };
}

/** `name(result, second operand, ...)` */
function callWithSource(name: string, ...more: ((x: X86) => Expr)[]): Semantics {
  return (x) => {
    putScratch(x, 0, source(x, 1));
    x.microVoid(name, scratch(x), scratch(x), ...more.map((argument) => argument(x)));
    putResult(x);
  };
}

const immediate = (x: X86): Expr => byteValue(x, 2);

function xmm0(x: X86): Expr {
  putScratch(x, 32, source(x, 2));
  return scratch(x, 32);
}

/** Bits 0 and 4 of the immediate choose the quadwords. */
const pclmulqdq: Semantics = (x) => {
  const b = source(x, place(x, 1));
  const a = source(x, place(x, 0));
  const selector = lastImmediate(x);
  let quadwords: [Expr<'i64'>, Expr<'i64'>];
  if (typeof selector === 'number') {
    quadwords = [lane64(a, selector & 1), lane64(b, (selector >> 4) & 1)];
  } else {
    putScratch(x, 0, a);
    putScratch(x, 16, b);
    const at = (offset: number, bit: number): Expr<'i64'> =>
      load('i64', 64, scratch(x, offset).add(selector.shr_u(i32(bit)).and(i32(1)).shl(i32(3))));
    quadwords = [at(0, 0), at(16, 4)];
  }
  x.microVoid('sseMultiplyCarryless', scratch(x), ...quadwords);
  putResult(x);
};

/** These can fault, in both halves of ymm registers together. */
function dot(name: string): Semantics {
  return (x) => {
    const bs = halves(x, place(x, 1));
    const as = halves(x, place(x, 0));
    putWork(x, [as, bs]);
    const where = [work(x, 0), work(x, 0), work(x, 1)];
    x.microOrFault(name, byteValue(x, x.insn.operandCount - 1), ...where, i32(as.length));
    x.refreshFloatBounds();
    const results = as.map(() => x.f.temporary('v128'));
    takeWork(x, results);
    putHalves(x, together(results));
  };
}

// prettier-ignore
export const microcoded: SemanticsTable = {
  ...both({
  AESENC: call('sseAesEncrypt'), AESENCLAST: call('sseAesEncryptLast'), AESDEC: call('sseAesDecrypt'), AESDECLAST: call('sseAesDecryptLast'),
  AESIMC: callWithSource('sseAesInverseMix'), AESKEYGENASSIST: callWithSource('sseAesKeyAssist', immediate), PCLMULQDQ: pclmulqdq,
  DPPS: dot('sseDotF32'), DPPD: dot('sseDotF64'),
  }),
  SHA1RNDS4: call('sseSha1Rounds', immediate), SHA1NEXTE: call('sseSha1NextE'), SHA1MSG1: call('sseSha1Message1'),
  SHA1MSG2: call('sseSha1Message2'), SHA256RNDS2: call('sseSha256Rounds', xmm0), SHA256MSG1: call('sseSha256Message1'),
  SHA256MSG2: call('sseSha256Message2'),
};
