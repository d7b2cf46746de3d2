/** Segment registers: MOV, PUSH, POP, LDS and kin, descriptor-table registers, LAR LSL VERR VERW ARPL, SWAPGS, FS and GS base. SDM volume 2. */
import * as L from '../../layout.ts';
import { type Expr, i32, i64, load } from '../../../wasm/expr.ts';
import { type Int, intType, type Semantics, type SemanticsTable, type X86 } from './context.ts';
import { ZF } from './flags.ts';
import { requireCpl0, requireCr4, CR4_FSGSBASE, CR4_UMIP } from './privilege.ts';

function selector(x: X86, segment: number): Expr<'i32'> {
  return x.state('i32', 16, L.CPU_SEG + segment * L.SEG_SIZE + L.SEG_SELECTOR);
}

function scratch(x: X86): Expr<'i64'> {
  return x.let(load('i64', 64, x.cpu, L.CPU_SCRATCH));
}

/** Loads a segment register; SS holds off interrupts until the next instruction is done. */
function loadSegment(x: X86, segment: number, value: Expr<'i32'>): void {
  x.microOrFault('loadSegment', i32(segment), value);
  if (segment === L.SS) x.setState(32, L.CPU_INT_SHADOW, i32(L.SHADOW_MOV_SS));
}

/** Number of the segment register operand `i`. */
function segmentOf(x: X86, i: number): number {
  return x.operand(i).reg;
}

/** Stores a selector or machine status word: 16 bits to memory, the operand's width to a register. */
function writeWord(x: X86, value: Int): void {
  if (x.isMemory(0)) x.write(0, value.toI32(), 16);
  else x.write(0, value.toInt(intType(x.width(0))));
}

/** UMIP: SGDT SIDT SLDT SMSW STR are #GP outside ring 0. */
function checkUmip(x: X86): void {
  if (x.cpl !== 3) return;
  x.raiseIf(x.state32(L.CPU_CR4).and(i32(CR4_UMIP)).ne(i32(0)), L.EXC_GP, 0);
}

const movFromSegment: Semantics = (x) => writeWord(x, selector(x, segmentOf(x, 1)));

const movToSegment: Semantics = (x) => loadSegment(x, segmentOf(x, 0), x.let(x.read(1, 16).toI32()));

const pushSegment: Semantics = (x) => {
  const bits = x.insn.operandSize;
  x.push(x.let(selector(x, segmentOf(x, 0)).toInt(intType(bits))), bits);
};

const popSegment: Semantics = (x) => {
  const bits = x.insn.operandSize;
  const value = x.top(bits);
  loadSegment(x, segmentOf(x, 0), value.toI32().zeroExtend(16));
  x.popped(bits / 8);
};

/** Offset and selector of a far pointer in memory. */
export function readFarPointer(x: X86, i: number): { offset: Int; selector: Expr<'i32'> } {
  const bits = x.insn.operandSize;
  const at = x.let(x.linear(bits / 8 + 2, 'read'));
  const offset = x.mem.load(at, bits);
  const next = at.add(i64(bits / 8));
  const value = x.mem.load(x.is64 ? next : next.zeroExtend(32), 16).toI32();
  if (!x.isMemory(i)) throw new RangeError(`${x.insn.row.name}: operand ${i} is no memory`);
  return { offset, selector: value };
}

function loadFar(segment: number): Semantics {
  return (x) => {
    const pointer = readFarPointer(x, 1);
    loadSegment(x, segment, pointer.selector);
    x.write(0, pointer.offset);
  };
}

const arpl: Semantics = (x) => {
  const rpl = x.let(x.read(1).and(i32(3)).toI32());
  const have = x.let(x.read(0).toI32());
  const raised = x.let(have.and(i32(3)).lt_u(rpl));
  // Only a selector that changes is written: the operand may be read only.
  x.if(raised, () => x.write(0, have.and(i32(~3)).or(rpl)));
  x.flags.fromBits(
    x.let(
      x.flags
        .toBits()
        .and(i32(~ZF))
        .or(raised.shl(i32(6))),
    ),
  );
};

function storeSelector(segment: number): Semantics {
  return (x) => {
    checkUmip(x);
    writeWord(x, selector(x, segment));
  };
}

function loadTable(name: string): Semantics {
  return (x) => {
    requireCpl0(x);
    x.microOrFault(name, x.let(x.read(0, 16).toI32()));
  };
}

function verify(write: number): Semantics {
  return (x) => x.microState('verify', true, x.let(x.read(0, 16).toI32()), i32(write));
}

function inspect(name: string): Semantics {
  return (x) => {
    x.microState(name, true, x.let(x.read(1, 16).toI32()));
    const value = scratch(x);
    x.if(x.flags.zf(), () => x.write(0, value.toInt(intType(x.width(0)))));
  };
}

function storeDescriptorTable(base: number, limit: number): Semantics {
  return (x) => {
    checkUmip(x);
    const bytes = x.is64 ? 8 : 4;
    const at = x.let(x.linear(bytes + 2, 'write'));
    const second = at.add(i64(2));
    x.mem.store(x.is64 ? second : second.zeroExtend(32), bytes * 8, x.state64(base).toInt(intType(bytes * 8)));
    x.mem.store(at, 16, x.state32(limit));
  };
}

function loadDescriptorTable(base: number, limit: number): Semantics {
  return (x) => {
    requireCpl0(x);
    const bits = x.is64 ? 64 : 32;
    const at = x.let(x.linear(bits / 8 + 2, 'read'));
    const newLimit = x.let(x.mem.load(at, 16).toI32());
    const second = at.add(i64(2));
    let newBase = x.let(x.mem.load(x.is64 ? second : second.zeroExtend(32), bits).toI64());
    if (x.is64) x.raiseIf(newBase.shl(i64(16)).shr_s(i64(16)).ne(newBase), L.EXC_GP, 0);
    else if (x.insn.operandSize === 16) newBase = x.let(newBase.and(i64(0xffffff)));
    x.setState(64, base, newBase);
    x.setState(32, limit, newLimit);
  };
}

const swapgs: Semantics = (x) => {
  requireCpl0(x);
  x.microVoid('swapgs');
};

function readBase(segment: number): Semantics {
  return (x) => {
    requireCr4(x, CR4_FSGSBASE);
    x.write(0, x.state64(L.CPU_SEG + segment * L.SEG_SIZE + L.SEG_BASE).toInt(intType(x.width(0))));
  };
}

function writeBase(segment: number): Semantics {
  return (x) => {
    requireCr4(x, CR4_FSGSBASE);
    const value = x.let(x.read(0).toI64());
    if (x.width(0) === 64) x.raiseIf(value.shl(i64(16)).shr_s(i64(16)).ne(value), L.EXC_GP, 0);
    x.setState(64, L.CPU_SEG + segment * L.SEG_SIZE + L.SEG_BASE, value);
  };
}

export const segment: SemanticsTable = {
  MOV_from_SEG: movFromSegment,
  MOV_to_SEG: movToSegment,
  PUSH_SEG: pushSegment,
  POP_SEG: popSegment,
  LES: loadFar(L.ES),
  LDS: loadFar(L.DS),
  LSS: loadFar(L.SS),
  LFS: loadFar(L.FS),
  LGS: loadFar(L.GS),
  ARPL: arpl,
  SLDT: storeSelector(L.LDTR),
  STR: storeSelector(L.TR),
  LLDT: loadTable('lldt'),
  LTR: loadTable('ltr'),
  VERR: verify(0),
  VERW: verify(1),
  LAR: inspect('lar'),
  LSL: inspect('lsl'),
  SGDT: storeDescriptorTable(L.CPU_GDTR_BASE, L.CPU_GDTR_LIMIT),
  SIDT: storeDescriptorTable(L.CPU_IDTR_BASE, L.CPU_IDTR_LIMIT),
  LGDT: loadDescriptorTable(L.CPU_GDTR_BASE, L.CPU_GDTR_LIMIT),
  LIDT: loadDescriptorTable(L.CPU_IDTR_BASE, L.CPU_IDTR_LIMIT),
  SWAPGS: swapgs,
  RDFSBASE: readBase(L.FS),
  RDGSBASE: readBase(L.GS),
  WRFSBASE: writeBase(L.FS),
  WRGSBASE: writeBase(L.GS),
};
