/**
 * iced-x86 as the reference for the decoder: describes what it decodes, and what our decoder decodes, as the same plain
 * text, so that a disagreement is a visible difference. Only instruction sets that our tables claim are in scope.
 */
import {
  Code,
  CpuidFeature,
  Decoder,
  DecoderOptions,
  Instruction,
  MemorySizeExt,
  Mnemonic,
  OpKind,
  Register,
} from 'iced-x86';
import { type Bits, type Insn, NO_REGISTER, OperandKind, RIP_BASE } from '../../src/cpu/x86/decode/insn.ts';
import { gprName, mnemonicOf, vectorIndexName } from '../../src/cpu/x86/decode/format.ts';

/** Address the instruction is decoded at; small enough for 16-bit code, large enough for backward branches. */
export const BASE_ADDRESS = 0x7000n;

const F = CpuidFeature;
/** Instruction sets the tables claim. */
const IN_SCOPE: ReadonlySet<number> = new Set<number>([
  F.INTEL8086, F.INTEL186, F.INTEL286, F.INTEL386, F.INTEL486, F.X64, F.ADX, F.AES, F.BMI1, F.BMI2, F.CLFLUSHOPT, F.CLFSH, F.CLWB,
  F.CMOV, F.CMPXCHG16B, F.CPUID, F.CX8, F.FPU, F.FPU287, F.FPU387, F.FSGSBASE, F.FXSR, F.INVEPT, F.INVPCID, F.INVVPID, F.LZCNT,
  F.MMX, F.MONITOR, F.MOVBE, F.MSR, F.MULTIBYTENOP, F.PAUSE, F.PCLMULQDQ, F.PKU, F.POPCNT, F.PREFETCHW, F.PREFETCHWT1, F.RDPID,
  F.RDPMC, F.RDRAND, F.RDSEED, F.RDTSCP, F.SEP, F.SHA, F.SKINIT, F.SKINIT_or_SVM, F.SMAP, F.SSE, F.SSE2, F.SSE3, F.SSE4_1, F.SSE4_2,
  F.SSSE3, F.SVM, F.SYSCALL, F.TSC, F.VMX, F.XSAVE, F.XSAVEC, F.XSAVEOPT, F.XSAVES, F.SMM, F.WBNOINVD, F.D3NOW, F.INTEL8086_ONLY,
  F.INTEL286_ONLY, F.AVX, F.AVX2, F.F16C, F.FMA,
]); // prettier-ignore

interface CodeInfo {
  inScope: boolean;
  mnemonic: string;
}
const codeInfo = new Map<number, CodeInfo>();

/** iced's mnemonic: ours, where the two name one thing differently. */
const SAME_MNEMONIC: Readonly<Record<string, string>> = {
  SAL: 'SHL', // group 2 /6
  RESERVEDNOP: 'NOP',
  RETF: 'RET',
  WAIT: 'FWAIT',
  XLATB: 'XLAT',
  FNENI: 'FNOP',
  FNDISI: 'FNOP',
  FNSETPM: 'FNOP',
  WBNOINVD: 'WBINVD', // F3 0F 09
};

function infoOf(instruction: Instruction): CodeInfo {
  const { code } = instruction;
  let info = codeInfo.get(code);
  if (info === undefined) {
    const features = instruction.cpuidFeatures();
    const name = (Mnemonic[instruction.mnemonic] ?? '').toUpperCase();
    const d3now = Code[code]?.startsWith('D3NOW_') === true || name === 'FEMMS';
    info = { inScope: features.every((f) => IN_SCOPE.has(f)) && !d3now, mnemonic: SAME_MNEMONIC[name] ?? name };
    codeInfo.set(code, info);
  }
  return info;
}

const REGISTER_TEXT: string[] = [];
function registerText(register: Register): string {
  return (REGISTER_TEXT[register] ??= (Register[register] ?? '').toLowerCase().replace(/^r(\d+)l$/, 'r$1b'));
}

function addressText(
  base: string,
  index: string,
  scale: number,
  disp: bigint,
  segment: string,
  addressBits: number,
): string {
  return `[${segment}:${base}+${index}*${index === 'none' ? 1 : scale}+${BigInt.asUintN(addressBits, disp)}]`;
}

/** In 64-bit code ES, CS, SS and DS are one: base 0. */
function segmentText(name: string, code64: boolean): string {
  return code64 && name !== 'fs' && name !== 'gs' ? 'flat' : name;
}

/** Operands that only iced lists: the implied destination of MASKMOVQ and the table of XLAT. */
const ICED_EXTRA_FIRST: ReadonlySet<string> = new Set(['MASKMOVQ', 'MASKMOVDQU', 'VMASKMOVDQU', 'XLAT']);

/** Decodes with iced. Reuses one decoder a mode over one buffer. */
export class IcedReference {
  readonly #bits: Bits;
  readonly #decoder: Decoder;
  readonly #instruction: Instruction = new Instruction();

  /** `bytes` is where the strings to decode will be. */
  constructor(bits: Bits, bytes: Uint8Array) {
    this.#bits = bits;
    this.#decoder = new Decoder(bits, bytes, DecoderOptions.None);
  }

  /** What iced makes of the bytes at `position`: a description, `invalid`, or `other` = valid but of an instruction set we do not claim. */
  describe(position: number): string {
    const d = this.#decoder;
    d.position = position;
    d.ip = BASE_ADDRESS;
    const i = this.#instruction;
    d.decodeOut(i);
    if (i.code === Code.INVALID) return 'invalid';
    const info = infoOf(i);
    if (!info.inScope) return `other ${info.mnemonic}`;
    const parts = [String(i.length), i.hasLockPrefix ? 'lock' : '', info.mnemonic];
    if (i.isStringInstruction) parts.push(i.hasRepnePrefix ? 'f2' : i.hasRepePrefix ? 'f3' : '');
    const first = ICED_EXTRA_FIRST.has(info.mnemonic) ? 1 : 0;
    if (info.mnemonic === 'XLAT' || first === 1)
      parts.push(segmentText(registerText(i.memorySegment), this.#bits === 64));
    for (let n = first; n < i.opCount; n++) parts.push(this.#operand(i, n));
    return parts.join(' ');
  }

  /** Gives back the WebAssembly memory of the decoder. */
  free(): void {
    this.#decoder.free();
    this.#instruction.free();
  }

  #operand(i: Instruction, n: number): string {
    const code64 = this.#bits === 64;
    const kind = i.opKind(n);
    const bytes = MemorySizeExt.size(i.memorySize);
    switch (kind) {
      case OpKind.Register:
        return registerText(i.opRegister(n));
      case OpKind.NearBranch16:
      case OpKind.NearBranch32:
      case OpKind.NearBranch64:
        return `rel ${i.nearBranchTarget}`;
      case OpKind.FarBranch16:
        return `far ${i.farBranchSelector}:${i.farBranch16}`;
      case OpKind.FarBranch32:
        return `far ${i.farBranchSelector}:${i.farBranch32}`;
      case OpKind.MemorySegSI:
      case OpKind.MemorySegESI:
      case OpKind.MemorySegRSI:
        return `src${bytes} ${segmentText(registerText(i.memorySegment), code64)} ${[16, 32, 64][kind - OpKind.MemorySegSI]}`;
      case OpKind.MemoryESDI:
      case OpKind.MemoryESEDI:
      case OpKind.MemoryESRDI:
        return `dst${bytes} ${[16, 32, 64][kind - OpKind.MemoryESDI]}`;
      case OpKind.Memory: {
        const base = registerText(i.memoryBase);
        const index = registerText(i.memoryIndex);
        // 16-bit addresses wrap at 64 KiB, so the displacement's own width is compared
        const width = this.#addressBits(i);
        return `mem${bytes} ${addressText(base, index, i.memoryIndexScale, i.memoryDisplacement, segmentText(registerText(i.memorySegment), code64), width)}`;
      }
      case OpKind.Immediate8:
      case OpKind.Immediate8_2nd:
      case OpKind.Immediate16:
      case OpKind.Immediate32:
      case OpKind.Immediate64:
      case OpKind.Immediate8to16:
      case OpKind.Immediate8to32:
      case OpKind.Immediate8to64:
      case OpKind.Immediate32to64:
        return `imm ${this.#immediate(i, n, kind)}`;
      default:
        return `kind${kind}`;
    }
  }

  #immediate(i: Instruction, n: number, kind: OpKind): string {
    const width =
      kind === OpKind.Immediate8 || kind === OpKind.Immediate8_2nd
        ? 8
        : kind === OpKind.Immediate16 || kind === OpKind.Immediate8to16
          ? 16
          : kind === OpKind.Immediate32 || kind === OpKind.Immediate8to32
            ? 32
            : 64;
    return `${width} ${BigInt.asUintN(width, i.immediate(n))}`;
  }

  #addressBits(i: Instruction): number {
    const size = (r: Register): number => {
      const name = registerText(r);
      if (name === 'none' || /^[xy]mm/.test(name)) return 0;
      if (name === 'eip') return 32;
      if (name === 'rip') return 64;
      return name.startsWith('e') || name.endsWith('d') ? 32 : name.startsWith('r') ? 64 : 16;
    };
    return size(i.memoryBase) || size(i.memoryIndex) || i.memoryDisplSize * 8;
  }
}

/** Width in bits to which iced extends the immediate of operand `n`. */
function immediateBits(i: Insn, n: number): number {
  const code = i.row.operands[n];
  if (code === 'Ib' || code === 'Ib2' || code === '1') return 8;
  if (code === 'Iw') return 16;
  if (i.row.name === 'PUSH') return i.operandSize;
  return i.operands[0].bytes * 8;
}

/** The same description of what our decoder made of it. */
export function describeOurs(i: Insn): string {
  const mnemonic = mnemonicOf(i);
  const code64 = i.codeSize === 64;
  const segment = segmentText(['es', 'cs', 'ss', 'ds', 'fs', 'gs'][i.mem.segment] ?? '?', code64);
  const parts = [String(i.length), i.lock ? 'lock' : '', mnemonic];
  if (i.row.string === true) parts.push(i.rep === 0xf2 ? 'f2' : i.rep === 0xf3 ? 'f3' : '');
  if (ICED_EXTRA_FIRST.has(mnemonic)) parts.push(segment);
  for (let n = 0; n < i.operandCount; n++) {
    const op = i.operands[n];
    if (op === undefined) break;
    switch (op.kind) {
      case OperandKind.gpr:
        parts.push(gprName(op.reg, op.bytes));
        break;
      case OperandKind.gpr8high:
        parts.push(['ah', 'ch', 'dh', 'bh'][op.reg] ?? '?');
        break;
      case OperandKind.mem: {
        const bytes = i.addressSize >> 3;
        const { mem } = i;
        const name = (r: number): string =>
          r === NO_REGISTER ? 'none' : r === RIP_BASE ? (bytes === 8 ? 'rip' : 'eip') : gprName(r, bytes);
        let disp = (BigInt(mem.dispHigh) << 32n) | BigInt(mem.disp >>> 0);
        if (mem.base === RIP_BASE) disp += BASE_ADDRESS + BigInt(i.length);
        parts.push(
          `mem${op.bytes} ${addressText(name(mem.base), mem.vectorIndex === NO_REGISTER ? name(mem.index) : vectorIndexName(i), 1 << mem.scale, disp, segment, i.addressSize)}`,
        );
        break;
      }
      case OperandKind.imm:
      case OperandKind.imm2:
      case OperandKind.constant: {
        const value =
          op.kind === OperandKind.imm
            ? (BigInt(i.immHigh) << 32n) | BigInt(i.immLow >>> 0)
            : BigInt(op.kind === OperandKind.imm2 ? i.imm2 : op.reg);
        const width = immediateBits(i, n);
        parts.push(`imm ${width} ${BigInt.asUintN(width, value)}`);
        break;
      }
      case OperandKind.rel:
        parts.push(`rel ${BigInt.asUintN(i.operandSize, BASE_ADDRESS + BigInt(i.length + i.immLow))}`);
        break;
      case OperandKind.far:
        parts.push(`far ${i.imm2}:${i.immLow >>> 0}`);
        break;
      case OperandKind.segment:
        parts.push(['es', 'cs', 'ss', 'ds', 'fs', 'gs'][op.reg] ?? '?');
        break;
      case OperandKind.control:
        parts.push(`cr${op.reg}`);
        break;
      case OperandKind.debug:
        parts.push(`dr${op.reg}`);
        break;
      case OperandKind.mmx:
        parts.push(`mm${op.reg}`);
        break;
      case OperandKind.xmm:
        if (i.row.operands[n] !== 'XMM0') parts.push(`${op.bytes === 32 ? 'ymm' : 'xmm'}${op.reg}`);
        break;
      case OperandKind.st:
        parts.push(`st${op.reg}`);
        break;
      case OperandKind.stringSource:
        parts.push(`src${op.bytes} ${segment} ${i.addressSize}`);
        break;
      case OperandKind.stringDest:
        parts.push(`dst${op.bytes} ${i.addressSize}`);
        break;
      default:
        parts.push('?');
    }
  }
  return parts.join(' ');
}
