/**
 * x87 floating point. Everything that computes is microcode (src/cpu/microcode/fpu) and works on the register stack in the
 * vCPU state; here is who reads and writes memory, when exceptions are looked at, and what the pointers remember.
 * SDM volume 1, chapter 8, and volume 2. FOP is not recorded, as on processors whose FOP compatibility mode is off.
 */
import * as L from '../../layout.ts';
import { type Expr, i32, i64, i64Halves, load, select } from '../../../wasm/expr.ts';
import { OperandKind } from '../decode/insn.ts';
import type { Label } from '../../../wasm/function-builder.ts';
import type { Access, Int, Semantics, SemanticsTable, X86 } from './context.ts';

import {
  arithmeticInline,
  extendedAt,
  extendedFrom,
  putExtended,
  requireCommonMode,
  requireNormal,
} from './x87-inline.ts';

const CR0_MP = 2;
const CR0_EM = 4;
const CR0_TS = 8;
const FSW_ES = 0x80;
const FCW_PM = 0x20;
const FCW_RC = 0xc00;

/** Operation numbers of the microcode: those of the opcodes. */
const ARITHMETIC = { add: 0, mul: 1, sub: 4, subr: 5, div: 6, divr: 7 } as const;
type Operation = keyof typeof ARITHMETIC;

/** #NM when the FPU is not to be used; for waiting instructions #MF when an exception is pending. */
function requireFpu(x: X86, waiting: boolean): void {
  x.prepareX87();
  const unavailable = x.state32(L.CPU_CR0).and(i32(CR0_EM | CR0_TS));
  if (!waiting) {
    x.raiseIf(unavailable, L.EXC_NM);
    return;
  }
  x.f.if(
    x.x87Trouble(),
    () => {
      x.raiseIf(unavailable, L.EXC_NM);
      x.raise(L.EXC_MF);
    },
    undefined,
    false,
  );
}

/** Which selectors an instruction has to remember: they hardly ever change, unlike offsets. */
interface Selectors {
  readonly code: boolean;
  readonly data: boolean;
}

/** Asked once an instruction, before its ways part. */
function selectors(x: X86): Selectors {
  const memory = x.insn.operandCount > 0 && x.isMemory(0);
  if (x.is64) return { code: false, data: false };
  return {
    code: x.changesInBlock('FCS', L.CS),
    data: memory && x.changesInBlock('FDS', x.insn.mem.segment),
  };
}

/** Remembers where this instruction is, and its memory operand. Comes after whatever can fault. */
function remember(x: X86, { code, data }: Selectors = selectors(x)): void {
  x.setState(64, L.CPU_FIP, x.thisRip());
  if (x.insn.operandCount > 0 && x.isMemory(0)) x.setState(64, L.CPU_FDP, x.effectiveAddress().toI64());
  const selector = (segment: Expr<'i32'>): Expr<'i32'> =>
    load('i32', 16, x.cpu.add(segment.mul(i32(L.SEG_SIZE))), L.CPU_SEG + L.SEG_SELECTOR);
  if (code) x.setState(16, L.CPU_FCS, selector(i32(L.CS)));
  if (data) x.setState(16, L.CPU_FDS, selector(x.segmentNumber()));
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

// ---- the register stack in generated code: moves that raise nothing need no microcode ----

const FSW_C1 = 0x200;

/** ST(i) with the facts of the stack read once. */
interface Stack {
  readonly top: Expr<'i32'>;
  /** Bit p: physical register p holds something. */
  readonly tags: Expr<'i32'>;
  /** Number of the physical register of ST(i). */
  physical(i: number): Expr<'i32'>;
  /** 1 when ST(i) holds something. */
  holds(i: number): Expr<'i32'>;
  /** Address of ST(i), less CPU_FPR. */
  slot(i: number): Expr<'i32'>;
}

function stack(x: X86): Stack {
  const top = x.let(x.state32(L.CPU_FTOP));
  const tags = x.let(x.state('i32', 8, L.CPU_FTAG));
  const physical = (i: number): Expr<'i32'> => (i === 0 ? top : top.add(i32(i)).and(i32(7)));
  return {
    top,
    tags,
    physical,
    holds: (i) => {
      const known = x.x87Holds(i);
      return known === undefined ? tags.shr_u(physical(i)).and(i32(1)) : i32(known ? 1 : 0);
    },
    slot: (i) => x.let(x.cpu.add(physical(i).shl(i32(4)))),
  };
}

function clearC1(x: X86): void {
  x.setState(16, L.CPU_FSW, x.state('i32', 16, L.CPU_FSW).and(i32(~FSW_C1)));
}

/** Takes ST(7), which is empty, as the new top; gives its address, less CPU_FPR. */
function pushed(x: X86, st: Stack): Expr<'i32'> {
  const top = x.let(st.physical(7));
  x.setState(32, L.CPU_FTOP, top);
  x.setState(8, L.CPU_FTAG, st.tags.or(i32(1).shl(top)));
  return x.let(x.cpu.add(top.shl(i32(4))));
}

const fxch: Semantics = (x) => {
  const i = x.operand(1).reg;
  requireFpu(x, true);
  remember(x);
  const st = stack(x);
  x.f.if(
    st.holds(0).and(st.holds(i)),
    () => {
      const [a, b] = [st.slot(0), st.slot(i)];
      // In the pieces in which they were written: a processor is slow to load what two stores made.
      const [va, vb] = [extendedAt(x, a), extendedAt(x, b)];
      putExtended(x, a, vb);
      putExtended(x, b, va);
      clearC1(x);
    },
    () => x.microVoid('fpuExchange', i32(i)),
  );
  x.x87Done(0, [0, i]);
};

/** FCHS, FABS: sign and exponent become (old & and) ^ xor. */
function sign(and: number, xor: number): Semantics {
  return (x) => {
    requireFpu(x, true);
    remember(x);
    const st = stack(x);
    x.f.if(
      st.holds(0),
      () => {
        const at = st.slot(0);
        x.f.store(
          16,
          at,
          load('i32', 16, at, L.CPU_FPR + 8)
            .and(i32(and))
            .xor(i32(xor)),
          L.CPU_FPR + 8,
        );
        clearC1(x);
      },
      () => x.microVoid('fpuSign', i32(and), i32(xor)),
    );
    x.x87Done(0, [0]);
  };
}

/** FST ST(i), FSTP ST(i). */
function storeRegister(popCount: 0 | 1): Semantics {
  return (x) => {
    const i = x.operand(0).reg;
    requireFpu(x, true);
    remember(x);
    const st = stack(x);
    x.f.if(
      st.holds(0),
      () => {
        putExtended(x, st.slot(i), extendedAt(x, st.slot(0)));
        const tags = st.tags.or(i32(1).shl(st.physical(i)));
        if (popCount === 0) x.setState(8, L.CPU_FTAG, tags);
        else popped(x, st, tags);
        clearC1(x);
      },
      () => x.microVoid('fpuStoreSt', i32(i), i32(popCount)),
    );
    x.x87Done(popCount, [i]);
  };
}

/** ST(0) goes: `tags` less the old top, TOP one further. */
function popped(x: X86, st: Stack, tags: Expr<'i32'>): void {
  x.setState(8, L.CPU_FTAG, tags.and(i32(1).shl(st.top).not()));
  x.setState(32, L.CPU_FTOP, st.physical(1));
}

/** Pushes what `write` stores at the new top's address (CPU_FPR on top); else, when the stack is full, calls the microcode. */
function pushOr(
  x: X86,
  possible: Expr<'i32'> | undefined,
  write: (slot: Expr<'i32'>) => void,
  otherwise: () => void,
): void {
  const st = stack(x);
  const room = st.holds(7).eqz();
  x.f.if(
    possible === undefined ? room : room.and(possible),
    () => {
      write(pushed(x, st));
      clearC1(x);
    },
    otherwise,
  );
}

/** Sign-extended integer of the memory operand. */
function readInteger(x: X86): Expr<'i64'> {
  return x.let(x.read(0).toI64().signExtend(x.width(0)));
}

// ---- arithmetic ----

/**
 * Does `quick`, which may leave for the label that it is given before it has changed anything, or else `exact`. In tier 0, whose
 * handlers are many and small, it is always `exact`.
 */
function inlineOr(x: X86, quick: (rare: Label, st: Stack) => void, exact: () => void): void {
  if (!x.inlines) {
    exact();
    return;
  }
  x.f.block((done) => {
    x.f.block((rare) => {
      requireCommonMode(x, rare);
      quick(rare, stack(x));
      x.f.branch(done);
    });
    exact();
  });
}

function arithmetic(operation: Operation, popCount: 0 | 1 = 0): Semantics {
  const code = i32(ARITHMETIC[operation]);
  return (x) => {
    requireFpu(x, true);
    const inline = operation === 'div' || operation === 'divr' ? undefined : operation;
    if (x.isMemory(0)) {
      const value = x.read(0);
      remember(x);
      const width = x.width(0) === 64 ? 64 : 32;
      const exact = (): void => x.microVoid(`fpuArithF${width}`, code, value);
      if (inline === undefined) {
        exact();
        x.x87Done(0, [0]);
        return;
      }
      const quick = (rare: Label, st: Stack): void => {
        x.f.branchIf(rare, st.holds(0).eqz(), false);
        const b = extendedFrom(x, value.toI64(), width, rare);
        const a = extendedAt(x, st.slot(0));
        requireNormal(x, a, rare);
        arithmeticInline(x, inline, st.slot(0), a, b, rare);
      };
      inlineOr(x, quick, exact);
      x.x87Done(0, [0]);
      return;
    }
    remember(x);
    const [to, from] = [x.operand(0).reg, x.operand(1).reg];
    const exact = (): void => x.microVoid('fpuArith', code, i32(to), i32(from), i32(popCount));
    if (inline === undefined) {
      exact();
      x.x87Done(popCount, [to]);
      return;
    }
    const quick = (rare: Label, st: Stack): void => {
      x.f.branchIf(rare, st.holds(to).and(st.holds(from)).eqz(), false);
      const slot = st.slot(to);
      const a = extendedAt(x, slot);
      requireNormal(x, a, rare);
      const b = to === from ? a : extendedAt(x, st.slot(from));
      if (to !== from) requireNormal(x, b, rare);
      arithmeticInline(x, inline, slot, a, b, rare);
      if (popCount > 0) popped(x, st, st.tags);
    };
    inlineOr(x, quick, exact);
    x.x87Done(popCount, [to]);
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
    const i = x.operand(0).reg;
    remember(x);
    const st = stack(x);
    x.f.if(
      st.holds(i).and(st.holds(7).eqz()),
      () => {
        const value = extendedAt(x, st.slot(i));
        putExtended(x, pushed(x, st), value);
        clearC1(x);
      },
      () => x.microVoid('fpuLoadSt', i32(i)),
    );
  } else if (x.width(0) === 80) {
    const { low, high } = readExtended(x);
    remember(x);
    const write = (slot: Expr<'i32'>): void => {
      x.f.store(64, slot, low, L.CPU_FPR);
      x.f.store(16, slot, high, L.CPU_FPR + 8);
    };
    pushOr(x, undefined, write, () => x.microVoid('fpuLoadF80', low, high));
  } else if (x.width(0) === 64) {
    const bits = x.read(0).toI64();
    remember(x);
    const exponent = x.let(bits.shr_u(i64(52)).toI32().and(i32(0x7ff)));
    const isNormal = exponent.sub(i32(1)).lt_u(i32(0x7fe));
    const write = (slot: Expr<'i32'>): void => {
      x.f.store(64, slot, bits.shl(i64(11)).or(i64Halves(0, 0x80000000)), L.CPU_FPR);
      x.f.store(
        16,
        slot,
        bits
          .shr_u(i64(48))
          .toI32()
          .and(i32(0x8000))
          .or(exponent.add(i32(0x3c00))),
        L.CPU_FPR + 8,
      );
    };
    pushOr(x, isNormal, write, () => x.microVoid('fpuLoadF64', bits));
  } else {
    const value = x.read(0);
    remember(x);
    const quick = (rare: Label, st: Stack): void => {
      x.f.branchIf(rare, st.holds(7), false);
      const real = extendedFrom(x, value.toI64(), 32, rare);
      putExtended(x, pushed(x, st), real);
      clearC1(x);
    };
    inlineOr(x, quick, () => x.microVoid('fpuLoadF32', value));
  }
  x.x87Done(-1, [7]);
};

const fild: Semantics = (x) => {
  requireFpu(x, true);
  const value = readInteger(x);
  remember(x);
  const negative = value.shr_s(i64(63));
  const magnitude = x.let(value.xor(negative).sub(negative));
  const shift = x.let(magnitude.clz());
  const exponent = value.shr_u(i64(48)).toI32().and(i32(0x8000)).or(i32(0x403e).sub(shift.toI32()));
  const write = (slot: Expr<'i32'>): void => {
    x.f.store(64, slot, magnitude.shl(shift), L.CPU_FPR);
    x.f.store(16, slot, select(value.eqz(), i32(0), exponent), L.CPU_FPR + 8);
  };
  pushOr(x, undefined, write, () => x.microVoid('fpuLoadInt', value));
  x.x87Done(-1, [7]);
};

const fbld: Semantics = (x) => {
  requireFpu(x, true);
  const { low, high } = readExtended(x);
  remember(x);
  x.microVoid('fpuLoadBcd', low, high);
};

/** A store that may be one of two ways. */
type StoringSemantics = (x: X86, remembered?: Selectors) => void;

/** Computes, writes unless an unmasked exception forbids it, then lets flags and stack change. */
function storing(popCount: 0 | 1, compute: (x: X86) => () => void): StoringSemantics {
  return (x, remembered = selectors(x)) => {
    requireFpu(x, true);
    const write = compute(x);
    // What is not written must be writable all the same.
    const bytes = x.width(0) / 8;
    x.f.if(x.state32(L.CPU_FPU_STORE), write, () => {
      const at = x.linear(bytes, 'write');
      x.mem.hostForUpdate(at, 8);
      x.microOrFault('probe', at, i32(bytes), i32(1));
    });
    remember(x, remembered);
    x.microVoid('fpuStored', i32(popCount));
    x.x87Done(popCount, []);
  };
}

/** Ends a store of ST0 done here: FSW without C1, with `flags`; pops. */
function stored(x: X86, remembered: Selectors, st: Stack, popCount: 0 | 1, flags?: Expr<'i32'>): void {
  remember(x, remembered);
  const fsw = x.state('i32', 16, L.CPU_FSW).and(i32(~FSW_C1));
  x.setState(16, L.CPU_FSW, flags === undefined ? fsw : fsw.or(flags));
  if (popCount > 0) popped(x, st, st.tags);
}

/** FSTP m80 of a register that is not empty: nothing to compute. */
function storeExtended(popCount: 0 | 1, otherwise: StoringSemantics): Semantics {
  return (x) => {
    requireFpu(x, true);
    const remembered = selectors(x);
    const st = stack(x);
    x.f.if(
      st.holds(0),
      () => {
        const slot = st.slot(0);
        x.setState(64, L.CPU_FPU_IMAGE, load('i64', 64, slot, L.CPU_FPR));
        x.setState(16, L.CPU_FPU_IMAGE + 8, load('i32', 16, slot, L.CPU_FPR + 8));
        writeExtended(x);
        stored(x, remembered, st, popCount);
      },
      () => otherwise(x, remembered),
    );
    x.x87Done(popCount, []);
  };
}

/** FST m64 of a normal number that stays one, to nearest, PE masked. */
function storeDouble(popCount: 0 | 1, otherwise: StoringSemantics): Semantics {
  return (x) => {
    requireFpu(x, true);
    const remembered = selectors(x);
    const st = stack(x);
    const slot = st.slot(0);
    const sig = x.let(load('i64', 64, slot, L.CPU_FPR));
    const se = x.let(load('i32', 16, slot, L.CPU_FPR + 8));
    const exponent = x.let(se.and(i32(0x7fff)).sub(i32(0x3c01))); // less one, which the integer bit adds
    const mode = x
      .state('i32', 16, L.CPU_FCW)
      .and(i32(FCW_RC | FCW_PM))
      .eq(i32(FCW_PM));
    const ordinary = exponent.lt_u(i32(0x7fd)).and(sig.lt_s(i64(0)));
    x.f.if(
      st.holds(0).and(mode).and(ordinary),
      () => {
        const kept = x.let(sig.shr_u(i64(11)));
        const cut = x.let(sig.shl(i64(53)));
        const half = i64Halves(0, 0x80000000);
        const up = x.let(cut.gt_u(half).or(cut.eq(half).and(kept.toI32())).and(i32(1)));
        const sign = se.and(i32(0x8000)).toI64().shl(i64(48));
        const bits = exponent.toI64().shl(i64(52)).add(kept).add(up.toI64()).or(sign);
        x.write(0, x.let(bits));
        stored(
          x,
          remembered,
          st,
          popCount,
          cut
            .eqz()
            .eqz()
            .shl(i32(5))
            .or(up.shl(i32(9))),
        );
      },
      () => otherwise(x, remembered),
    );
    x.x87Done(popCount, []);
  };
}

function storeReal(popCount: 0 | 1): Semantics {
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
    if (x.operand(0).kind === OperandKind.st) storeRegister(popCount)(x);
    else if (x.width(0) === 80) storeExtended(popCount, extended)(x);
    else if (x.width(0) === 64) storeDouble(popCount, real)(x);
    else real(x);
  };
}

function storeInteger(popCount: 0 | 1, truncate = 0): Semantics {
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
    x.forgetInBlock();
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
    x.forgetInBlock();
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
  x.forgetInBlock();
};

/** FWAIT needs CR0.MP and CR0.TS together for #NM. */
const fwait: Semantics = (x) => {
  x.raiseIf(
    x
      .state32(L.CPU_CR0)
      .and(i32(CR0_MP | CR0_TS))
      .eq(i32(CR0_MP | CR0_TS)),
    L.EXC_NM,
  );
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
  const bytes = x.microStateValue('fxsaveImage', image, i32(x.insn.rexW ? 1 : 0));
  x.microOrFault('writeGuest', at, image, bytes);
};

const fxrstor: Semantics = (x) => {
  const at = imageAddress(x, 'read');
  const image = x.cpu.add(i32(L.CPU_IMAGE));
  x.mem.load(at, 8);
  x.microOrFault('readGuest', at, image, i32(512));
  x.raiseIf(x.microStateValue('fxrstorImage', image, i32(x.insn.rexW ? 1 : 0)), L.EXC_GP);
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
  FXCH: fxch, FCHS: sign(0xffff, 0x8000), FABS: sign(0x7fff, 0),
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
