/** A tier of the engine as oracle: loads a machine state into a testbench's vCPU, runs one instruction, reads the state back. */
import * as L from '../../../src/cpu/layout.ts';
import type { Testbench } from '../../../src/accel/testbench.ts';
import {
  AF,
  ARITHMETIC_FLAGS,
  CF,
  CODE_BASE,
  CODE_BYTES,
  codeOffset,
  CODE_PAGE,
  DATA_BASE,
  DATA_SIZE,
  DATA_WRITABLE,
  FX_FCW,
  FX_FDP,
  FX_FIP,
  FX_FOP,
  FX_FSW,
  FX_FTW,
  FX_MXCSR,
  FX_MXCSR_MASK,
  FX_ST,
  FX_XMM,
  FX_YMM,
  type MachineState,
  OF,
  type Oracle,
  type Outcome,
  PF,
  SF,
  TF,
  ZF,
} from './machine-state.ts';

const FSW_TOP_SHIFT = 11;
const FSW_TOP = 0x3800;
/** Steps after which a repeated string instruction counts as stuck. */
const MAX_STEPS = 100_000;

/** What a testbench for the oracle must map. */
export const TESTBENCH_RANGES: readonly { linear: number; bytes: number; writable: boolean }[] = [
  { linear: DATA_BASE, bytes: DATA_WRITABLE, writable: true },
  { linear: DATA_BASE + DATA_WRITABLE, bytes: DATA_SIZE - DATA_WRITABLE, writable: false },
  { linear: CODE_PAGE, bytes: CODE_BYTES, writable: true },
];

function parity(byte: number): boolean {
  const folded = (byte ^ (byte >> 4)) & 15;
  return ((0x9669 >> folded) & 1) !== 0;
}

export class EngineOracle implements Oracle {
  readonly name: string;
  readonly #create: () => Testbench;
  // INVARIANT: #open, called by the constructor, sets these.
  #bench!: Testbench;
  #bytes!: Uint8Array;
  #view!: DataView;
  #data!: Uint8Array;
  #readOnly!: Uint8Array;
  #code!: Uint8Array;
  #lastLength = -1;

  constructor(name: string, create: () => Testbench) {
    this.name = name;
    this.#create = create;
    this.#open();
  }

  #open(): void {
    const bench = this.#create();
    this.#bench = bench;
    const { buffer } = bench.memory;
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
    this.#data = new Uint8Array(buffer, bench.host(DATA_BASE), DATA_WRITABLE);
    this.#readOnly = new Uint8Array(buffer, bench.host(DATA_BASE + DATA_WRITABLE), DATA_SIZE - DATA_WRITABLE);
    this.#code = new Uint8Array(buffer, bench.host(CODE_PAGE), CODE_BYTES);
    this.#lastLength = -1;
  }

  run(code: Uint8Array, state: MachineState, out: Outcome, step: boolean = false): void {
    const start = codeOffset(state.codeSize);
    this.#guarded(code, state, out, (bench) => {
      for (let steps = 0; ; steps++) {
        bench.step(1);
        out.rip = this.#rip();
        if (step || out.rip !== start || this.#view.getInt32(bench.cpu + L.CPU_EXC, true) !== -1) return;
        if (steps === MAX_STEPS) throw new Error(`no end after ${MAX_STEPS} steps`);
      }
    });
  }

  /** Runs a program that ends in an exception, in blocks. */
  runProgram(code: Uint8Array, state: MachineState, out: Outcome, instructions: number): void {
    this.#guarded(code, state, out, (bench) => {
      bench.run(instructions);
      out.rip = this.#rip();
    });
    this.#lastLength = -1; // it may have changed itself
  }

  /** Loads code and state and lets `drive` do as it likes. */
  fuzz(code: Uint8Array, state: MachineState, out: Outcome, drive: (bench: Testbench) => void): void {
    this.#guarded(code, state, out, (bench) => {
      drive(bench);
      out.rip = this.#rip();
      bench.resetFlags();
    });
    this.#lastLength = -1; // it may have changed itself
  }

  #guarded(code: Uint8Array, state: MachineState, out: Outcome, body: (bench: Testbench) => void): void {
    // The last run may have written to its own code: its stack or operand may lie there.
    const at = CODE_BASE - CODE_PAGE;
    if (code.length !== this.#lastLength || code.some((byte, i) => byte !== this.#code[at + i])) {
      this.#lastLength = code.length;
      this.#code.fill(0xcc);
      this.#code.set(code, at);
      this.#bench.codeChanged();
    }
    this.#load(state);
    const traps = (state.rflags & TF) !== 0;
    if (traps) this.#bench.resetFlags(state.rflags);
    try {
      body(this.#bench);
    } catch (error) {
      // A definition that throws while it is translated leaves a half-made module behind.
      this.#open();
      throw error;
    }
    this.#store(out);
    if (traps) this.#bench.resetFlags();
    out.state.codeSize = state.codeSize;
  }

  #rip(): number {
    return Number(this.#view.getBigInt64(this.#bench.cpu + L.CPU_RIP, true));
  }

  #load(state: MachineState): void {
    const view = this.#view;
    const { cpu } = this.#bench;
    const fx = new DataView(state.fx.buffer, state.fx.byteOffset);
    this.#data.set(state.data.subarray(0, DATA_WRITABLE));
    this.#readOnly.set(state.data.subarray(DATA_WRITABLE));
    for (let i = 0; i < 16; i++) view.setBigUint64(cpu + L.CPU_GPR + i * 8, state.gpr[i] ?? 0n, true);
    view.setBigUint64(cpu + L.CPU_RIP, BigInt(codeOffset(state.codeSize)), true);
    view.setInt32(cpu + L.CPU_EXC, -1, true);
    this.#loadFlags(state.rflags);

    const status = fx.getUint16(FX_FSW, true);
    const top = (status >> FSW_TOP_SHIFT) & 7;
    view.setUint16(cpu + L.CPU_FCW, fx.getUint16(FX_FCW, true), true);
    view.setUint16(cpu + L.CPU_FSW, status & ~FSW_TOP, true);
    view.setUint32(cpu + L.CPU_FTOP, top, true);
    view.setUint8(cpu + L.CPU_FTAG, fx.getUint8(FX_FTW));
    view.setUint16(cpu + L.CPU_FOP, fx.getUint16(FX_FOP, true), true);
    view.setBigUint64(cpu + L.CPU_FIP, fx.getBigUint64(FX_FIP, true), true);
    view.setBigUint64(cpu + L.CPU_FDP, fx.getBigUint64(FX_FDP, true), true);
    this.#bench.setMxcsr(fx.getUint32(FX_MXCSR, true));
    for (let i = 0; i < 8; i++) {
      const to = cpu + L.CPU_FPR + ((top + i) & 7) * 16;
      this.#bytes.set(state.fx.subarray(FX_ST + i * 16, FX_ST + i * 16 + 10), to);
    }
    for (let i = 0; i < 16; i++) {
      const to = cpu + L.CPU_XMM + i * L.XMM_STRIDE;
      this.#bytes.set(state.fx.subarray(FX_XMM + i * 16, FX_XMM + i * 16 + 16), to);
      this.#bytes.set(state.fx.subarray(FX_YMM + i * 16, FX_YMM + i * 16 + 16), to + 16);
    }
  }

  /** Arithmetic flags into their lazy form: see layout.ts. */
  #loadFlags(flags: number): void {
    const view = this.#view;
    const { cpu } = this.#bench;
    const isZero = (flags & ZF) !== 0;
    view.setBigInt64(cpu + L.CPU_FLAG_RES, isZero ? 0n : 1n, true);
    view.setUint32(cpu + L.CPU_FLAG_CF, flags & CF, true);
    view.setBigUint64(cpu + L.CPU_FLAG_OV, (flags & OF) !== 0 ? 1n << 63n : 0n, true);
    const parityFix = ((flags & PF) !== 0) === isZero ? 0n : 0x100n;
    const aux = parityFix | ((flags & SF) !== 0 ? 1n << 63n : 0n) | ((flags & AF) !== 0 ? 0x10n : 0n);
    view.setBigUint64(cpu + L.CPU_FLAG_AUX, aux, true);
    view.setUint32(cpu + L.CPU_RFLAGS, (flags & ~ARITHMETIC_FLAGS) | 0x202, true);
  }

  #flags(): number {
    const view = this.#view;
    const { cpu } = this.#bench;
    const result = view.getBigUint64(cpu + L.CPU_FLAG_RES, true);
    const aux = view.getBigUint64(cpu + L.CPU_FLAG_AUX, true);
    let flags = view.getUint32(cpu + L.CPU_RFLAGS, true) & ~ARITHMETIC_FLAGS;
    flags |= view.getUint32(cpu + L.CPU_FLAG_CF, true) & CF;
    if (result === 0n) flags |= ZF;
    if ((result ^ aux) >> 63n !== 0n) flags |= SF;
    if (parity(Number((result ^ (aux >> 8n)) & 0xffn))) flags |= PF;
    if ((aux & 0x10n) !== 0n) flags |= AF;
    if (view.getBigUint64(cpu + L.CPU_FLAG_OV, true) >> 63n !== 0n) flags |= OF;
    return flags;
  }

  #store(out: Outcome): void {
    const view = this.#view;
    const { cpu } = this.#bench;
    const { state } = out;
    const vector = view.getInt32(cpu + L.CPU_EXC, true);
    out.exception = null;
    if (vector !== -1) {
      const errorCode = view.getUint32(cpu + L.CPU_EXC_ERROR, true);
      const hasError = vector === 8 || (vector >= 10 && vector <= 14) || vector === 17;
      const cr2 = vector === L.EXC_PF ? view.getBigUint64(cpu + L.CPU_EXC_CR2, true) : 0n;
      out.exception = { vector, errorCode: hasError ? errorCode : 0, cr2 };
    }
    for (let i = 0; i < 16; i++) state.gpr[i] = view.getBigUint64(cpu + L.CPU_GPR + i * 8, true);
    state.rflags = this.#flags();
    const fx = new DataView(state.fx.buffer, state.fx.byteOffset);
    state.fx.fill(0);
    const top = view.getUint32(cpu + L.CPU_FTOP, true) & 7;
    fx.setUint16(FX_FCW, view.getUint16(cpu + L.CPU_FCW, true), true);
    fx.setUint16(FX_FSW, (view.getUint16(cpu + L.CPU_FSW, true) & ~FSW_TOP) | (top << FSW_TOP_SHIFT), true);
    fx.setUint8(FX_FTW, view.getUint8(cpu + L.CPU_FTAG));
    fx.setUint32(FX_MXCSR, view.getUint32(cpu + L.CPU_MXCSR, true), true);
    fx.setUint32(FX_MXCSR_MASK, 0xffff, true);
    for (let i = 0; i < 8; i++) {
      const from = cpu + L.CPU_FPR + ((top + i) & 7) * 16;
      state.fx.set(this.#bytes.subarray(from, from + 10), FX_ST + i * 16);
    }
    for (let i = 0; i < 16; i++) {
      const from = cpu + L.CPU_XMM + i * L.XMM_STRIDE;
      state.fx.set(this.#bytes.subarray(from, from + 16), FX_XMM + i * 16);
      state.fx.set(this.#bytes.subarray(from + 16, from + 32), FX_YMM + i * 16);
    }
    state.data.set(this.#data);
    state.data.set(this.#readOnly, DATA_WRITABLE);
  }
}
