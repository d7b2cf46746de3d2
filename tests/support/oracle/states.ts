/** Random machine states: registers, flags, x87 and SSE state, memory, with special values likelier than chance makes them. */
import {
  ARITHMETIC_FLAGS,
  DATA_BASE,
  DATA_WRITABLE,
  DF,
  FX_FCW,
  FX_FSW,
  FX_FTW,
  FX_MXCSR,
  FX_MXCSR_MASK,
  FX_ST,
  FX_XMM,
  FX_YMM,
  type MachineState,
  RSP,
} from './machine-state.ts';
import { edgeF32, edgeF64, edgeF80, edgeInteger, Random } from './random.ts';

export type ValueStyle = 'f32' | 'f64' | 'integer';
export type FpuUse = 'x87' | 'mmx' | 'sse';

/** Fills 16 bytes. */
function fillVector(random: Random, words: Uint32Array, index: number, style: ValueStyle): void {
  const chosen = random.oneIn(8) ? random.pick(['f32', 'f64', 'integer'] as const) : style;
  if (chosen === 'f32') {
    for (let i = 0; i < 4; i++) words[index + i] = edgeF32(random);
    return;
  }
  if (chosen === 'f64') {
    edgeF64(random, words, index >> 1);
    edgeF64(random, words, (index >> 1) + 1);
    return;
  }
  const kind = random.below(4);
  if (kind < 2) {
    for (let i = 0; i < 4; i++) words[index + i] = random.u32();
  } else if (kind === 2) {
    edgeInteger(random, words, index >> 1);
    edgeInteger(random, words, (index >> 1) + 1);
  } else {
    // Lanes at the edges of bytes and words, for saturation and comparison.
    const lane = (): number => random.pick([0, 0x7f, 0x80, 0xff, 1, random.u32() & 255]);
    for (let i = 0; i < 4; i++) words[index + i] = lane() | (lane() << 8) | (lane() << 16) | (lane() << 24);
  }
}

const X87_MASKS = 0x3f;
const FSW_ES_B = 0x8080;

function fillX87(random: Random, state: MachineState, use: FpuUse): void {
  const fx = new DataView(state.fx.buffer, state.fx.byteOffset);
  const rounding = random.below(4) << 10;
  const precision = random.pick([0, 2, 3, 3, 3]) << 8;
  const masks = random.oneIn(10) ? random.u32() & X87_MASKS : X87_MASKS;
  fx.setUint16(FX_FCW, rounding | precision | masks | 0x40, true);
  let status = (random.below(8) << 11) | (random.u32() & 0x4700); // TOP and condition codes
  if (random.oneIn(4)) status |= random.u32() & masks; // sticky flags, of masked exceptions only
  if (random.oneIn(40) && masks !== X87_MASKS) status |= X87_MASKS & ~masks;
  if ((status & ~masks & X87_MASKS) !== 0) status |= FSW_ES_B;
  fx.setUint16(FX_FSW, status, true);
  state.fx[FX_FTW] = use === 'mmx' || !random.oneIn(6) ? 0xff : random.u32() & 255;
  for (let i = 0; i < 8; i++) {
    const at = FX_ST + i * 16;
    if (use === 'x87') {
      edgeF80(random, fx, at);
    } else {
      fx.setUint32(at, random.u32(), true);
      fx.setUint32(at + 4, random.u32(), true);
      fx.setUint16(at + 8, 0xffff, true);
    }
  }
}

/** Gives registers, flags and x87/SSE state random contents. Memory is left as it is. */
export function fillState(random: Random, state: MachineState, use: FpuUse, style: ValueStyle): void {
  const halves = new Uint32Array(state.gpr.buffer, state.gpr.byteOffset, 32);
  for (let i = 0; i < 16; i++) edgeInteger(random, halves, i);
  const offset = random.oneIn(12) ? random.below(DATA_WRITABLE + 64) : 4096 + random.below(1024) * 8;
  state.gpr[RSP] = BigInt(DATA_BASE + offset);
  state.rflags = 0x202 | (random.u32() & ARITHMETIC_FLAGS) | (random.oneIn(4) ? DF : 0);
  const fx = new DataView(state.fx.buffer, state.fx.byteOffset);
  fillX87(random, state, use);
  if (use === 'mmx')
    for (let i = 0; i < 8; i++) {
      const lanes = new Uint32Array(4);
      fillVector(random, lanes, 0, 'integer');
      fx.setUint32(FX_ST + i * 16, lanes[0] ?? 0, true);
      fx.setUint32(FX_ST + i * 16 + 4, lanes[1] ?? 0, true);
    }
  const xmm = new Uint32Array(state.fx.buffer, state.fx.byteOffset + FX_XMM, 64);
  for (let i = 0; i < 16; i++) fillVector(random, xmm, i * 4, style);
  // From a generator of their own: what other instructions' states are does not depend on them.
  const upper = new Random(xmm[0] ?? 0);
  const ymm = new Uint32Array(state.fx.buffer, state.fx.byteOffset + FX_YMM, 64);
  for (let i = 0; i < 16; i++) fillVector(upper, ymm, i * 4, style);
  const masks = random.oneIn(8) ? random.u32() & 0x1f80 : 0x1f80;
  const modes = (random.below(4) << 13) | (random.oneIn(4) ? 0x8000 : 0) | (random.oneIn(4) ? 0x40 : 0);
  fx.setUint32(FX_MXCSR, masks | modes | (random.oneIn(4) ? random.u32() & 0x3f : 0), true);
  fx.setUint32(FX_MXCSR_MASK, 0xffff, true);
}

/** Fills the data area with values of a style at every alignment that fits them. */
export function fillArea(random: Random, data: Uint8Array, style: ValueStyle, x87: boolean): void {
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length >> 2);
  // A block of varied values, repeated with rotations: filling 20 KiB value by value would cost more than the test.
  const block = 256;
  for (let i = 0; i < block; i += 4) fillVector(random, words, i, style);
  if (x87) {
    const view = new DataView(data.buffer, data.byteOffset);
    for (let i = 0; i < block * 4; i += 64) {
      edgeF80(random, view, i);
      edgeF80(random, view, i + 16);
      edgeF64(random, words, (i + 32) >> 3);
      edgeF64(random, words, (i + 40) >> 3);
    }
  }
  for (let i = block; i < words.length; i++) words[i] = words[i - block] ?? 0;
}

/** Puts fresh values of a style at an offset of the data area, as far as they fit. */
export function fillOperand(random: Random, data: Uint8Array, offset: number, style: ValueStyle): void {
  const words = new Uint32Array(4);
  fillVector(random, words, 0, style);
  const bytes = new Uint8Array(words.buffer);
  for (let i = 0; i < 16; i++) if (offset + i >= 0 && offset + i < DATA_WRITABLE) data[offset + i] = bytes[i] ?? 0;
}
