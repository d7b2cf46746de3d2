/** A decoded instruction as text in Intel syntax, for `-d in_asm` and messages. Not on any hot path. */
import { type Insn, type MemoryOperand, NO_REGISTER, type Operand, OperandKind, RIP_BASE } from './insn.ts';

const CONDITIONS = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G'];
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const LEGACY = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const LOW_BYTES = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'];
const HIGH_BYTES = ['ah', 'ch', 'dh', 'bh'];
const POINTERS: Readonly<Record<number, string>> = {
  1: 'byte ptr ', 2: 'word ptr ', 4: 'dword ptr ', 6: 'fword ptr ', 8: 'qword ptr ', 10: 'tbyte ptr ', 16: 'xmmword ptr ', 32: 'ymmword ptr ',
}; // prettier-ignore
const SIZE_SUFFIX: Readonly<Record<number, string>> = { 1: 'B', 2: 'W', 4: 'D', 8: 'Q' };

/** Mnemonics that depend on the operand size 16, 32, 64. */
const BY_OPERAND_SIZE: Readonly<Record<string, readonly [string, string, string]>> = {
  CBW: ['CBW', 'CWDE', 'CDQE'],
  CWD: ['CWD', 'CDQ', 'CQO'],
  IRET: ['IRET', 'IRETD', 'IRETQ'],
  PUSHA: ['PUSHA', 'PUSHAD', 'PUSHAD'],
  POPA: ['POPA', 'POPAD', 'POPAD'],
  PUSHF: ['PUSHF', 'PUSHFD', 'PUSHFQ'],
  POPF: ['POPF', 'POPFD', 'POPFQ'],
};
/** Mnemonics that depend on the address size. */
const BY_ADDRESS_SIZE: Readonly<Record<string, readonly [string, string, string]>> = {
  JCXZ: ['JCXZ', 'JECXZ', 'JRCXZ'],
};
/** Mnemonics to which REX.W adds a suffix. */
const BY_REX_W: Readonly<Record<string, string>> = {
  FXSAVE: 'FXSAVE64', FXRSTOR: 'FXRSTOR64', XSAVE: 'XSAVE64', XRSTOR: 'XRSTOR64', XSAVEOPT: 'XSAVEOPT64', XSAVEC: 'XSAVEC64',
  XSAVES: 'XSAVES64', XRSTORS: 'XRSTORS64', SYSRET: 'SYSRETQ', SYSEXIT: 'SYSEXITQ', PCMPESTRI: 'PCMPESTRI64', PCMPESTRM: 'PCMPESTRM64',
  VPCMPESTRI: 'VPCMPESTRI64', VPCMPESTRM: 'VPCMPESTRM64',
}; // prettier-ignore

function sizeIndex(bits: number): 0 | 1 | 2 {
  return bits === 16 ? 0 : bits === 32 ? 1 : 2;
}

/** The mnemonic in capitals, with what condition, sizes and REX.W add to it: `JNE`, `CWDE`, `MOVSQ`, `FXSAVE64`. */
export function mnemonicOf(i: Insn): string {
  const m = i.row.mnemonic;
  if (m.endsWith('cc')) return m.slice(0, -2) + (CONDITIONS[i.condition] ?? '');
  if (i.row.string === true) {
    const item = i.operands[0].kind === OperandKind.gpr ? i.operands[1] : i.operands[0];
    return m + (SIZE_SUFFIX[item.bytes] ?? '');
  }
  const bySize = BY_OPERAND_SIZE[m];
  if (bySize !== undefined) return bySize[sizeIndex(i.operandSize)];
  const byAddress = BY_ADDRESS_SIZE[m];
  if (byAddress !== undefined) return byAddress[sizeIndex(i.addressSize)];
  return i.rexW ? (BY_REX_W[m] ?? m) : m;
}

/** The name of a general register of that width. */
export function gprName(reg: number, bytes: number): string {
  if (bytes === 1) return LOW_BYTES[reg] ?? `r${reg}b`;
  const legacy = LEGACY[reg];
  if (legacy === undefined) return `r${reg}${bytes === 8 ? '' : bytes === 4 ? 'd' : 'w'}`;
  return (bytes === 8 ? 'r' : bytes === 4 ? 'e' : '') + legacy;
}

function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}

/** The immediate as a number of `bytes` bytes without sign. */
function immediate(i: Insn, bytes: number): bigint {
  const value = (BigInt(i.immHigh) << 32n) | BigInt(i.immLow >>> 0);
  return BigInt.asUintN(bytes * 8, value);
}

/** Name of a gather's vector of indices: as many as there are elements. */
export function vectorIndexName(i: Insn): string {
  const [destination, element] = i.operands;
  const elements = destination.bytes / element.bytes;
  const indexBytes = /GATHER(.)/.exec(i.row.name)?.[1] === 'Q' ? 8 : 4;
  return `${elements * indexBytes > 16 ? 'ymm' : 'xmm'}${i.mem.vectorIndex}`;
}

function formatAddress(i: Insn, mem: MemoryOperand): string {
  const bytes = i.addressSize >> 3;
  const parts: string[] = [];
  if (mem.base === RIP_BASE) parts.push(bytes === 8 ? 'rip' : 'eip');
  else if (mem.base !== NO_REGISTER) parts.push(gprName(mem.base, bytes));
  if (mem.index !== NO_REGISTER) parts.push(gprName(mem.index, bytes) + (mem.scale > 0 ? `*${1 << mem.scale}` : ''));
  if (mem.vectorIndex !== NO_REGISTER) parts.push(vectorIndexName(i) + (mem.scale > 0 ? `*${1 << mem.scale}` : ''));
  if (parts.length === 0)
    return hex(BigInt.asUintN(i.addressSize, (BigInt(mem.dispHigh) << 32n) | BigInt(mem.disp >>> 0)));
  const sum = parts.join('+');
  if (mem.disp === 0) return sum;
  return mem.disp < 0 ? `${sum}-${hex(-mem.disp)}` : `${sum}+${hex(mem.disp)}`;
}

function formatMemory(i: Insn, op: Operand): string {
  const { mem } = i;
  const segment = i.segmentOverride >= 0 ? `${SEGMENTS[mem.segment]}:` : '';
  return `${POINTERS[op.bytes] ?? ''}${segment}[${formatAddress(i, mem)}]`;
}

/** The target of a relative branch: next instruction + displacement, cut to the operand size. */
function branchTarget(i: Insn, rip: bigint): bigint {
  const displacement = (BigInt(i.immHigh) << 32n) | BigInt(i.immLow >>> 0);
  return BigInt.asUintN(i.operandSize, rip + BigInt(i.length) + displacement);
}

/** As wide as it was extended: to the destination where there is one, else (PUSH) to the operand size. */
function immediateBytes(i: Insn, index: number): number {
  const code = i.row.operands[index];
  const own = i.operands[index]?.bytes ?? 1;
  if (code === 'Ib' || code === 'Iw') return own;
  return index > 0 && i.operands[0].bytes > 0 ? i.operands[0].bytes : Math.max(own, i.operandSize >> 3);
}

function formatOperand(i: Insn, op: Operand, index: number, rip: bigint): string {
  const bytes = i.addressSize >> 3;
  switch (op.kind) {
    case OperandKind.gpr:
      return gprName(op.reg, op.bytes);
    case OperandKind.gpr8high:
      return HIGH_BYTES[op.reg] ?? '?';
    case OperandKind.mem:
      return formatMemory(i, op);
    case OperandKind.imm:
      return hex(immediate(i, immediateBytes(i, index)));
    case OperandKind.imm2:
      return hex(i.imm2);
    case OperandKind.rel:
      return hex(branchTarget(i, rip));
    case OperandKind.far:
      return `${hex(i.imm2)}:${hex(i.immLow >>> 0)}`;
    case OperandKind.segment:
      return SEGMENTS[op.reg] ?? '?';
    case OperandKind.control:
      return `cr${op.reg}`;
    case OperandKind.debug:
      return `dr${op.reg}`;
    case OperandKind.mmx:
      return `mm${op.reg}`;
    case OperandKind.xmm:
      return `${op.bytes === 32 ? 'ymm' : 'xmm'}${op.reg}`;
    case OperandKind.st:
      return `st(${op.reg})`;
    case OperandKind.constant:
      return String(op.reg);
    case OperandKind.stringSource:
      return `${POINTERS[op.bytes] ?? ''}${SEGMENTS[i.mem.segment]}:[${gprName(6, bytes)}]`;
    case OperandKind.stringDest:
      return `${POINTERS[op.bytes] ?? ''}es:[${gprName(7, bytes)}]`;
    default:
      return '?';
  }
}

/** `rep `, `repe `, `repne ` where they mean repetition, and `lock `. */
function prefixes(i: Insn): string {
  let text = i.lock ? 'lock ' : '';
  if (i.row.string === true && i.rep !== 0) {
    const compares = i.row.name === 'CMPS' || i.row.name === 'SCAS';
    text += i.rep === 0xf2 ? 'repne ' : compares ? 'repe ' : 'rep ';
  }
  return text;
}

/**
 * One instruction at address `rip` in Intel syntax: `mov rax, qword ptr [rsp+0x10]`.
 * Branches show their target, rip-relative operands the address behind ` # `.
 */
export function formatInsn(i: Insn, rip: bigint): string {
  const operands = i.operands.slice(0, i.operandCount).map((op, index) => formatOperand(i, op, index, rip));
  let text = prefixes(i) + mnemonicOf(i).toLowerCase();
  if (operands.length > 0) text += ` ${operands.join(', ')}`;
  if (i.mem.base === RIP_BASE)
    text += ` # ${hex(BigInt.asUintN(i.addressSize, rip + BigInt(i.length) + BigInt(i.mem.disp)))}`;
  return text;
}
