/**
 * A small assembler for test programs in 64, 32 and 16-bit code: enough to write control flow and memory accesses legibly. All else
 * is written as bytes. Operands are as wide as a register (32 bits in 16-bit code, where addresses are 32-bit too).
 */

export type Bits = 64 | 32 | 16;

export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;
export const R8 = 8;
export const R9 = 9;
export const R10 = 10;

const ALU = { add: 0, or: 1, adc: 2, sbb: 3, and: 4, sub: 5, xor: 6, cmp: 7 } as const;
const CONDITION = {
  o: 0,
  no: 1,
  b: 2,
  ae: 3,
  e: 4,
  ne: 5,
  be: 6,
  a: 7,
  s: 8,
  ns: 9,
  p: 10,
  np: 11,
  l: 12,
  ge: 13,
  le: 14,
  g: 15,
};
export type AluName = keyof typeof ALU;
export type Condition = keyof typeof CONDITION;

interface Fixup {
  readonly at: number;
  readonly label: string;
  readonly bytes: 1 | 2 | 4;
  /** Distance from behind the field, else the address itself. */
  readonly relative: boolean;
  readonly add: number;
}

export class Assembler {
  readonly bits: Bits;
  readonly origin: number;
  private readonly made: number[] = [];
  private readonly labels = new Map<string, number>();
  private readonly fixups: Fixup[] = [];

  constructor(bits: Bits, origin: number) {
    this.bits = bits;
    this.origin = origin;
  }

  /** Address of the next byte. */
  get here(): number {
    return this.origin + this.made.length;
  }

  db(...bytes: readonly number[]): this {
    for (const byte of bytes) this.made.push(byte & 255);
    return this;
  }

  dd(value: number): this {
    return this.db(value, value >> 8, value >> 16, value >> 24);
  }

  label(name: string): this {
    if (this.labels.has(name)) throw new Error(`label ${name} is there twice`);
    this.labels.set(name, this.here);
    return this;
  }

  /** Goes on at an address; what lies between is INT3. */
  org(address: number): this {
    if (address < this.here) throw new Error(`0x${address.toString(16)} is behind 0x${this.here.toString(16)}`);
    while (this.here < address) this.db(0xcc);
    return this;
  }

  nops(count: number): this {
    for (let i = 0; i < count; i++) this.db(0x90);
    return this;
  }

  address(label: string): number {
    const at = this.labels.get(label);
    if (at === undefined) throw new Error(`no label ${label}`);
    return at;
  }

  build(): Uint8Array {
    for (const { at, label, bytes, relative, add } of this.fixups) {
      let value = this.address(label) + add;
      if (relative) value -= this.origin + at + bytes;
      if (bytes === 1 && (value < -128 || value > 127)) throw new Error(`${label} is too far for a short jump`);
      for (let i = 0; i < bytes; i++) this.made[at + i] = (value >> (8 * i)) & 255;
    }
    return Uint8Array.from(this.made);
  }

  private fix(label: string, bytes: 1 | 2 | 4, relative: boolean, add = 0): this {
    this.fixups.push({ at: this.made.length, label, bytes, relative, add });
    return this.db(...new Array<number>(bytes).fill(0));
  }

  // ---- encoding ----

  /** Prefixes for an operation on `size` bytes with the registers `reg` (ModRM.reg) and `rm`, base included. */
  private prefix(size: number, reg: number, rm: number, memory: boolean): this {
    if (this.bits === 16 && memory) this.db(0x67);
    if (size === 2 ? this.bits !== 16 : size === 4 && this.bits === 16) this.db(0x66);
    const rex = (size === 8 ? 8 : 0) | (reg >= 8 ? 4 : 0) | (rm >= 8 ? 1 : 0);
    const byteRegister = size === 1 && reg >= 4 && reg < 8;
    if (this.bits === 64 && (rex !== 0 || byteRegister)) this.db(0x40 | rex);
    return this;
  }

  get word(): 4 | 8 {
    return this.bits === 64 ? 8 : 4;
  }

  private rr(size: number, opcode: readonly number[], reg: number, rm: number): this {
    return this.prefix(size, reg, rm, false).db(...opcode, 0xc0 | ((reg & 7) << 3) | (rm & 7));
  }

  /** [base + disp32], or [disp32] without a base. */
  private rm(size: number, opcode: readonly number[], reg: number, base: number | undefined, disp: number): this {
    this.prefix(size, reg, base ?? 0, true).db(...opcode);
    const field = (reg & 7) << 3;
    if (base === undefined) this.db(...(this.bits === 64 ? [field | 4, 0x25] : [field | 5]));
    else this.db(...((base & 7) === RSP ? [0x80 | field | 4, 0x24] : [0x80 | field | (base & 7)]));
    return this.dd(disp);
  }

  // ---- moves ----

  /** Zero-extended. */
  movImm(reg: number, value: number): this {
    return this.prefix(4, 0, reg, false)
      .db(0xb8 | (reg & 7))
      .dd(value);
  }

  movLabel(reg: number, label: string): this {
    return this.prefix(4, 0, reg, false)
      .db(0xb8 | (reg & 7))
      .fix(label, 4, false);
  }

  mov(to: number, from: number): this {
    return this.rr(this.word, [0x89], from, to);
  }

  load(reg: number, base: number | undefined, disp: number, size: number = this.word): this {
    return this.rm(size, [size === 1 ? 0x8a : 0x8b], reg, base, disp);
  }

  store(base: number | undefined, disp: number, reg: number, size: number = this.word): this {
    return this.rm(size, [size === 1 ? 0x88 : 0x89], reg, base, disp);
  }

  storeByte(base: number | undefined, disp: number, value: number): this {
    return this.rm(1, [0xc6], 0, base, disp).db(value);
  }

  /** Writes a byte `add` behind a label. */
  patchByte(label: string, add: number, value: number): this {
    this.prefix(1, 0, 0, true).db(0xc6, ...(this.bits === 64 ? [4, 0x25] : [5]));
    return this.fix(label, 4, false, add).db(value);
  }

  /** Writes a byte register `add` behind a label. */
  patchReg(label: string, add: number, reg: number): this {
    this.prefix(1, reg, 0, true).db(
      0x88,
      ((reg & 7) << 3) | (this.bits === 64 ? 4 : 5),
      ...(this.bits === 64 ? [0x25] : []),
    );
    return this.fix(label, 4, false, add);
  }

  // ---- arithmetic ----

  alu(name: AluName, to: number, from: number): this {
    return this.rr(this.word, [(ALU[name] << 3) | 1], from, to);
  }

  aluImm(name: AluName, reg: number, value: number): this {
    return this.rr(this.word, [0x81], ALU[name], reg).dd(value);
  }

  aluMem(name: AluName, base: number | undefined, disp: number, reg: number): this {
    return this.rm(this.word, [(ALU[name] << 3) | 1], reg, base, disp);
  }

  inc(reg: number): this {
    return this.rr(this.word, [0xff], 0, reg);
  }

  dec(reg: number): this {
    return this.rr(this.word, [0xff], 1, reg);
  }

  imul(to: number, from: number): this {
    return this.rr(this.word, [0x0f, 0xaf], to, from);
  }

  shlImm(reg: number, count: number): this {
    return this.rr(this.word, [0xc1], 4, reg).db(count);
  }

  rolImm(reg: number, count: number): this {
    return this.rr(this.word, [0xc1], 0, reg).db(count);
  }

  // ---- stack and control ----

  private stackPrefix(reg: number): this {
    if (this.bits === 16) this.db(0x66);
    if (reg >= 8) this.db(0x41);
    return this;
  }

  push(reg: number): this {
    return this.stackPrefix(reg).db(0x50 | (reg & 7));
  }

  pop(reg: number): this {
    return this.stackPrefix(reg).db(0x58 | (reg & 7));
  }

  jmp(label: string): this {
    return this.db(0xe9).fix(label, this.bits === 16 ? 2 : 4, true);
  }

  jcc(condition: Condition, label: string): this {
    return this.db(0x0f, 0x80 | CONDITION[condition]).fix(label, this.bits === 16 ? 2 : 4, true);
  }

  jccShort(condition: Condition, label: string): this {
    return this.db(0x70 | CONDITION[condition]).fix(label, 1, true);
  }

  call(label: string): this {
    return this.db(0xe8).fix(label, this.bits === 16 ? 2 : 4, true);
  }

  ret(): this {
    return this.db(0xc3);
  }

  jmpReg(reg: number): this {
    return this.db(...(reg >= 8 ? [0x41] : []), 0xff, 0xe0 | (reg & 7));
  }

  callReg(reg: number): this {
    return this.db(...(reg >= 8 ? [0x41] : []), 0xff, 0xd0 | (reg & 7));
  }

  out(port: number): this {
    return this.db(0xe6, port);
  }

  hlt(): this {
    return this.db(0xf4);
  }

  invlpg(reg: number): this {
    return this.db(0x0f, 0x01, 0x38 | reg);
  }
}
