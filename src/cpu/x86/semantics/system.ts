/** Control and debug registers, MSRs, caches, time, CPUID, ports, HLT and what goes with them. SDM volume 2. */
import * as L from '../../layout.ts';
import { type Expr, i32, i64, load } from '../../../wasm/expr.ts';
import { type Int, intType, RAX, RCX, type Semantics, type SemanticsTable, type X86 } from './context.ts';
import { CR4_OSXSAVE, CR4_PKE, CR4_UMIP, requireCpl0, requireCr4 } from './privilege.ts';

const CR0_TS = 8;
const RFLAGS_IF = 0x200;
/** State offsets of the control registers that exist. */
const CONTROL: Readonly<Record<number, number>> = {
  0: L.CPU_CR0,
  2: L.CPU_CR2,
  3: L.CPU_CR3,
  4: L.CPU_CR4,
  8: L.CPU_CR8,
};

const undefinedInstruction: Semantics = (x) => x.raise(L.EXC_UD);

/** Ends the run with a reason for the accelerator; execution goes on after the instruction. */
function exit(x: X86, reason: number): void {
  x.setState(32, L.CPU_EXIT, i32(reason));
  x.leaveNext();
}

/** Microcode that sees all registers, in ring 0 only. */
function privileged(name: string): Semantics {
  return (x) => {
    requireCpl0(x);
    x.microState(name, true);
  };
}

const movFromControl: Semantics = (x) => {
  requireCpl0(x);
  const offset = CONTROL[x.operand(1).reg];
  if (offset === undefined) x.raise(L.EXC_UD);
  else x.write(0, x.state64(offset).toInt(intType(x.width(0))));
};

const movToControl: Semantics = (x) => {
  requireCpl0(x);
  x.microOrFault('writeCr', i32(x.operand(0).reg), x.let(x.read(1).toI64()));
};

const movFromDebug: Semantics = (x) => {
  requireCpl0(x);
  x.microOrFault('readDr', i32(x.operand(1).reg));
  x.write(0, x.let(load('i64', 64, x.cpu, L.CPU_SCRATCH)).toInt(intType(x.width(0))));
};

const movToDebug: Semantics = (x) => {
  requireCpl0(x);
  x.microOrFault('writeDr', i32(x.operand(0).reg), x.let(x.read(1).toI64()));
};

const smsw: Semantics = (x) => {
  if (x.cpl === 3) x.raiseIf(x.state32(L.CPU_CR4).and(i32(CR4_UMIP)).ne(i32(0)), L.EXC_GP, 0);
  const value = x.state64(L.CPU_CR0);
  if (x.isMemory(0)) x.write(0, value.toI32(), 16);
  else x.write(0, value.toInt(intType(x.width(0))));
};

const lmsw: Semantics = (x) => {
  requireCpl0(x);
  const given = x.let(x.read(0, 16).toI64());
  const cr0 = x.let(x.state64(L.CPU_CR0));
  // PE can be set but not cleared.
  x.microOrFault('writeCr', i32(0), cr0.and(i64(~0xe)).or(given.and(i64(0xf))));
};

const clts: Semantics = (x) => {
  requireCpl0(x);
  x.setState(32, L.CPU_CR0, x.state32(L.CPU_CR0).and(i32(~CR0_TS)));
};

const invlpg: Semantics = (x) => {
  requireCpl0(x);
  x.microVoid('invlpg', x.linear(1, 'read'));
};

const invpcid: Semantics = (x) => {
  requireCpl0(x);
  const type = x.let(x.read(0).toI64());
  x.microOrFault('invpcid', type, x.linear(16, 'read'));
};

const cache: Semantics = (x) => requireCpl0(x);

/** CLFLUSH and kin: memory is coherent, so all that is left is the access check of a byte. */
const flushLine: Semantics = (x) => {
  x.mem.load(x.linear(1, 'read'), 8);
};

const cli: Semantics = (x) => {
  // Ring 0 and real-address mode need no check.
  if (x.cpl !== 0) x.microOrFault('cli');
  else x.setState(32, L.CPU_RFLAGS, x.state32(L.CPU_RFLAGS).and(i32(~RFLAGS_IF)));
};

/** An interrupt that waits is taken behind the next instruction: the dispatcher sees to it. */
const sti: Semantics = (x) => {
  x.microOrFault('sti');
  x.leaveNextIf(x.state32(L.CPU_BUDGET).lt_s(i32(0)));
};

const hlt: Semantics = (x) => {
  requireCpl0(x);
  exit(x, L.EXIT_HLT);
};

/** A hypercall: the accelerator answers in RAX. */
const hypercall: Semantics = (x) => exit(x, L.EXIT_HYPERCALL);

const monitor: Semantics = (x) => {
  if (x.cpl !== 0) return x.raise(L.EXC_UD);
  x.raiseIf(x.reg(RCX, 32).toI32().ne(i32(0)), L.EXC_GP, 0);
  const offset = x.reg(RAX, x.insn.addressSize).toI64();
  const at = x.let(sourceAddress(x, offset, 1));
  x.mem.load(at, 8);
  x.setState(64, L.CPU_MONITOR, at);
};

/** Linear address in DS, or the segment that overrides it. */
function sourceAddress(x: X86, offset: Expr<'i64'>, bytes: number): Expr<'i64'> {
  const override = x.insn.segmentOverride;
  if (!x.is64) {
    x.microOrFault('segmentAccess', x.segmentNumber(), offset, i32(bytes), i32(0));
    return x.let(load('i64', 64, x.cpu, L.CPU_SCRATCH));
  }
  return x.linearIn(override >= L.FS ? override : L.DS, offset, bytes, 'read');
}

const mwait: Semantics = (x) => {
  if (x.cpl !== 0) return x.raise(L.EXC_UD);
  exit(x, L.EXIT_MWAIT);
};

function setAc(value: number): Semantics {
  return (x) => {
    if (x.cpl !== 0) x.raise(L.EXC_UD);
    else {
      x.microVoid('setAc', i32(value));
      x.tlbSetChanged();
    }
  };
}

const xgetbv: Semantics = (x) => {
  requireCr4(x, CR4_OSXSAVE);
  x.microState('xgetbv', true);
};

const xsetbv: Semantics = (x) => {
  requireCr4(x, CR4_OSXSAVE);
  requireCpl0(x);
  x.microState('xsetbvRegisters', true);
};

function protectionKeys(name: string): Semantics {
  return (x) => {
    requireCr4(x, CR4_PKE);
    x.microState(name, true);
  };
}

const rdpid: Semantics = (x) => x.write(0, x.state64(L.CPU_TSC_AUX).toInt(intType(x.width(0))));

// ---- extended state ----

/** XSAVE area for x87 and SSE: 512 bytes as FXSAVE has them and a header. */
const XSAVE_AREA_BYTES = 576;

function extendedState(name: string, access: 'read' | 'write', variant: number, ring0 = false): Semantics {
  return (x) => {
    requireCr4(x, CR4_OSXSAVE);
    if (ring0) requireCpl0(x);
    x.raiseIf(x.state32(L.CPU_CR0).and(i32(CR0_TS)).ne(i32(0)), L.EXC_NM);
    x.microState(name, true, x.linear(XSAVE_AREA_BYTES, access), i32(x.insn.rexW ? 1 : 0), i32(variant));
  };
}

// ---- ports ----

/** Port number of operand `i`: an 8-bit immediate or DX. */
function port(x: X86, i: number): Expr<'i32'> {
  const bits = x.operand(i).bytes === 1 ? 8 : 16;
  return x.let(x.read(i, bits).toI32().zeroExtend(bits));
}

function checkPort(x: X86, number: Expr<'i32'>, bytes: number): void {
  const mayFail = (x.mode & L.MODE_PROTECTED) !== 0 && x.cpl !== 0;
  if (mayFail) {
    x.microOrFault('ioCheck', number, i32(bytes));
    return;
  }
  const alone = x.state32(L.CPU_EXACT).and(i32(L.EXACT_ALONE));
  x.f.if(alone, () => x.microOrFault('ioCheck', number, i32(bytes)), undefined, false);
}

const input: Semantics = (x) => {
  const bytes = x.operand(0).bytes;
  const number = port(x, 1);
  checkPort(x, number, bytes);
  x.write(0, x.micro('i32', 'portIn', number, i32(bytes)));
};

const output: Semantics = (x) => {
  const bytes = x.operand(1).bytes;
  const number = port(x, 0);
  checkPort(x, number, bytes);
  const value: Int = x.read(1);
  x.microVoid('portOut', number, i32(bytes), value.toI32());
};

export const system: SemanticsTable = {
  MOV_from_CR: movFromControl,
  MOV_to_CR: movToControl,
  MOV_from_DR: movFromDebug,
  MOV_to_DR: movToDebug,
  SMSW: smsw,
  LMSW: lmsw,
  CLTS: clts,
  INVLPG: invlpg,
  INVPCID: invpcid,
  INVD: cache,
  WBINVD: cache,
  CLFLUSH: flushLine,
  CLFLUSHOPT: flushLine,
  CLWB: flushLine,
  LFENCE: () => undefined,
  SFENCE: () => undefined,
  MFENCE: (x) => x.f.atomicFence(),
  WRMSR: privileged('wrmsr'),
  RDMSR: privileged('rdmsr'),
  RDTSC: (x) => x.microState('rdtsc', true, i32(0)),
  RDTSCP: (x) => x.microState('rdtsc', true, i32(1)),
  // There are no performance counters, so every number is out of range.
  RDPMC: (x) => x.raise(L.EXC_GP, 0),
  RDPID: rdpid,
  CPUID: (x) => x.microState('cpuid', false),
  XGETBV: xgetbv,
  XSETBV: xsetbv,
  XSAVE: extendedState('xsave', 'write', 0),
  XSAVEOPT: extendedState('xsave', 'write', 1),
  XSAVEC: extendedState('xsave', 'write', 2),
  XSAVES: extendedState('xsave', 'write', 3, true),
  XRSTOR: extendedState('xrstor', 'read', 0),
  XRSTORS: extendedState('xrstor', 'read', 1, true),
  RDPKRU: protectionKeys('rdpkru'),
  WRPKRU: protectionKeys('wrpkru'),
  CLAC: setAc(0),
  STAC: setAc(1),
  HLT: hlt,
  MONITOR: monitor,
  MWAIT: mwait,
  CLI: cli,
  STI: sti,
  IN: input,
  OUT: output,
  VMCALL: hypercall,
  VMMCALL: hypercall,
  // System management mode and nested virtualisation are absent.
  RSM: undefinedInstruction,
  VMLAUNCH: undefinedInstruction,
  VMRESUME: undefinedInstruction,
  VMXOFF: undefinedInstruction,
  VMXON: undefinedInstruction,
  VMCLEAR: undefinedInstruction,
  VMPTRLD: undefinedInstruction,
  VMPTRST: undefinedInstruction,
  VMREAD: undefinedInstruction,
  VMWRITE: undefinedInstruction,
  VMFUNC: undefinedInstruction,
  INVEPT: undefinedInstruction,
  INVVPID: undefinedInstruction,
  VMRUN: undefinedInstruction,
  VMLOAD: undefinedInstruction,
  VMSAVE: undefinedInstruction,
  STGI: undefinedInstruction,
  CLGI: undefinedInstruction,
  SKINIT: undefinedInstruction,
  INVLPGA: undefinedInstruction,
};
