/**
 * Random short programs: straight code, forward branches, indirect jumps, bounded loops, calls, stores into their own code. They find what single instructions cannot:
 * flags used long after they were made, fused pairs, registers kept in locals across branches, precise state at a fault in the
 * middle of a block. A program ends in UD2, on both sides.
 *
 * Only instructions whose flags are fully defined take part (AF apart, which nothing here reads).
 */
import { createInsn, decode } from '../../../src/cpu/x86/decode/decoder.ts';
import { formatInsn } from '../../../src/cpu/x86/decode/format.ts';
import type { Insn } from '../../../src/cpu/x86/decode/insn.ts';
import { NO_REGISTER, OperandKind, RIP_BASE } from '../../../src/cpu/x86/decode/insn.ts';
import { newArea, randomEncoding } from './cases.ts';
import { compare, type Difference, failureText } from './compare.ts';
import type { Encoding } from './encoding.ts';
import type { EngineOracle } from './engine.ts';
import { allForms, type Family, type Form } from './forms.ts';
import {
  AF,
  CODE_BASE,
  CODE_PAGE,
  codeOffset,
  type CodeSize,
  createOutcome,
  createState,
  DATA_BASE,
  DF,
  ESP_HIGH_16,
  FX_FSW,
  type MachineState,
  type Oracle,
  type Outcome,
  RBP,
  RBX,
  RDI,
  RSP,
} from './machine-state.ts';
import { hostHasAvx } from './native.ts';
import { Random } from './random.ts';
import { fillState } from './states.ts';
import { undefinedFlags } from './undefined.ts';

/** What programs are made of in code of a width. */
interface Dialect {
  readonly codeSize: CodeSize;
  /** Registers that point into the data area and are never written. */
  readonly pointers: readonly number[];
  /** Never written by random instructions: pointers, the loop counter, the stack pointer. */
  readonly reserved: ReadonlySet<number>;
  /** MOV counter, n without n, and how many bytes n has. */
  readonly loadCounter: readonly number[];
  readonly decrementCounter: readonly number[];
  /** Bytes of a branch displacement. */
  readonly branchBytes: 2 | 4;
  /** Start of MOV byte [own code], n; empty where it cannot be said. */
  readonly patch: readonly number[];
  /** Loads the address of an item into rAX. */
  readonly loadAddress: readonly number[];
  /** Those two name the address itself, not the way to it. */
  readonly absolute: boolean;
}

const FSW_CONDITION = 0x4700;
/** From behind the first jump to the end of its page. */
const PAGE_END = 4096 - 5 - (CODE_BASE - CODE_PAGE);
const R12 = 12;
const R13 = 13;
const R14 = 14;

const DIALECTS: Readonly<Record<CodeSize, Dialect>> = {
  64: {
    codeSize: 64,
    pointers: [RBX, RBP, R12, R13],
    reserved: new Set([RBX, RBP, R12, R13, R14, RSP]),
    loadCounter: [0x41, 0xbe],
    decrementCounter: [0x41, 0xff, 0xce],
    branchBytes: 4,
    patch: [0xc6, 0x05],
    loadAddress: [0x48, 0x8d, 0x05],
    absolute: false,
  },
  32: {
    codeSize: 32,
    pointers: [RBX, RBP],
    reserved: new Set([RBX, RBP, RDI, RSP]),
    loadCounter: [0xbf],
    decrementCounter: [0xff, 0xcf],
    branchBytes: 4,
    patch: [0xc6, 0x05],
    loadAddress: [0xb8],
    absolute: true,
  },
  16: {
    codeSize: 16,
    pointers: [RBX, RBP],
    reserved: new Set([RBX, RBP, RDI, RSP]),
    loadCounter: [0x66, 0xbf],
    decrementCounter: [0x66, 0xff, 0xcf],
    branchBytes: 2,
    patch: [], // its code segment cannot be written through
    loadAddress: [0xb8],
    absolute: true,
  },
};

/** Longest way of one program on the host; the engine gets as many instructions. */
const MAX_INSTRUCTIONS = 10_000;

const NAMES = new RegExp(
  [
    '^(ADD|OR|ADC|SBB|AND|SUB|XOR|CMP|TEST|INC|DEC|NEG|NOT|MOV|MOVZX|MOVSX|MOVSXD|LEA|XCHG|XADD|CMPXCHG|SETcc|CMOVcc|BSWAP|CBW|CWD',
    'CMC|CLC|STC|SAHF|NOP|SHL|SHR|SAR|ROL|ROR|RCL|RCR|SHLX|SHRX|SARX|RORX|PDEP|PEXT|MULX|CRC32|POPCNT|ADCX|ADOX|MOVBE|PUSH|POP)$',
  ].join('|'),
);
const SSE_NAMES =
  /^(MOV[ADHLU].*|MOVQ|MOVD|P(ADD|SUB|AND|OR|XOR|CMP|SHUF|UNPCK|SLL|SRL|SRA|MUL|MAX|MIN|AVG).*|(ADD|SUB|MUL|DIV|SQRT|MIN|MAX)[PS][SD]|U?COMIS[SD]|CVT.*|(AND|ANDN|OR|XOR|SHUF|UNPCK.)P[SD])$/;

const X87_NAMES =
  /^(F(LD|ST|STP|ILD|IST|ISTP|ISTTP|XCH|CHS|ABS|LD1|LDZ|LDPI|TST|XAM|RNDINT|SQRT|SCALE|XTRACT|NOP|INCSTP|DECSTP|FREE)|FI?(ADD|SUBR?|MUL|DIVR?)P?|FU?COM(I|P|IP|PP)?|FCMOV.*)$/;

interface Item {
  readonly id: number;
  readonly bytes: readonly number[];
  /** `bytes` are followed by the way (or, `absolute`, the address) to the item with id `target`... */
  readonly target?: number;
  /** ...plus `into`, and by these; such an item goes when its target goes. */
  readonly tail?: readonly number[];
  readonly into?: number;
  readonly absolute?: boolean;
  /** It belongs to a loop's counting and goes only with the loop's branch. */
  readonly counts?: boolean;
}

export interface Program {
  readonly codeSize: CodeSize;
  readonly items: readonly Item[];
  /** Bytes that the program first jumps over, so that it lies across a page boundary; 0 = none. */
  readonly skip: number;
}

const FAMILY_MIX: readonly (readonly Family[])[] = [
  ['integer', 'shift', 'bit', 'stack'],
  ['integer', 'shift', 'bit', 'stack'],
  ['integer'],
  ['sse'],
  ['x87'],
  ['mmx', 'sse'],
  ['avx'],
  ['sse', 'avx'],
];

const candidates = new Map<CodeSize, readonly Form[]>();

function forms(codeSize: CodeSize): readonly Form[] {
  let found = candidates.get(codeSize);
  if (found === undefined) {
    found = allForms(codeSize).filter((form) => {
      if (form.key.includes(' lock')) return false;
      if (form.family === 'sse') return SSE_NAMES.test(form.row.name) && !/PI/.test(form.row.name);
      // Only bounded, so not the same everywhere: RCPPS and RSQRTPS.
      if (form.family === 'avx') return hostHasAvx && !/GATHER|MASKMOVDQU|MXCSR|STR[IM]|RCP|RSQRT/.test(form.row.name);
      if (form.family === 'x87') return X87_NAMES.test(form.row.name);
      if (form.family === 'mmx') return !/^(MASKMOVQ|CVT.*)$/.test(form.row.name);
      return NAMES.test(form.row.name);
    });
    candidates.set(codeSize, found);
  }
  return found;
}

function usable(dialect: Dialect, insn: Insn, state: MachineState): boolean {
  for (let i = 0; i < insn.operandCount; i++) {
    const operand = insn.operands[i as 0 | 1 | 2 | 3]; // INVARIANT: operandCount <= 4
    if (operand.kind === OperandKind.gpr && dialect.reserved.has(operand.reg)) return false;
    if (operand.kind === OperandKind.gpr8high && operand.reg === RBX) return false; // BH
  }
  // Counts come from CL at run time: only counts that are encoded are known to leave the flags defined.
  if (/^(SH|SA|RO|RC)[LR]$/.test(insn.row.name) && insn.row.operands.at(-1) === 'CL') return false;
  return (undefinedFlags(insn, state) & ~AF) === 0;
}

function goodAddress(dialect: Dialect, insn: Insn): boolean {
  const { base, index, disp } = insn.mem;
  if (base === RIP_BASE || base === NO_REGISTER) return false;
  const known = dialect.pointers.includes(base) || (base === RSP && dialect.codeSize !== 16);
  return known && index === NO_REGISTER && Math.abs(disp) < 2048;
}

const probe: MachineState = createState();

/** Bytes of one instruction that may stand in a program. */
function randomInstruction(dialect: Dialect, random: Random): readonly number[] {
  const all = forms(dialect.codeSize);
  for (;;) {
    // A family first: there are more integer forms than all others together.
    const families = random.pick(FAMILY_MIX);
    const form = random.pick(all.filter((f) => families.includes(f.family)));
    for (let attempt = 0; attempt < 40; attempt++) {
      const { insn, code, fixedTarget } = randomEncoding(form, random);
      if (!usable(dialect, insn, probe)) continue;
      const accesses = form.memory && form.row.name !== 'LEA';
      // Targets fixed in the code are now and then bad ones: faults in the middle of a block.
      if (accesses && !goodAddress(dialect, insn) && (fixedTarget === undefined || insn.mem.base === RIP_BASE))
        continue;
      if (form.row.name === 'LEA' && insn.mem.base === RIP_BASE) continue;
      return [...code];
    }
  }
}

/** A program of about `length` items. */
export function randomProgram(random: Random, length: number, codeSize: CodeSize = 64): Program {
  const dialect = DIALECTS[codeSize];
  const { absolute } = dialect;
  const items: Item[] = [];
  let id = 0;
  const plain = (): void => void items.push({ id: id++, bytes: randomInstruction(dialect, random) });
  const subroutines = random.below(3);
  /** First and last id of each loop: a branch from outside enters at its first. */
  const loops: [number, number][] = [];
  while (items.length < length) {
    const choice = random.below(12);
    if (choice === 0) {
      // A loop: MOV counter, n; body; DEC counter; JNZ body.
      const first = id;
      items.push({ id: id++, bytes: [...dialect.loadCounter, 1 + random.below(20), 0, 0, 0], counts: true });
      const body = id;
      for (let n = 1 + random.below(5); n > 0; n--) plain();
      items.push({ id: id++, bytes: dialect.decrementCounter, counts: true });
      loops.push([first, id]);
      items.push({ id: id++, bytes: [0x0f, 0x85], target: body });
    } else if (choice < 3) {
      const condition = random.below(17);
      const target = id + 1 + random.below(5);
      items.push({ id: id++, bytes: condition === 16 ? [0xe9] : [0x0f, 0x80 | condition], target });
    } else if (choice === 3 && subroutines > 0) {
      items.push({ id: id++, bytes: [0xe8], target: -1 - random.below(subroutines) });
    } else if (choice === 4 && dialect.patch.length > 0) {
      // Self-modifying code: MOV byte [the immediate below], n; some more; MOV r8, immediate.
      const between = random.below(4);
      const target = id + 1 + between;
      items.push({ id: id++, bytes: dialect.patch, target, tail: [random.u32() & 255], into: 1, absolute });
      for (let n = between; n > 0; n--) plain();
      items.push({ id: id++, bytes: [0xb0 | random.below(3), random.u32() & 255] });
    } else if (choice === 5) {
      // LEA rAX, target; JMP rAX.
      const target = id + 2 + random.below(4);
      items.push({ id: id++, bytes: dialect.loadAddress, target, tail: [0xff, 0xe0], absolute });
    } else {
      plain();
    }
  }
  const end = id++;
  items.push({ id: end, bytes: [0x0f, 0x0b] });
  // Subroutines lie behind the end; a forward branch beyond it goes to the end.
  const entries: number[] = [];
  for (let s = 0; s < subroutines; s++) {
    entries.push(id);
    for (let n = 1 + random.below(4); n > 0; n--) {
      const bytes = randomInstruction(dialect, random);
      const isStack = bytes.some(
        (b) => (b >= 0x50 && b < 0x60) || b === 0xff || b === 0x8f || b === 0x68 || b === 0x6a,
      );
      if (!isStack) items.push({ id: id++, bytes });
    }
    items.push({ id: id++, bytes: [0xc3] });
  }
  const skip = random.oneIn(3) ? PAGE_END - random.below(160) : 0;
  return {
    codeSize,
    skip,
    items: items.map((item) => {
      if (item.target === undefined) return item;
      if (item.target < 0) return { ...item, target: entries[-1 - item.target] ?? end };
      const { target } = item;
      const entered = loops.find(([first, last]) => item.id < first && target > first && target <= last);
      return { ...item, target: Math.min(entered?.[0] ?? target, end) };
    }),
  };
}

/** Machine code of a program; a branch target that was taken away becomes the next item that is there. */
export function assemble(program: Program): Uint8Array {
  const items = program.items.filter(
    (item) => item.into === undefined || program.items.some((o) => o.id === item.target),
  );
  const size = DIALECTS[program.codeSize].branchBytes;
  const code: number[] = [];
  if (program.skip > 0) {
    code.push(0xe9);
    for (let i = 0; i < size; i++) code.push((program.skip >> (8 * i)) & 255);
    for (let i = 0; i < program.skip; i++) code.push(0xcc);
  }
  const starts: number[] = [];
  let at = code.length;
  for (const item of items) {
    starts.push(at);
    at += item.bytes.length + (item.target === undefined ? 0 : size) + (item.tail?.length ?? 0);
  }
  for (const item of items) {
    code.push(...item.bytes);
    const { target, tail = [], into = 0, absolute = false } = item;
    if (target === undefined) continue;
    const to = (starts[items.findIndex((other) => other.id >= target)] ?? 0) + into;
    // A jump counts from behind its displacement, as LEA does; a store from behind its immediate.
    const from = code.length + size + (into === 0 ? 0 : tail.length);
    const value = absolute ? codeOffset(program.codeSize) + to : to - from;
    for (let i = 0; i < size; i++) code.push((value >> (8 * i)) & 255);
    code.push(...tail);
  }
  return Uint8Array.from(code);
}

function listing(code: Uint8Array, codeSize: CodeSize): string {
  const start = codeOffset(codeSize);
  const insn = createInsn();
  const lines: string[] = [];
  for (let at = 0; at < code.length; at += Math.max(1, insn.length)) {
    while (code[at] === 0xcc) at++; // what a program jumps over
    const status = decode(code, at, code.length, codeSize, insn);
    const bytes = Array.from(code.subarray(at, at + insn.length), (b) => b.toString(16).padStart(2, '0')).join(' ');
    const text = status === 0 ? formatInsn(insn, BigInt(start + at)) : '(bad)';
    lines.push(`  ${(start + at).toString(16)}  ${bytes.padEnd(32)} ${text}`);
  }
  return lines.join('\n');
}

function randomStart(dialect: Dialect, random: Random, state: MachineState): void {
  const { codeSize } = dialect;
  state.codeSize = codeSize;
  fillState(random, state, random.pick(['x87', 'mmx'] as const), random.pick(['f32', 'f64', 'integer'] as const));
  if (codeSize !== 64) for (let i = 0; i < 16; i++) state.gpr[i] = i < 8 ? BigInt.asUintN(32, state.gpr[i] ?? 0n) : 0n;
  const base = codeSize === 16 ? 0 : DATA_BASE;
  for (const reg of dialect.pointers) state.gpr[reg] = BigInt(base + 4096 + random.below(8192));
  const stack = 8192 + random.below(256) * 8;
  state.gpr[RSP] = BigInt(codeSize === 16 ? (ESP_HIGH_16 << 16) | stack : base + stack);
  state.rflags &= ~DF;
}

export class SequenceRunner {
  readonly #host: Oracle;
  readonly #engine: EngineOracle;
  readonly #state: MachineState = createState();
  readonly #expected: Outcome = createOutcome();
  readonly #got: Outcome = createOutcome();
  /** Any valid encoding: what `compare` looks at besides states. */
  readonly #neutral: Encoding;
  readonly #dialect: Dialect;
  instructions = 0;

  constructor(host: Oracle, engine: EngineOracle, codeSize: CodeSize = 64) {
    this.#host = host;
    this.#engine = engine;
    this.#dialect = DIALECTS[codeSize];
    // INVARIANT: UD2 is in the tables.
    const ud2 = allForms(codeSize).find((form) => form.row.name === 'UD2') as Form;
    this.#neutral = randomEncoding(ud2, new Random(1));
  }

  #differences(program: Program): Difference[] {
    const code = assemble(program);
    this.#host.run(code, this.#state, this.#expected);
    try {
      this.#engine.runProgram(code, this.#state, this.#got, MAX_INSTRUCTIONS);
    } catch (error) {
      return [['run', 'an outcome', String(error)]];
    }
    for (const { state } of [this.#expected, this.#got]) {
      state.rflags &= ~AF;
      // Most x87 instructions leave some of the condition codes undefined.
      const fx = new DataView(state.fx.buffer);
      fx.setUint16(FX_FSW, fx.getUint16(FX_FSW, true) & ~FSW_CONDITION, true);
    }
    return compare(this.#neutral, this.#state, this.#expected, this.#got, -1);
  }

  /** One random program from one random state; a description of the failure, cut down to the items that matter. */
  run(seed: number): string | undefined {
    const random = new Random(seed);
    newArea(this.#neutral, this.#state, random);
    randomStart(this.#dialect, random, this.#state);
    const { codeSize } = this.#dialect;
    let program = randomProgram(random, 3 + random.below(24), codeSize);
    this.instructions += program.items.length;
    let differences = this.#differences(program);
    if (differences.length === 0) return undefined;
    for (let i = program.items.length - 1; i >= 0; i--) {
      const item = program.items[i];
      if (item === undefined || (item.bytes[0] === 0x0f && item.bytes[1] === 0x0b)) continue;
      const shorter = { ...program, items: program.items.filter((other) => other !== item) };
      // Taking the counter out of a loop would make it endless.
      const branchesBack = program.items.some((other) => other.target !== undefined && other.target <= other.id);
      const isLoop = branchesBack && item.counts === true;
      if (isLoop || item.bytes[0] === 0xc3) continue;
      const found = this.#differences(shorter);
      if (found.length === 0) continue;
      program = shorter;
      differences = found;
    }
    const text = failureText(this.#neutral, this.#state, differences, -1);
    const registers = Array.from(this.#state.gpr, (v, i) => `r${i}=${v.toString(16)}`).join(' ');
    return `seed ${seed}\n${listing(assemble(program), codeSize)}\n  ${registers}\n${text.slice(text.indexOf('\n') + 1)}`;
  }
}
