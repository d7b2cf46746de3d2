/**
 * Turns the tables into what the decoder looks things up in: for each opcode of each map a list of rows, each with a mask
 * and a value that a key made of prefixes, mode and ModRM is compared with. The first row that matches is taken.
 * The notation is described in tables/notation.ts.
 */
import type { InsnRow } from './insn.ts';
import { Method, type OperandCode, parseOperandCode } from './operand-codes.ts';
import {
  ALIGNED,
  ANYMOD,
  AVX,
  D64,
  ENDS,
  F64,
  I64,
  LOCK,
  O64,
  PROTECTED,
  type RowSpec,
  STRING,
  UNALIGNED,
} from './tables/notation.ts';

// ---- the key ----
/** Bits 0..1: PP_* */
export const KEY_REG_SHIFT = 2;
export const KEY_RM_SHIFT = 5;
export const KEY_MOD3 = 0x100;
export const KEY_CODE64 = 0x200;
export const KEY_W = 0x400;
export const KEY_B = 0x800;
export const KEY_L = 0x1000;
/** Which of 66, F3 and F2 counts as mandatory prefix. */
export const PP_NONE = 0;
export const PP_66 = 1;
export const PP_F3 = 2;
export const PP_F2 = 3;
const KEY_PP = 3;
/** Set in PP_F3 and PP_F2 only. */
const KEY_REPEAT = 2;

// ---- opcode maps ----
export const MAP_ONE_BYTE = 0;
export const MAP_0F = 1;
export const MAP_0F38 = 2;
export const MAP_0F3A = 3;
/** VEX maps 1, 2, 3 follow at MAP_VEX + their number. */
export const MAP_VEX = 3;
const MAP_COUNT = 7;

/** One row, ready for the decoder. */
export class CompiledRow {
  readonly row: InsnRow;
  readonly mask: number;
  readonly value: number;
  readonly operandCount: number;
  readonly methods: readonly number[];
  readonly widths: readonly number[];
  readonly memWidths: readonly number[];
  readonly regs: readonly number[];
  /** 66 is part of the opcode and does not change the operand size. */
  readonly consumes66: boolean;
  readonly default64: boolean;
  readonly forced64: boolean;
  readonly anyMod: boolean;
  /** VEX.vvvv names an operand; else it must be 1111. */
  readonly usesVvvv: boolean;
  readonly vsib: boolean;

  constructor(
    row: InsnRow,
    mask: number,
    value: number,
    codes: readonly OperandCode[],
    flags: number,
    consumes66: boolean,
  ) {
    this.row = row;
    this.mask = mask;
    this.value = value;
    this.operandCount = codes.length;
    this.methods = codes.map((c) => c.method);
    this.widths = codes.map((c) => c.width);
    this.memWidths = codes.map((c) => c.memWidth);
    this.regs = codes.map((c) => c.reg);
    this.consumes66 = consumes66;
    this.default64 = (flags & D64) !== 0;
    this.forced64 = (flags & F64) !== 0;
    this.anyMod = (flags & ANYMOD) !== 0;
    this.usesVvvv = codes.some((c) => c.method === Method.gprVvvv || c.method === Method.xmmVvvv);
    this.vsib = codes.some((c) => c.method === Method.vsib);
  }
}

/** All rows of one opcode. */
export class OpcodeEntry {
  readonly hasModrm: boolean;
  /** One list, or sixteen by (mod == 3) << 3 | reg. */
  readonly lists: CompiledRow[][];

  constructor(hasModrm: boolean) {
    this.hasModrm = hasModrm;
    this.lists = Array.from({ length: hasModrm ? 16 : 1 }, () => []);
  }
}

export interface CompiledTables {
  readonly rows: readonly InsnRow[];
  /** By map << 8 | opcode. */
  readonly entries: readonly (OpcodeEntry | undefined)[];
}

/** An encoding, parsed. */
interface Encoding {
  map: number;
  opcode: number;
  /** Opcodes it stands for, from `opcode` on: 1, 8 (+r) or 16 (+cc). */
  opcodeCount: number;
  hasModrm: boolean;
  mask: number;
  value: number;
  consumes66: boolean;
}

const PP_NAMES: Readonly<Record<string, number>> = { NP: PP_NONE, '66': PP_66, F3: PP_F3, F2: PP_F2 };
const VEX_MAPS: Readonly<Record<string, number>> = { '0F': MAP_VEX + 1, '0F38': MAP_VEX + 2, '0F3A': MAP_VEX + 3 };

function require(e: Encoding, mask: number, value: number): void {
  e.mask |= mask;
  e.value |= value;
}

/** `VEX.LZ.66.0F38.W0` */
function parseVex(text: string, e: Encoding): void {
  for (const part of text.split('.').slice(1)) {
    const map = VEX_MAPS[part];
    const pp = PP_NAMES[part];
    if (map !== undefined) e.map = map;
    else if (pp !== undefined) require(e, KEY_PP, pp);
    else if (part === 'LZ' || part === '128') require(e, KEY_L, 0);
    else if (part === '256') require(e, KEY_L, KEY_L);
    else if (part === 'W0') require(e, KEY_W, 0);
    else if (part === 'W1') require(e, KEY_W, KEY_W);
    else if (part !== 'LIG' && part !== 'WIG') throw new Error(`decode tables: unknown VEX part '${part}'`);
  }
}

function parseModrm(text: string, e: Encoding): void {
  e.hasModrm = true;
  if (text === '/r') return;
  const digit = /^\/([0-7])(?::(mem|reg))?$/.exec(text);
  if (digit !== null) {
    require(e, 7 << KEY_REG_SHIFT, Number(digit[1]) << KEY_REG_SHIFT);
    if (digit[2] !== undefined) require(e, KEY_MOD3, digit[2] === 'reg' ? KEY_MOD3 : 0);
    return;
  }
  const exact = /^([C-F][0-9A-F])(\+i)?$/.exec(text);
  if (exact === null) throw new Error(`decode tables: unknown ModRM notation '${text}'`);
  const byte = Number.parseInt(exact[1] ?? '', 16);
  require(e, KEY_MOD3 | (7 << KEY_REG_SHIFT), KEY_MOD3 | (((byte >> 3) & 7) << KEY_REG_SHIFT));
  if (exact[2] === undefined) require(e, 7 << KEY_RM_SHIFT, (byte & 7) << KEY_RM_SHIFT);
}

const MANDATORY = /^(NP|NFx|66|F3|F2)$/;

function parseEncoding(text: string): Encoding {
  const e: Encoding = {
    map: MAP_ONE_BYTE,
    opcode: 0,
    opcodeCount: 1,
    hasModrm: false,
    mask: 0,
    value: 0,
    consumes66: false,
  };
  const parts = text.split(' ');
  let next = 0;
  // A prefix is always followed by more, so a lone '66' could only be an opcode; none of the prefix bytes is one.
  const first = parts[next] ?? '';
  if (first.startsWith('VEX.')) {
    parseVex(first, e);
    next++;
  } else if (MANDATORY.test(first)) {
    if (first === 'NFx') require(e, KEY_REPEAT, 0);
    else require(e, KEY_PP, PP_NAMES[first] ?? 0);
    e.consumes66 = first === '66';
    next++;
  }
  for (; (parts[next] ?? '').startsWith('REX.'); next++) {
    if (parts[next] === 'REX.W') require(e, KEY_W, KEY_W);
    else if (parts[next] === 'REX.B') require(e, KEY_B, KEY_B);
    else throw new Error(`decode tables: unknown notation '${parts[next]}' in '${text}'`);
  }
  if (e.map === MAP_ONE_BYTE && parts[next] === '0F') {
    next++;
    e.map = MAP_0F;
    if (parts[next] === '38' || parts[next] === '3A') {
      e.map = parts[next] === '38' ? MAP_0F38 : MAP_0F3A;
      next++;
    }
  }
  const opcode = /^([0-9A-F]{2})(\+r|\+cc)?$/.exec(parts[next++] ?? '');
  if (opcode === null) throw new Error(`decode tables: no opcode in '${text}'`);
  e.opcode = Number.parseInt(opcode[1] ?? '', 16);
  if (opcode[2] !== undefined) e.opcodeCount = opcode[2] === '+r' ? 8 : 16;
  const modrm = parts[next++];
  if (modrm !== undefined) parseModrm(modrm, e);
  if (next < parts.length) throw new Error(`decode tables: too much in '${text}'`);
  return e;
}

function makeRow(spec: RowSpec, id: number): InsnRow {
  const { flags, name } = spec;
  return {
    id,
    name,
    mnemonic: spec.mnemonic ?? name.replace(/_.*$/, ''),
    encoding: spec.encoding,
    operands: spec.operands === '' ? [] : spec.operands.split(' '),
    lock: (flags & LOCK) !== 0,
    endsBlock: (flags & ENDS) !== 0,
    string: (flags & STRING) !== 0,
    protectedOnly: (flags & (PROTECTED | AVX)) !== 0,
    unaligned: (flags & AVX) !== 0 ? (flags & ALIGNED) === 0 : (flags & UNALIGNED) !== 0,
    avx: (flags & AVX) !== 0,
  };
}

function addToLists(entry: OpcodeEntry, compiled: CompiledRow): void {
  if (!entry.hasModrm) {
    entry.lists[0]?.push(compiled);
    return;
  }
  for (let i = 0; i < 16; i++) {
    const known = (i >> 3 === 1 ? KEY_MOD3 : 0) | ((i & 7) << KEY_REG_SHIFT);
    const mask = compiled.mask & (KEY_MOD3 | (7 << KEY_REG_SHIFT));
    if ((known & mask) === (compiled.value & mask)) entry.lists[i]?.push(compiled);
  }
}

/** Compiles all tables. Throws on a mistake in a row. */
export function compileTables(tables: readonly (readonly RowSpec[])[]): CompiledTables {
  const rows: InsnRow[] = [];
  const entries = Array.from<OpcodeEntry | undefined>({ length: MAP_COUNT << 8 });
  const codeCache = new Map<string, OperandCode>();
  for (const spec of tables.flat()) {
    const row = makeRow(spec, rows.length);
    rows.push(row);
    const e = parseEncoding(spec.encoding);
    const codes: OperandCode[] = [];
    for (const text of row.operands) {
      const code = codeCache.get(text) ?? parseOperandCode(text);
      codeCache.set(text, code);
      codes.push(code);
      if (code.mod !== 'any' && (spec.flags & ANYMOD) === 0) require(e, KEY_MOD3, code.mod === 'reg' ? KEY_MOD3 : 0);
    }
    if ((spec.flags & I64) !== 0) require(e, KEY_CODE64, 0);
    if ((spec.flags & O64) !== 0) require(e, KEY_CODE64, KEY_CODE64);
    const compiled = new CompiledRow(row, e.mask, e.value, codes, spec.flags, e.consumes66);
    for (let i = 0; i < e.opcodeCount; i++) {
      const slot = (e.map << 8) | (e.opcode + i);
      const entry = (entries[slot] ??= new OpcodeEntry(e.hasModrm));
      if (entry.hasModrm !== e.hasModrm)
        throw new Error(`decode tables: '${spec.encoding}' disagrees with other rows about ModRM`);
      addToLists(entry, compiled);
    }
  }
  return { rows, entries };
}
