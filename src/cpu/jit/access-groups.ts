/**
 * Memory accesses off one base register share one look into the TLB.
 *
 * While a block is emitted, every general register is known as an origin (a value that no instruction here has computed) plus a
 * constant. Before the first of several accesses at constant distances from one origin, the bytes from the lowest to the
 * highest of them are checked as if they were one access. When they lie in one page that allows it all, `host` is where the
 * lowest byte is, and each access is a load or store at a constant offset from it; else `host` is 0 and each goes the slow
 * way, which faults, crosses pages and talks to devices as it must. Nothing in a block changes what a page is or allows
 * without forgetting the groups.
 */
import { type Expr, i32, i64 } from '../../wasm/expr.ts';
import type { Local } from '../../wasm/function-builder.ts';
import { segmentIsFlat } from '../interp/address-form.ts';
import { type Insn, NO_REGISTER, type Operand, OperandKind, RIP_BASE } from '../x86/decode/insn.ts';
import { type GroupedAccess, RAX, RBP, RDX, RSP, type X86 } from '../x86/semantics/context.ts';
import type { RegionInsn } from './region.ts';

/** Bytes that one check covers at most: with more, more of the checks would find a page boundary. */
const MAX_SPAN = 1024;

/** Origin `origin` plus `delta` bytes. */
export interface Place {
  readonly origin: number;
  readonly delta: number;
}

interface Access {
  readonly place: Place;
  readonly bytes: number;
  readonly write: boolean;
}

interface Group {
  readonly origin: number;
  readonly from: number;
  readonly to: number;
  readonly write: boolean;
  readonly host: Local<'i32'>;
}

export interface GroupState {
  readonly registers: ReadonlyMap<number, Place>;
  readonly groups: readonly Group[];
  readonly aligned: ReadonlySet<string>;
}

/** rIP stands for a register that never changes: the start of the region's first page. */
const RIP_ORIGIN = 0;

export class AccessGroups {
  private readonly x: X86;
  private readonly mode: number;
  private registers = new Map<number, Place>();
  private groups: Group[] = [];
  private origins = RIP_ORIGIN + 1;
  /** What the sum of two origins, the second shifted, is known as. */
  private readonly sums = new Map<string, number>();
  /** Places that an access that must be aligned has been to. */
  private aligned = new Set<string>();
  /** What addresses that were computed for this instruction are. */
  private readonly places = new WeakMap<Expr, Place>();

  constructor(x: X86, mode: number) {
    this.x = x;
    this.mode = mode;
  }

  /** Nothing is known: control may come from elsewhere, or anything may have changed. */
  forget(): void {
    this.registers = new Map();
    this.groups = [];
    this.aligned = new Set();
  }

  /** What pages are or allow may have changed. */
  forgetPages(): void {
    this.groups = [];
  }

  get state(): GroupState {
    return { registers: new Map(this.registers), groups: [...this.groups], aligned: new Set(this.aligned) };
  }

  set state(state: GroupState) {
    this.registers = new Map(state.registers);
    this.groups = [...state.groups];
    this.aligned = new Set(state.aligned);
  }

  /** Expressions that must stay valid. */
  get expressions(): readonly Expr[] {
    return this.groups.map(({ host }) => host.get);
  }

  // ---- registers ----

  private place(register: number): Place {
    let place = this.registers.get(register);
    if (place === undefined) {
      place = { origin: this.origins++, delta: 0 };
      this.registers.set(register, place);
    }
    return place;
  }

  /** `insn` writes 64 bits (or, narrower, something) to a register. */
  written(register: number, bits: number, insn: Insn): void {
    const place = bits === 64 ? this.result(insn, register, (n) => this.place(n)) : undefined;
    if (place === undefined) this.registers.delete(register);
    else this.registers.set(register, place);
  }

  /** The stack pointer moved by a push or pop of its own. */
  moved(register: number, from: Place, bytes: number): void {
    this.registers.set(register, { origin: from.origin, delta: from.delta + bytes });
  }

  at(register: number): Place {
    return this.place(register);
  }

  /** What `insn` makes of its destination, when that is a register plus a constant. */
  private result(insn: Insn, register: number, at: (register: number) => Place): Place | undefined {
    const [to, from] = insn.operands;
    if (to.kind !== OperandKind.gpr || to.reg !== register || to.bytes !== 8) return undefined;
    const plus = (place: Place, bytes: number): Place => ({ origin: place.origin, delta: place.delta + bytes });
    switch (insn.row.name) {
      case 'ADD':
        return from.kind === OperandKind.imm ? plus(at(register), insn.immLow) : undefined;
      case 'SUB':
        return from.kind === OperandKind.imm ? plus(at(register), -insn.immLow) : undefined;
      case 'INC':
        return plus(at(register), 1);
      case 'DEC':
        return plus(at(register), -1);
      case 'MOV':
        return from.kind === OperandKind.gpr ? at(from.reg) : undefined;
      case 'LEA': {
        const { base, index, disp } = insn.mem;
        if (base === NO_REGISTER || base === RIP_BASE || index !== NO_REGISTER) return undefined;
        return insn.addressSize === 64 ? plus(at(base), disp) : undefined;
      }
      default:
        return undefined;
    }
  }

  // ---- accesses ----

  /** `address` is what the memory operand of `insn`, at region address `offset`, comes to. */
  note(address: Expr, { insn, offset }: RegionInsn): void {
    const place = this.operandPlace(insn, offset, (n) => this.place(n));
    if (place !== undefined) this.places.set(address, place);
  }

  /** `address` is a stack access at `place`. */
  notePlace(address: Expr, place: Place): void {
    this.places.set(address, place);
  }

  private operandPlace(insn: Insn, offset: number, at: (register: number) => Place): Place | undefined {
    const { base, index, scale, disp, segment, vectorIndex } = insn.mem;
    if (!this.x.is64 || insn.addressSize !== 64 || vectorIndex !== NO_REGISTER) return undefined;
    if (base === NO_REGISTER || !segmentIsFlat(segment, this.mode)) return undefined;
    if (base === RIP_BASE) return { origin: RIP_ORIGIN, delta: offset + insn.length + disp };
    const place = at(base);
    if (index === NO_REGISTER) return { origin: place.origin, delta: place.delta + disp };
    const second = at(index);
    if (place.origin < 0 || second.origin < 0) return { origin: -1, delta: 0 };
    return {
      origin: this.sum(place.origin, second.origin, scale),
      delta: place.delta + second.delta * 2 ** scale + disp,
    };
  }

  /** Number of the origin that is `base` plus `index` shifted by `scale`. */
  private sum(base: number, index: number, scale: number): number {
    const key = `${base}+${index}<<${scale}`;
    const known = this.sums.get(key);
    if (known !== undefined) return known;
    const origin = this.origins++;
    this.sums.set(key, origin);
    return origin;
  }

  /** Whether `bytes` at a place are known to be aligned. If not, they are from now on: the access faults otherwise. */
  private alignedBefore({ origin, delta }: Place, bytes: number): boolean {
    const rest = ((delta % bytes) + bytes) % bytes;
    if (origin === RIP_ORIGIN) return rest === 0;
    const key = `${origin} ${bytes} ${rest}`;
    const known = this.aligned.has(key);
    this.aligned.add(key);
    return known;
  }

  /**
   * How to get at `bytes` at `address` through a group that covers it; a new one when the instructions to come (`rest`, this one
   * first) make that worth while. Undefined: on its own.
   */
  find(
    address: Expr<'i64'>,
    bytes: number,
    write: boolean,
    aligned: boolean,
    rest: () => readonly RegionInsn[],
  ): GroupedAccess | undefined {
    const place = this.places.get(address);
    if (place === undefined) return undefined;
    const known = this.groups.find((group) => covers(group, place, bytes, write));
    const group = known ?? this.open(address, { place, bytes, write }, rest());
    if (group === undefined) return undefined;
    const even = !aligned || this.alignedBefore(place, bytes);
    return { host: group.host.get, offset: place.delta - group.from, even };
  }

  private open(address: Expr<'i64'>, first: Access, rest: readonly RegionInsn[]): Group | undefined {
    let { from, to, write, count } = {
      from: first.place.delta,
      to: first.place.delta + first.bytes,
      write: first.write,
      count: 0,
    };
    for (const { place, bytes, write: writes } of this.foresee(rest)) {
      if (place.origin !== first.place.origin) continue;
      const [low, high] = [Math.min(from, place.delta), Math.max(to, place.delta + bytes)];
      if (high - low > MAX_SPAN) continue;
      [from, to, write, count] = [low, high, write || writes, count + 1];
    }
    if (count < 2) return undefined;
    const { x } = this;
    const host = x.f.temporary('i32');
    const start = from === first.place.delta ? address : x.let(address.add(i64(from - first.place.delta)));
    x.mem.lookUp(
      start,
      to - from,
      write,
      false,
      (found) => x.f.set(host, found),
      () => x.f.set(host, i32(0)),
    );
    const group: Group = { origin: first.place.origin, from, to, write, host };
    this.groups.push(group);
    return group;
  }

  /** Accesses at known places of the instructions to come, as far as it can be told; a guess that only decides what is checked. */
  private foresee(rest: readonly RegionInsn[]): Access[] {
    const registers = new Map<number, Place | undefined>();
    const at = (n: number): Place => {
      if (!registers.has(n)) registers.set(n, this.place(n));
      return registers.get(n) ?? { origin: -1, delta: 0 };
    };
    const accesses: Access[] = [];
    for (const { insn, offset } of rest) {
      const { name } = insn.row;
      if (name === 'PUSH' || name === 'CALL') {
        const sp = at(RSP);
        const place = { origin: sp.origin, delta: sp.delta - 8 };
        accesses.push({ place, bytes: 8, write: true });
        registers.set(RSP, place);
        continue;
      }
      if (name === 'POP' || name === 'RET') {
        const sp = at(RSP);
        accesses.push({ place: sp, bytes: 8, write: false });
        registers.set(RSP, { origin: sp.origin, delta: sp.delta + 8 });
        if (insn.operands[0].kind === OperandKind.gpr) registers.set(insn.operands[0].reg, undefined);
        continue;
      }
      if (name === 'LEAVE') {
        const bp = at(RBP);
        accesses.push({ place: bp, bytes: 8, write: false });
        registers.set(RSP, { origin: bp.origin, delta: bp.delta + 8 });
        registers.set(RBP, undefined);
        continue;
      }
      const vector = isVector(insn.operands[0]) || isVector(insn.operands[1]);
      if (!vector && !FORESEEN.has(name)) break;
      const operand = insn.operands.findIndex(({ kind }, i) => i < insn.operandCount && kind === OperandKind.mem);
      const bytes = insn.operands[operand]?.bytes ?? 0;
      if (operand >= 0 && bytes > 0 && name !== 'LEA') {
        const place = this.operandPlace(insn, offset, at);
        if (place !== undefined) accesses.push({ place, bytes, write: operand === 0 && !READS_ONLY.has(name) });
      }
      const [to] = insn.operands;
      if (to.kind === OperandKind.gpr && !READS_ONLY.has(name)) registers.set(to.reg, this.result(insn, to.reg, at));
      if (to.kind === OperandKind.gpr8high) registers.set(to.reg, undefined);
      if (name === 'CBW') registers.set(RAX, undefined);
      if (name === 'CWD') registers.set(RDX, undefined);
    }
    return accesses.filter(({ place }) => place.origin >= 0);
  }
}

function covers(group: Group, { origin, delta }: Place, bytes: number, write: boolean): boolean {
  return group.origin === origin && group.from <= delta && delta + bytes <= group.to && (group.write || !write);
}

function isVector({ kind }: Operand): boolean {
  return kind === OperandKind.xmm;
}

/** Instructions that write no register but a first operand, and end no foresight. */
const FORESEEN: ReadonlySet<string> = new Set([
  'MOV', 'MOVZX', 'MOVSX', 'MOVSXD', 'LEA', 'ADD', 'SUB', 'AND', 'OR', 'XOR', 'ADC', 'SBB', 'CMP', 'TEST', 'INC', 'DEC', 'NEG', 'NOT',
  'SHL', 'SHR', 'SAR', 'ROL', 'ROR', 'IMUL', 'SETcc', 'CMOVcc', 'Jcc', 'JMP', 'NOP', 'BSWAP', 'CBW', 'CWD', 'BT', 'MOVBE', 'SHLX',
  'SHRX', 'SARX', 'RORX', 'ANDN', 'BSF', 'BSR', 'TZCNT', 'LZCNT', 'POPCNT',
]); // prettier-ignore
const READS_ONLY: ReadonlySet<string> = new Set(['CMP', 'TEST', 'Jcc', 'JMP', 'NOP', 'BT']);
