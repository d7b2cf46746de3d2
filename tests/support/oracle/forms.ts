/**
 * Every form of every instruction, found by walking the opcode space with the decoder.
 *
 * A form is what a definition may treat differently: table row, operand size, kinds and widths of the operands, LOCK, REP,
 * condition. Templates (prefix, opcode, ModRM) that lead to the same form are its alternatives. That the decoder itself is
 * right is another test's business (tests/conformance/decoder-iced.test.ts) and follows here from running on the host.
 */
import { createInsn, decode } from '../../../src/cpu/x86/decode/decoder.ts';
import type { Insn, InsnRow } from '../../../src/cpu/x86/decode/insn.ts';
import { DecodeStatus, OperandKind } from '../../../src/cpu/x86/decode/insn.ts';
import type { CodeSize } from './machine-state.ts';

export type Family =
  'integer' | 'shift' | 'bit' | 'string' | 'stack' | 'control' | 'x87' | 'mmx' | 'sse' | 'crypto' | 'avx' | 'system';

export interface Template {
  /** Legacy prefixes in order. */
  readonly prefixes: readonly number[];
  /** REX bits that make the form (W, B); others may be added. */
  readonly rex: number;
  readonly vex: VexFields | undefined;
  readonly opcode: readonly number[];
  /** -1: no ModRM. For memory forms only the reg field counts. */
  readonly modrm: number;
}

export interface VexFields {
  readonly map: number;
  readonly pp: number;
  readonly w: number;
  readonly l: number;
}

export interface Form {
  readonly codeSize: CodeSize;
  readonly key: string;
  readonly row: InsnRow;
  readonly family: Family;
  readonly memory: boolean;
  /** The memory operand comes from ModRM, not from a moffs. */
  readonly modrmMemory: boolean;
  readonly templates: Template[];
}

/** What the host cannot show at CPL 3 as the engine does: its own descriptor tables, time, identity, kernel and interrupt entries, random numbers. */
export const EXCLUDED: ReadonlySet<string> = new Set(
  [
    'SYSCALL SYSRET SYSENTER SYSEXIT INT INT1 INT3 INTO CALL_far JMP_far RET_far IRET CPUID RDTSC RDTSCP RDPMC RDRAND RDSEED RDPID',
    'SGDT SIDT SLDT STR SMSW LAR LSL VERR VERW MOV_from_SEG MOV_to_SEG PUSH_SEG POP_SEG LFS LGS LSS LES LDS',
    'RDFSBASE RDGSBASE WRFSBASE WRGSBASE RDPKRU WRPKRU XGETBV XSETBV XSAVE XRSTOR XSAVEOPT XSAVEC XSAVES XRSTORS MONITOR MWAIT',
    'VMCALL VMLAUNCH VMRESUME VMXOFF VMFUNC VMRUN VMMCALL VMLOAD VMSAVE STGI CLGI SKINIT INVLPGA RSM',
    'VMPTRLD VMCLEAR VMXON VMPTRST VMREAD VMWRITE INVEPT INVVPID',
  ].flatMap((line) => line.split(' ')),
);

const SHIFTS = /^(ROL|ROR|RCL|RCR|SHL|SHR|SAR|SHLD|SHRD)$/;
const BITS =
  /^(BT[SRC]?|BS[FR]|[LT]ZCNT|POPCNT|CRC32|BSWAP|ADCX|ADOX|ANDN|BLS.*|BZHI|PEXT|PDEP|MULX|BEXTR|SHLX|SARX|SHRX|RORX)$/;
const STACK = /^(PUSH|POP|PUSHA|POPA|PUSHF|POPF|ENTER|LEAVE)$/;
const CONTROL = /^(Jcc|JMP.*|CALL.*|RET.*|LOOP.*|JCXZ|UD.*)$/;
const CRYPTO = /^(AES|SHA|PCLMUL)/;
const X87_STATE = /^(FXSAVE|FXRSTOR|FWAIT|WAIT)$/;
const SSE_STATE = /^(LDMXCSR|STMXCSR|LFENCE|MFENCE|SFENCE|MOVNTI|CVT.*)$/;
const SYSTEM =
  /^(IN|OUT|INS|OUTS|CLI|STI|HLT|CLTS|INVD|WBINVD|WRMSR|RDMSR|LGDT|LIDT|LLDT|LTR|LMSW|INVLPG|INVPCID|CLAC|STAC|SWAPGS|MOV_(to|from)_[CD]R)$/;

function familyOf(insn: Insn, opcode: readonly number[]): Family {
  const { name } = insn.row;
  const kinds = insn.operands.slice(0, insn.operandCount).map((o) => o.kind);
  const first = opcode[0] ?? 0;
  if (insn.row.avx === true) return 'avx';
  if (SYSTEM.test(name)) return 'system';
  if (X87_STATE.test(name) || (first >= 0xd8 && first <= 0xdf && opcode.length === 1)) return 'x87';
  if (CRYPTO.test(name)) return 'crypto';
  if (name === 'EMMS') return 'mmx';
  if (kinds.includes(OperandKind.xmm) || SSE_STATE.test(name)) return 'sse';
  if (kinds.includes(OperandKind.mmx)) return 'mmx';
  if (insn.row.string === true) return 'string';
  if (SHIFTS.test(name)) return 'shift';
  if (BITS.test(name)) return 'bit';
  if (STACK.test(name)) return 'stack';
  if (CONTROL.test(name)) return 'control';
  return 'integer';
}

/** Bytes that are prefixes or leave the map they stand in. */
const NOT_OPCODES: ReadonlySet<number> = new Set([
  0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0xc4, 0xc5,
]);
const MAPS: readonly (readonly number[])[] = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const PREFIX_SETS: readonly (readonly number[])[] = [
  [],
  [0x66],
  [0xf3],
  [0xf2],
  [0x66, 0xf3],
  [0x66, 0xf2],
  [0xf0],
  [0x66, 0xf0],
];
const REX_SETS: readonly number[] = [0, 8, 1, 9];

/** Does the operand size change what the instruction does, beyond what its operands' widths show? */
function sizeMatters(insn: Insn): boolean {
  const { name } = insn.row;
  if (insn.operandCount === 0) return /^(CBW|CWD|PUSHF|POPF|PUSHA|POPA|LEAVE|RET|MOVS|STOS|LODS|CMPS|SCAS)$/.test(name);
  if (name === 'NOP') return false;
  if (STACK.test(name)) return true;
  const operands = insn.operands.slice(0, insn.operandCount);
  if (!isVector(insn)) return operands.some((o) => o.bytes !== 1);
  return operands.some((o) => o.kind === OperandKind.gpr);
}

function isVector(insn: Insn): boolean {
  const kinds = insn.operands.slice(0, insn.operandCount).map((o) => o.kind);
  return (
    [OperandKind.xmm, OperandKind.mmx, OperandKind.st].some((kind) => kinds.includes(kind)) ||
    insn.row.name.startsWith('F')
  );
}

/** Names the form of a decoded instruction. */
export function formKey(insn: Insn): string {
  const parts: (string | number)[] = [
    ...(insn.codeSize === 64 ? [] : [`code${insn.codeSize}`]),
    insn.row.name,
    insn.row.encoding.replaceAll(' ', '.'),
    insn.row.operands.join(','),
    sizeMatters(insn) ? insn.operandSize : '',
  ];
  for (let i = 0; i < insn.operandCount; i++) {
    const operand = insn.operands[i as 0 | 1 | 2 | 3]; // INVARIANT: operandCount <= 4
    const fixed =
      operand.kind === OperandKind.constant ||
      operand.kind === OperandKind.segment ||
      operand.kind === OperandKind.control;
    parts.push(`${operand.kind}:${operand.bytes}${fixed ? `:${operand.reg}` : ''}`);
  }
  if (insn.lock) parts.push('lock');
  if (insn.rep !== 0 && insn.row.string === true) parts.push(insn.rep.toString(16));
  if (insn.row.name.endsWith('cc')) parts.push(insn.condition);
  // FXSAVE and its like come in a 64-bit form that only REX.W tells apart.
  if (/^(FXSAVE|FXRSTOR)/.test(insn.row.name)) parts.push(insn.rexW ? 'w' : '');
  return parts.join(' ');
}

/** A template as bytes, without SIB, displacement and immediate. Extra REX bits go into REX or, inverted, into VEX. */
export function templateBytes(t: Template, extraRex: number, vvvv: number, modrm: number): number[] {
  const bytes = [...t.prefixes];
  const rex = t.rex | extraRex;
  if (t.vex !== undefined) {
    const { map, pp, w, l } = t.vex;
    bytes.push(0xc4, ((~rex & 7) << 5) | map, (w << 7) | ((~vvvv & 15) << 3) | (l << 2) | pp);
  } else if (rex !== 0) {
    bytes.push(0x40 | (rex & 0x0f));
  }
  bytes.push(...t.opcode);
  if (modrm >= 0) bytes.push(modrm);
  return bytes;
}

class Catalogue {
  readonly forms: Map<string, Form> = new Map();
  readonly #insn: Insn = createInsn();
  readonly #bytes: Uint8Array = new Uint8Array(32);
  readonly codeSize: CodeSize;

  constructor(codeSize: CodeSize) {
    this.codeSize = codeSize;
  }

  /** Decodes a template and files it, unless it is no instruction or none to be tested. */
  file(template: Template): void {
    const bytes = templateBytes(template, 0, 0, template.modrm);
    this.#bytes.fill(0);
    this.#bytes.set(bytes);
    if (template.vex !== undefined && VSIB_BYTES.includes(template.modrm)) this.#bytes[bytes.length] = 1 << 3; // index 1
    const insn = this.#insn;
    if (decode(this.#bytes, 0, 32, this.codeSize, insn) !== DecodeStatus.ok) return;
    if (EXCLUDED.has(insn.row.name)) return;
    // A branch with an operand size prefix is where AMD (16 bits) and Intel (no effect) differ.
    if (this.codeSize === 64 && template.prefixes.includes(0x66) && CONTROL.test(insn.row.name)) return;
    // There AMD (#UD) differs from Intel (W is ignored).
    if (this.codeSize !== 64 && template.vex?.w === 1 && /^VP(EXTR|INSR)D$/.test(insn.row.name)) return;
    // PREFETCH with a register: a NOP for Intel, undefined for AMD.
    if (template.opcode[0] === 0x0f && template.opcode[1] === 0x0d && template.modrm >= 0xc0) return;
    const key = formKey(insn);
    let form = this.forms.get(key);
    if (form === undefined) {
      const kinds = insn.operands.slice(0, insn.operandCount).map((o) => o.kind);
      const memory = kinds.includes(OperandKind.mem);
      const modrmMemory = memory && template.modrm >= 0;
      form = {
        codeSize: this.codeSize,
        key,
        row: insn.row,
        family: familyOf(insn, template.opcode),
        memory,
        modrmMemory,
        templates: [],
      };
      this.forms.set(key, form);
    }
    // Prefixes that change nothing are left out: the first template of a form sets which ones it carries.
    const first = form.templates[0];
    const same =
      first === undefined ||
      (first.prefixes.length === template.prefixes.length && first.rex >> 3 === template.rex >> 3);
    if (same && form.templates.length < 80) form.templates.push(template);
  }
}

/** ModRM bytes to try for an opcode: all register forms, one memory form for each reg field. */
const MODRM_BYTES: readonly number[] = [
  ...Array.from({ length: 8 }, (_, reg) => reg << 3),
  ...Array.from({ length: 64 }, (_, i) => 0xc0 + i),
];

/** Gathers: memory forms with a SIB byte. */
const VSIB_BYTES: readonly number[] = [2, 3, 4, 5].map((reg) => (reg << 3) | 4);

const ONE_BYTE_WITH_MODRM: ReadonlySet<number> = new Set([
  0x62, 0x63, 0x69, 0x6b, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e,
  0x8f, 0xc0, 0xc1, 0xc6, 0xc7, 0xd0, 0xd1, 0xd2, 0xd3, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xf6, 0xf7,
  0xfe, 0xff,
]);

function hasModrm(map: number, opcode: number, codeSize: CodeSize): boolean {
  if (map === 0 && codeSize !== 64 && (opcode === 0xc4 || opcode === 0xc5)) return true; // LES, LDS
  if (map === 0) return opcode < 0x40 ? (opcode & 7) < 4 : ONE_BYTE_WITH_MODRM.has(opcode);
  if (map > 1) return true;
  const high = opcode >> 4;
  if (high === 8 || opcode >= 0xc8 && opcode <= 0xcf || high === 3 || opcode === 0x77) return false; // prettier-ignore
  if (opcode < 0x10) return [0x00, 0x01, 0x02, 0x03, 0x0d].includes(opcode);
  return ![0xa0, 0xa1, 0xa2, 0xa8, 0xa9, 0xaa].includes(opcode);
}

function walkLegacy(catalogue: Catalogue): void {
  for (const prefixes of PREFIX_SETS) {
    for (const rex of catalogue.codeSize === 64 ? REX_SETS : [0]) {
      MAPS.forEach((escape, map) => {
        for (let opcode = 0; opcode < 256; opcode++) {
          if (map === 0 && (NOT_OPCODES.has(opcode) || (catalogue.codeSize === 64 && opcode >> 4 === 4))) continue;
          if (map === 1 && (opcode === 0x38 || opcode === 0x3a)) continue;
          const base = { prefixes, rex, vex: undefined, opcode: [...escape, opcode] };
          if (!hasModrm(map, opcode, catalogue.codeSize)) catalogue.file({ ...base, modrm: -1 });
          else if ((rex & 1) === 0) for (const modrm of MODRM_BYTES) catalogue.file({ ...base, modrm });
        }
      });
    }
  }
}

function walkVex(catalogue: Catalogue): void {
  for (let map = 1; map <= 3; map++)
    for (let pp = 0; pp < 4; pp++)
      for (let w = 0; w < 2; w++)
        for (let opcode = 0; opcode < 256; opcode++)
          for (const modrm of map === 2 && opcode >> 2 === 0x24 ? VSIB_BYTES : MODRM_BYTES)
            for (let l = 0; l < 2; l++)
              catalogue.file({ prefixes: [], rex: 0, vex: { map, pp, w, l }, opcode: [opcode], modrm });
}

const catalogues = new Map<CodeSize, readonly Form[]>();

/** All forms in code of a width, in the order of the opcode map. */
export function allForms(codeSize: CodeSize = 64): readonly Form[] {
  let forms = catalogues.get(codeSize);
  if (forms === undefined) {
    const catalogue = new Catalogue(codeSize);
    walkLegacy(catalogue);
    walkVex(catalogue);
    forms = [...catalogue.forms.values()];
    catalogues.set(codeSize, forms);
  }
  return forms;
}
