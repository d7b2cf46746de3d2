/**
 * The state an instruction under test starts from and ends in, in a form both oracles (host CPU and engine) share.
 *
 * x87, MMX, XMM and MXCSR travel as one 64-bit FXSAVE image (Intel SDM vol. 1, section 10.5.1.1) with the upper halves of the YMM
 * registers behind it, general registers as
 * 64-bit numbers, memory as the bytes of one data area that lies at the same linear address everywhere. Around the area
 * nothing is mapped, so that page faults can be compared too.
 */

/** Linear address of the data area: below 2 GiB, so that 32-bit displacements and addresses reach it. */
export const DATA_BASE = 0x60000000;
export const DATA_PAGES = 5;
export const DATA_SIZE: number = DATA_PAGES * 4096;
/** The last page of the area is read only. */
export const DATA_WRITABLE: number = DATA_SIZE - 4096;
/** Where the instruction under test lies. */
export const CODE_BASE = 0x61000800;
/** The pages of code around CODE_BASE, not part of what is compared. */
export const CODE_PAGE = 0x61000000;
export const CODE_BYTES = 8192;

export const FX_BYTES = 512;
export const FX_FCW = 0;
export const FX_FSW = 2;
export const FX_FTW = 4; // abridged: bit i = physical register i is not empty
export const FX_FOP = 6;
export const FX_FIP = 8;
export const FX_FDP = 16;
export const FX_MXCSR = 24;
export const FX_MXCSR_MASK = 28;
export const FX_ST = 32; // ST0..ST7, 16 bytes each, 10 used
export const FX_XMM = 160; // XMM0..XMM15
/** Behind the image: bits 255:128 of YMM0..YMM15, 16 bytes each. */
export const FX_YMM = 512;
export const FX_STATE_BYTES = 768;

export const CF = 0x001;
export const PF = 0x004;
export const AF = 0x010;
export const ZF = 0x040;
export const SF = 0x080;
export const TF = 0x100;
export const IF = 0x200;
export const DF = 0x400;
export const OF = 0x800;
export const RF = 0x10000;
export const ARITHMETIC_FLAGS: number = CF | PF | AF | ZF | SF | OF;

export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;

/** Width of the code: 64-bit code, 32-bit code in flat segments, or 16-bit code in segments that begin at the areas' start. */
export type CodeSize = 64 | 32 | 16;

/** Address of the instruction under test, counted from the base of its code segment. */
export function codeOffset(codeSize: CodeSize): number {
  return codeSize === 16 ? CODE_BASE - CODE_PAGE : CODE_BASE;
}

/** Base of the data and stack segments. */
export function dataSegmentBase(codeSize: CodeSize): number {
  return codeSize === 16 ? DATA_BASE : 0;
}

/** Limit of 16-bit segments; the others have none that matters. */
export const LIMIT_16 = 0xffff;
/**
 * Upper half of ESP in 16-bit code: IRETQ to a 16-bit stack segment leaves there what it was, which is in the native oracle's
 * exchange area.
 */
export const ESP_HIGH_16 = 0x6200;

export interface MachineState {
  codeSize: CodeSize;
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8..R15. */
  readonly gpr: BigUint64Array;
  /** Arithmetic flags and DF count; IF is always set. */
  rflags: number;
  /** 64-bit FXSAVE image, then the upper halves of the YMM registers: FX_STATE_BYTES. */
  readonly fx: Uint8Array;
  /** DATA_SIZE bytes at DATA_BASE. */
  readonly data: Uint8Array;
}

export interface Exception {
  vector: number;
  errorCode: number;
  /** Page fault address, else 0. */
  cr2: bigint;
}

export interface Outcome {
  readonly state: MachineState;
  /** Address of the next instruction, of the faulting one after a fault; negative in the upper canonical half. */
  rip: number;
  exception: Exception | null;
}

/** What runs one instruction from a state: the host CPU or a tier of the engine. */
export interface Oracle {
  readonly name: string;
  /**
   * Runs the instruction in `code` from `state` and fills `out`. With `step` it stops after one instruction wherever it
   * leads (one iteration of a repeated string instruction); without, after all of `code`, which must not branch.
   */
  run(code: Uint8Array, state: MachineState, out: Outcome, step?: boolean): void;
}

/** A state with zero registers, stack in the middle of the area, x87 and SSE as after FNINIT and reset. */
export function createState(): MachineState {
  const state: MachineState = {
    codeSize: 64,
    gpr: new BigUint64Array(16),
    rflags: 0x202,
    fx: new Uint8Array(FX_STATE_BYTES),
    data: new Uint8Array(DATA_SIZE),
  };
  state.gpr[RSP] = BigInt(DATA_BASE + DATA_WRITABLE / 2);
  const fx = new DataView(state.fx.buffer);
  fx.setUint16(FX_FCW, 0x037f, true);
  fx.setUint32(FX_MXCSR, 0x1f80, true);
  fx.setUint32(FX_MXCSR_MASK, 0xffff, true);
  return state;
}

export function createOutcome(): Outcome {
  return { state: createState(), rip: 0, exception: null };
}

export function copyState(from: MachineState, to: MachineState): void {
  to.codeSize = from.codeSize;
  to.gpr.set(from.gpr);
  to.rflags = from.rflags;
  to.fx.set(from.fx);
  to.data.set(from.data);
}
