/**
 * x87 floating point. Everything that computes is microcode (src/cpu/microcode/fpu) and works on the register stack in the
 * vCPU state; here is who reads and writes memory, when exceptions are looked at, and what the pointers remember.
 * SDM volume 1, chapter 8, and volume 2. FOP is not recorded, as on processors whose FOP compatibility mode is off.
 */
import * as L from '../../layout.ts';
import { type Expr, i32, i64, load } from '../../../wasm/expr.ts';
import { OperandKind } from '../decode/insn.ts';
import type { Access, Int, Semantics, SemanticsTable, X86 } from './context.ts';

const CR0_MP = 2;
const CR0_EM = 4;
const CR0_TS = 8;
const FSW_ES = 0x80;

/** Operation numbers of the microcode: those of the opcodes. */
const ARITHMETIC = { add: 0, mul: 1, sub: 4, subr: 5, div: 6, divr: 7 } as const;
type Operation = keyof typeof ARITHMETIC;

/** #NM when the FPU is not to be used; for waiting instructions #MF when an exception is pending. */
function requireFpu(x: X86, waiting: boolean): void {
  const unavailable = x.state32(L.CPU_CR0).and(i32(CR0_EM | CR0_TS));
  if (!waiting) {
    x.raiseIf(unavailable, L.EXC_NM);
    return;
  }
  const trouble = x.let(unavailable.or(x.state('i32', 16, L.CPU_FSW).and(i32(FSW_ES))));
  x.f.if(trouble, () => {
    x.raiseIf(trouble.and(i32(CR0_EM | CR0_TS)), L.EXC_NM);
    x.raise(L.EXC_MF);
  });
}

/** Remembers where this instruction is, and its memory operand. Comes after whatever can fault. */
function remember(x: X86): void {
  const memory = x.insn.operandCount > 0 && x.isMemory(0);
  x.setState(64, L.CPU_FIP, x.thisRip());
  if (memory) x.setState(64, L.CPU_FDP, x.effectiveAddress().toI64());
  if (x.is64) return;
  const selector = (segment: Expr<'i32'>): Expr<'i32'> =>
    load('i32', 16, x.cpu.add(segment.mul(i32(L.SEG_SIZE))), L.CPU_SEG + L.SEG_SELECTOR);
  x.setState(16, L.CPU_FCS, selector(i32(L.CS)));
  if (memory) x.setState(16, L.CPU_FDS, selector(x.segmentNumber()));
}

/** A definition that works on registers alone: one microcode function. */
function registers(name: string, ...args: number[]): Semantics {
  return (x) => {
    requireFpu(x, true);
    remember(x);
    x.microVoid(name, ...args.map(i32));
  };
}

/** The same with the number of the stack register in operand `i` as first argument. */
function register(name: string, i: number, ...args: number[]): Semantics {
  return (x) => registers(name, x.operand(i).reg, ...args)(x);
}

/** Sign-extended integer of the memory operand. */
function readInteger(x: X86): Expr<'i64'> {
  return x.let(x.read(0).toI64().signExtend(x.width(0)));
}

// ---- arithmetic ----

function arithmetic(operation: Operation, popCount = 0): Semantics {
  const code = i32(ARITHMETIC[operation]);
  return (x) => {
    requireFpu(x, true);
    if (x.isMemory(0)) {
      const value = x.read(0);
      remember(x);
      x.microVoid(`fpuArithF${x.width(0)}`, code, value);
    } else {
      remember(x);
      x.microVoid('fpuArith', code, i32(x.operand(0).reg), i32(x.operand(1).reg), i32(popCount));
    }
  };
}

function integerArithmetic(operation: Operation): Semantics {
  return (x) => {
    requireFpu(x, true);
    const value = readInteger(x);
    remember(x);
    x.microVoid('fpuArithInt', i32(ARITHMETIC[operation]), value);
  };
}

// ---- comparison ----

function compare(popCount: number, quiet = 0): Semantics {
  return (x) => {
    requireFpu(x, true);
    if (x.insn.operandCount > 0 && x.isMemory(0)) {
      const value = x.read(0);
      remember(x);
      x.microVoid(`fpuCompareF${x.width(0)}`, value, i32(popCount));
    } else {
      remember(x);
      const other = x.insn.operandCount > 1 ? x.operand(1).reg : 1;
      x.microVoid('fpuCompare', i32(other), i32(quiet), i32(popCount));
    }
  };
}

function integerCompare(popCount: number): Semantics {
  return (x) => {
    requireFpu(x, true);
    const value = readInteger(x);
    remember(x);
    x.microVoid('fpuCompareInt', value, i32(popCount));
  };
}

function compareFlags(quiet: number, popCount: number): Semantics {
  return (x) => {
    requireFpu(x, true);
    remember(x);
    x.flags.fromBits(x.micro('i32', 'fpuCompareFlags', i32(x.operand(1).reg), i32(quiet), i32(popCount)));
  };
}

/** FCMOVcc by the number of the condition in Jcc. */
function conditionalMove(condition: number): Semantics {
  return (x) => {
    requireFpu(x, true);
    remember(x);
    x.microVoid('fpuMove', i32(x.operand(1).reg), x.let(x.flags.condition(condition)));
  };
}

// ---- loads and stores ----

/** Ten bytes of memory: significand, then sign and exponent. */
function readExtended(x: X86): { low: Int; high: Int } {
  const at = x.linear(10, 'read');
  const low = x.mem.load(at, 64);
  return { low, high: x.mem.load(x.let(at.add(i64(8))), 16) };
}

/** The ten bytes at CPU_FPU_IMAGE to memory: both halves at once where they lie in one page. */
function writeExtended(x: X86): void {
  const at = x.linear(10, 'write');
  x.f.if(
    at.toI32().and(i32(0xfff)).le_u(i32(0xff6)),
    () => {
      x.mem.store(at, 64, x.state64(L.CPU_FPU_IMAGE));
      x.mem.store(x.let(at.add(i64(8))), 16, x.state('i32', 16, L.CPU_FPU_IMAGE + 8));
    },
    () => x.microOrFault('writeGuest', at, x.cpu.add(i32(L.CPU_FPU_IMAGE)), i32(10)),
  );
}

const fld: Semantics = (x) => {
  requireFpu(x, true);
  if (x.operand(0).kind === OperandKind.st) {
    remember(x);
    x.microVoid('fpuLoadSt', i32(x.operand(0).reg));
  } else if (x.width(0) === 80) {
    const { low, high } = readExtended(x);
    remember(x);
    x.microVoid('fpuLoadF80', low, high);
  } else {
    const value = x.read(0);
    remember(x);
    x.microVoid(`fpuLoadF${x.width(0)}`, value);
  }
};

const fild: Semantics = (x) => {
  requireFpu(x, true);
  const value = readInteger(x);
  remember(x);
  x.microVoid('fpuLoadInt', value);
};

const fbld: Semantics = (x) => {
  requireFpu(x, true);
  const { low, high } = readExtended(x);
  remember(x);
  x.microVoid('fpuLoadBcd', low, high);
};

/** Computes, writes unless an unmasked exception forbids it, then lets flags and stack change. */
function storing(popCount: number, compute: (x: X86) => () => void): Semantics {
  return (x) => {
    requireFpu(x, true);
    const write = compute(x);
    // What is not written must be writable all the same.
    const bytes = x.width(0) / 8;
    x.f.if(x.state32(L.CPU_FPU_STORE), write, () => x.microOrFault('probe', x.linear(bytes, 'write'), i32(bytes), i32(1)));
    remember(x);
    x.microVoid('fpuStored', i32(popCount));
  };
}

function storeReal(popCount: number): Semantics {
  const extended = storing(popCount, (x) => {
    x.microVoid('fpuStoreF80');
    return () => writeExtended(x);
  });
  const real = storing(popCount, (x) => {
    const type = x.width(0) === 64 ? 'i64' : 'i32';
    const value = x.micro(type, `fpuStoreF${x.width(0)}`);
    return () => x.write(0, value);
  });
  return (x) => {
    if (x.operand(0).kind === OperandKind.st) register('fpuStoreSt', 0, popCount)(x);
    else if (x.width(0) === 80) extended(x);
    else real(x);
  };
}

function storeInteger(popCount: number, truncate = 0): Semantics {
  return storing(popCount, (x) => {
    const value = x.micro('i64', 'fpuStoreInt', i32(x.width(0)), i32(truncate));
    return () => x.write(0, x.width(0) === 64 ? value : value.toI32());
  });
}

const fbstp = storing(1, (x) => {
  x.microVoid('fpuStoreBcd');
  return () => writeExtended(x);
});

// ---- control ----

/** Format of the environment: operand size, and whether pointers are selectors and offsets. */
function environmentFormat(x: X86): [Expr<'i32'>, Expr<'i32'>] {
  const isProtected = (x.mode & L.MODE_PROTECTED) !== 0 && (x.mode & L.MODE_VM86) === 0;
  return [i32(x.insn.operandSize === 16 ? 16 : 32), i32(isProtected ? 1 : 0)];
}

/** Page faults of images name the first byte, or else the last. */
function probeEnds(x: X86, at: Expr<'i64'>, bytes: number, write: 0 | 1): void {
  if (write) x.mem.hostForUpdate(at, 8);
  else x.mem.load(at, 8);
  x.microOrFault('probe', x.let(at.add(i64(bytes - 1))), i32(1), i32(write));
}

/** FNSTENV, FNSAVE: image, store, then what changes. */
function storeImage(build: string, afterwards: string): Semantics {
  return (x) => {
    requireFpu(x, false);
    const bytes = x.width(0) / 8;
    const at = x.linear(bytes, 'write');
    probeEnds(x, at, bytes, 1);
    x.f.drop(x.micro('i32', build, ...environmentFormat(x)));
    x.microOrFault('writeGuest', at, x.cpu.add(i32(L.CPU_FPU_IMAGE)), i32(bytes));
    x.microVoid(afterwards);
  };
}

function loadImage(name: string): Semantics {
  return (x) => {
    requireFpu(x, true);
    const bytes = x.width(0) / 8;
    const at = x.linear(bytes, 'read');
    probeEnds(x, at, bytes, 0);
    x.microOrFault('readGuest', at, x.cpu.add(i32(L.CPU_FPU_IMAGE)), i32(bytes));
    x.microVoid(name, ...environmentFormat(x));
  };
}

const fldcw: Semantics = (x) => {
  requireFpu(x, true);
  x.microVoid('fpuLoadControl', x.read(0).toI32());
};

const fnstcw: Semantics = (x) => {
  requireFpu(x, false);
  x.write(0, x.let(x.state('i32', 16, L.CPU_FCW)));
};

const fnstsw: Semantics = (x) => {
  requireFpu(x, false);
  x.write(0, x.micro('i32', 'fpuStatus'));
};

const fnclex: Semantics = (x) => {
  requireFpu(x, false);
  x.microVoid('fpuClear');
};

const fninit: Semantics = (x) => {
  requireFpu(x, false);
  x.microVoid('fpuInit');
};

/** FWAIT needs CR0.MP and CR0.TS together for #NM. */
const fwait: Semantics = (x) => {
  x.raiseIf(x.state32(L.CPU_CR0).and(i32(CR0_MP | CR0_TS)).eq(i32(CR0_MP | CR0_TS)), L.EXC_NM);
  x.raiseIf(x.state('i32', 16, L.CPU_FSW).and(i32(FSW_ES)), L.EXC_MF);
};

/** The instructions of the 8087 and 80287 that have become FNOP do not wait. */
const fnop: Semantics = (x) => {
  const waiting = x.insn.row.encoding.startsWith('D9');
  requireFpu(x, waiting);
  if (waiting) remember(x);
};

/** Linear address of an FXSAVE image: #GP unless aligned to 16 bytes. */
function imageAddress(x: X86, access: Access): Expr<'i64'> {
  requireFpu(x, false);
  const at = x.linear(512, access);
  x.raiseIf(at.toI32().and(i32(15)), L.EXC_GP);
  return at;
}

const fxsave: Semantics = (x) => {
  const at = imageAddress(x, 'write');
  x.mem.hostForUpdate(at, 8);
  x.microOrFault('probe', at, i32(512), i32(1));
  const image = x.cpu.add(i32(L.CPU_IMAGE));
  const bytes = x.micro('i32', 'fxsaveImage', image, i32(x.insn.rexW ? 1 : 0));
  x.microOrFault('writeGuest', at, image, bytes);
};

const fxrstor: Semantics = (x) => {
  const at = imageAddress(x, 'read');
  const image = x.cpu.add(i32(L.CPU_IMAGE));
  x.mem.load(at, 8);
  x.microOrFault('readGuest', at, image, i32(512));
  x.raiseIf(x.micro('i32', 'fxrstorImage', image, i32(x.insn.rexW ? 1 : 0)), L.EXC_GP);
};

export const x87: SemanticsTable = {
  FADD: arithmetic('add'), FMUL: arithmetic('mul'), FSUB: arithmetic('sub'), FSUBR: arithmetic('subr'),
  FDIV: arithmetic('div'), FDIVR: arithmetic('divr'),
  FADDP: arithmetic('add', 1), FMULP: arithmetic('mul', 1), FSUBP: arithmetic('sub', 1), FSUBRP: arithmetic('subr', 1),
  FDIVP: arithmetic('div', 1), FDIVRP: arithmetic('divr', 1),
  FIADD: integerArithmetic('add'), FIMUL: integerArithmetic('mul'), FISUB: integerArithmetic('sub'),
  FISUBR: integerArithmetic('subr'), FIDIV: integerArithmetic('div'), FIDIVR: integerArithmetic('divr'),
  FCOM: compare(0), FCOMP: compare(1), FCOMPP: compare(2), FUCOM: compare(0, 1), FUCOMP: compare(1, 1), FUCOMPP: compare(2, 1),
  FICOM: integerCompare(0), FICOMP: integerCompare(1), FTST: registers('fpuTest'), FXAM: registers('fpuExamine'),
  FCOMI: compareFlags(0, 0), FCOMIP: compareFlags(0, 1), FUCOMI: compareFlags(1, 0), FUCOMIP: compareFlags(1, 1),
  FCMOVB: conditionalMove(2), FCMOVNB: conditionalMove(3), FCMOVE: conditionalMove(4), FCMOVNE: conditionalMove(5),
  FCMOVBE: conditionalMove(6), FCMOVNBE: conditionalMove(7), FCMOVU: conditionalMove(10), FCMOVNU: conditionalMove(11),
  FLD: fld, FST: storeReal(0), FSTP: storeReal(1), FSTP_nce: register('fpuStoreStQuietly', 0), FILD: fild,
  FIST: storeInteger(0), FISTP: storeInteger(1), FISTTP: storeInteger(1, 1), FBLD: fbld, FBSTP: fbstp,
  FXCH: register('fpuExchange', 1), FCHS: registers('fpuSign', 0xffff, 0x8000), FABS: registers('fpuSign', 0x7fff, 0),
  FLD1: registers('fpuLoadConstant', 0), FLDL2T: registers('fpuLoadConstant', 1), FLDL2E: registers('fpuLoadConstant', 2),
  FLDPI: registers('fpuLoadConstant', 3), FLDLG2: registers('fpuLoadConstant', 4), FLDLN2: registers('fpuLoadConstant', 5),
  FLDZ: registers('fpuLoadConstant', 6),
  FSQRT: registers('fpuSqrt'), FPREM: registers('fpuRemainder', 0), FPREM1: registers('fpuRemainder', 1),
  FRNDINT: registers('fpuRoundInt'), FSCALE: registers('fpuScale'), FXTRACT: registers('fpuExtract'),
  F2XM1: registers('fpu2xm1'), FYL2X: registers('fpuYl2x'), FYL2XP1: registers('fpuYl2xp1'), FPTAN: registers('fpuTangent'),
  FPATAN: registers('fpuArcTangent'), FSIN: registers('fpuSine', 0), FCOS: registers('fpuSine', 1), FSINCOS: registers('fpuSineCosine'),
  FDECSTP: registers('fpuRotate', -1), FINCSTP: registers('fpuRotate', 1), FFREE: register('fpuFree', 0, 0), FFREEP: register('fpuFree', 0, 1),
  FNOP: fnop, FWAIT: fwait, FLDCW: fldcw, FNSTCW: fnstcw, FNSTSW: fnstsw, FNCLEX: fnclex, FNINIT: fninit,
  FNSTENV: storeImage('fpuEnv', 'fpuEnvStored'), FLDENV: loadImage('fpuLoadEnv'),
  FNSAVE: storeImage('fpuSave', 'fpuInit'), FRSTOR: loadImage('fpuRestore'), FXSAVE: fxsave, FXRSTOR: fxrstor,
}; // prettier-ignore
