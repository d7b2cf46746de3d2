/**
 * Random user programs for a guest that handles their exceptions: any instruction that the decoder knows, with operands that mostly
 * point into the data area, among loops, branches, calls, stores to their own code and software interrupts.
 */
import { OperandKind, NO_REGISTER, RIP_BASE } from '../../../src/cpu/x86/decode/insn.ts';
import { randomEncoding } from '../oracle/cases.ts';
import { allForms, type Form } from '../oracle/forms.ts';
import { CODE_BASE, RBP, RBX, RDI, RSI, RSP } from '../oracle/machine-state.ts';
import type { Random } from '../oracle/random.ts';

export type FuzzBits = 32 | 64;

export interface FuzzProgram {
  readonly bits: FuzzBits;
  readonly code: Uint8Array;
  /** Offsets of the instructions as they were meant. */
  readonly starts: readonly number[];
}

const R12 = 12;
const R13 = 13;
const R14 = 14;

/** Registers that begin as addresses of data, and that few instructions write to. */
export const POINTERS: Readonly<Record<FuzzBits, readonly number[]>> = {
  64: [RBX, RBP, R12, R13],
  32: [RBX, RBP, RSI],
};
const COUNTER = { 64: R14, 32: RDI } as const;
const LOAD_COUNTER = { 64: [0x41, 0xbe], 32: [0xbf] } as const;
const DECREMENT = { 64: [0x41, 0xff, 0xce], 32: [0xff, 0xcf] } as const;

/** Instructions that always or often trap: INT3, INT 0x80, INT 0x21 (no gate for programs), INT1, UD2, HLT, CLI, MOV to CR3, IN. */
const TRAPPING: readonly (readonly number[])[] = [
  ...[
    [0xcc],
    [0xcd, 0x80],
    [0xcd, 0x21],
    [0xcd, 3],
    [0xcd, 4],
    [0xf1],
    [0x0f, 0x0b],
    [0xf4],
    [0xfa],
    [0x0f, 0x22, 0xd8],
  ],
  ...[
    [0xe4, 0x60],
    [0x8e, 0xd8],
    [0x8e, 0xc0],
    [0x8c, 0xd8],
    [0x0f, 0xa2],
    [0x0f, 0x31],
    [0x0f, 0x01, 0xd0],
  ],
];
/** INTO, BOUND [rbx]; and setting OF before INTO: MOV AL, 0x7f; INC AL. */
const TRAPPING_32: readonly (readonly number[])[] = [[0xce], [0x62, 0x03], [0xb0, 0x7f, 0xfe, 0xc0, 0xce]];
/** DIV CL, IDIV ECX, DIV dword [rbx], PUSHF; OR the flags on the stack with TF; POPF. */
const DIVISIONS: readonly (readonly number[])[] = [
  [0xf6, 0xf1],
  [0xf7, 0xf9],
  [0xf7, 0x33],
];
const SET_TF = {
  64: [0x9c, 0x48, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d],
  32: [0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d],
} as const;

const families = new Map<FuzzBits, readonly (readonly Form[])[]>();

function formsByFamily(bits: FuzzBits): readonly (readonly Form[])[] {
  let found = families.get(bits);
  if (found === undefined) {
    const byFamily = new Map<string, Form[]>();
    for (const form of allForms(bits)) byFamily.set(form.family, [...(byFamily.get(form.family) ?? []), form]);
    const of = (name: string): readonly Form[] => byFamily.get(name) ?? [];
    // Integer code is what programs are made of.
    const common = ['integer', 'integer', 'integer', 'integer', 'shift', 'bit', 'string', 'stack', 'stack'];
    found = [...common, 'x87', 'mmx', 'sse', 'sse', 'avx', 'crypto', 'control']
      .map(of)
      .filter((list) => list.length > 0);
    families.set(bits, found);
  }
  return found;
}

function instruction(random: Random, bits: FuzzBits): number[] {
  const form = random.pick(random.pick(formsByFamily(bits)));
  const pointers = POINTERS[bits];
  let code: Uint8Array = new Uint8Array([0x90]);
  for (let attempt = 0; attempt < 12; attempt++) {
    const encoding = randomEncoding(form, random);
    ({ code } = encoding);
    const { insn } = encoding;
    if (random.oneIn(24)) break;
    const operands = insn.operands.slice(0, insn.operandCount);
    const kept = (reg: number): boolean => pointers.includes(reg) || reg === RSP || reg === COUNTER[bits];
    if (operands.some(({ kind, reg }) => kind === OperandKind.gpr && kept(reg))) continue;
    if (!form.modrmMemory) break;
    const { base, index, disp } = insn.mem;
    if (base === RIP_BASE || encoding.fixedTarget !== undefined) break;
    if (
      base !== NO_REGISTER &&
      (pointers.includes(base) || base === RSP) &&
      index === NO_REGISTER &&
      Math.abs(disp) < 2048
    )
      break;
  }
  return [...code];
}

interface Branch {
  /** Where its displacement of 32 bits is, and to which instruction it goes. */
  readonly at: number;
  readonly target: number;
}

export function fuzzProgram(random: Random, bits: FuzzBits): FuzzProgram {
  const code: number[] = [];
  const starts: number[] = [];
  const branches: Branch[] = [];
  const put = (bytes: readonly number[], target?: number): void => {
    starts.push(code.length);
    code.push(...bytes);
    if (target === undefined) return;
    branches.push({ at: code.length, target });
    code.push(0, 0, 0, 0);
  };
  // Now and then across the end of the page.
  if (random.oneIn(3)) {
    const skip = 0x800 - 5 - random.below(200);
    put([0xe9, skip & 255, skip >> 8, 0, 0]);
    for (let i = 0; i < skip; i++) code.push(0xcc);
  }
  const length = 20 + random.below(80);
  while (starts.length < length) {
    const here = starts.length;
    const choice = random.below(20);
    if (choice < 2) {
      put([...LOAD_COUNTER[bits], 1 + random.below(40), 0, 0, 0]);
      const body = starts.length;
      for (let n = 1 + random.below(6); n > 0; n--) put(instruction(random, bits));
      put(DECREMENT[bits]);
      put([0x0f, 0x85], body);
    } else if (choice < 5) {
      const condition = random.below(17);
      put(condition === 16 ? [0xe9] : [0x0f, 0x80 | condition], here + 1 + random.below(8));
    } else if (choice === 5) {
      put([0xe8], random.below(length));
    } else if (choice === 6) {
      put(random.oneIn(3) ? [0xc3] : random.pick(DIVISIONS));
    } else if (choice === 7) {
      put(random.pick(bits === 32 && random.oneIn(2) ? TRAPPING_32 : TRAPPING));
    } else if (choice === 8 && random.oneIn(4)) {
      put(SET_TF[bits]);
    } else if (choice === 9 && random.oneIn(2)) {
      // MOV byte [own code], n.
      const where = random.below(1024);
      const address = CODE_BASE + where - (bits === 64 ? CODE_BASE + code.length + 7 : 0);
      put([0xc6, 0x05, ...[0, 8, 16, 24].map((shift) => (address >> shift) & 255), random.u32() & 255]);
    } else {
      put(instruction(random, bits));
    }
  }
  // Again from the beginning.
  put([0xe9], 0);
  for (const { at, target } of branches) {
    const way = (starts[Math.min(target, starts.length - 1)] ?? 0) - at - 4;
    for (let i = 0; i < 4; i++) code[at + i] = (way >> (8 * i)) & 255;
  }
  return { bits, code: Uint8Array.from(code), starts };
}
