/**
 * Recorded outcomes of the host CPU, for hosts that have none to ask.
 *
 * Inputs are not stored: they follow from the form's name and the seeded generator (cases.ts). What is stored is how the
 * state changed. So whoever changes the generator or a form's name records anew, on an x86-64 Linux host:
 * `node tests/support/oracle/record.ts`.
 *
 * One deflated file a family: u32 magic, u32 form count; a form: u32 seedOf(key), u8 case count; a case: u16 vector + 1
 * (0 = no exception), [u32 error code, u64 cr2], i32 rip - CODE_BASE, u16 flags, then three lists of changed runs
 * (gpr, fx, data): u16 count, each u16 offset, u8 length, bytes.
 */
import { CODE_BASE, type MachineState, type Outcome } from './machine-state.ts';

const MAGIC = 0x3156524f; // "ORV1"
const FLAG_MASK = 0xffff;

export class VectorWriter {
  #bytes: number[] = [];
  #formCount = 0;
  #countAt = -1;

  #u16(value: number): void {
    this.#bytes.push(value & 255, (value >> 8) & 255);
  }
  #u32(value: number): void {
    this.#u16(value);
    this.#u16(value >>> 16);
  }

  form(id: number): void {
    this.#formCount++;
    this.#u32(id);
    this.#countAt = this.#bytes.length;
    this.#bytes.push(0);
  }

  case(before: MachineState, after: Outcome): void {
    this.#bytes[this.#countAt] = (this.#bytes[this.#countAt] ?? 0) + 1;
    const { exception } = after;
    this.#u16(exception === null ? 0 : exception.vector + 1);
    if (exception !== null) {
      this.#u32(exception.errorCode);
      this.#u32(Number(exception.cr2 & 0xffffffffn));
      this.#u32(Number(exception.cr2 >> 32n));
    }
    this.#u32(after.rip - CODE_BASE);
    this.#u16(after.state.rflags & FLAG_MASK);
    this.#runs(gprBytes(before), gprBytes(after.state));
    this.#runs(before.fx, after.state.fx);
    this.#runs(before.data, after.state.data);
  }

  /** Changed stretches; gaps of up to two equal bytes are not worth a run of their own. */
  #runs(before: Uint8Array, after: Uint8Array): void {
    const countAt = this.#bytes.length;
    this.#u16(0);
    let count = 0;
    if (Buffer.compare(before, after) !== 0) {
      for (let i = 0; i < after.length; i++) {
        if (before[i] === after[i]) continue;
        let end = i + 1;
        for (let gap = 0, j = end; j < after.length && gap < 3 && j - i < 255; j++) {
          gap = before[j] === after[j] ? gap + 1 : 0;
          if (gap === 0) end = j + 1;
        }
        this.#u16(i);
        this.#bytes.push(end - i, ...after.subarray(i, end));
        count++;
        i = end - 1;
      }
    }
    this.#bytes[countAt] = count & 255;
    this.#bytes[countAt + 1] = count >> 8;
  }

  finish(): Uint8Array {
    const header = new Uint8Array(8);
    const view = new DataView(header.buffer);
    view.setUint32(0, MAGIC, true);
    view.setUint32(4, this.#formCount, true);
    return Uint8Array.from([...header, ...this.#bytes]);
  }
}

function gprBytes(state: MachineState): Uint8Array {
  return new Uint8Array(state.gpr.buffer, state.gpr.byteOffset, 128);
}

/** One recorded case; `apply` gives the outcome for the state it was recorded from. */
export interface Recorded {
  apply(before: MachineState, out: Outcome): void;
}

/** Reads a family's inflated file: cases by the form's seed. */
export function readVectors(bytes: Uint8Array): Map<number, Recorded[]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== MAGIC) throw new Error('not a file of conformance vectors');
  const forms = new Map<number, Recorded[]>();
  let at = 8;
  const skipRuns = (): void => {
    const count = view.getUint16(at, true);
    at += 2;
    for (let i = 0; i < count; i++) at += 3 + view.getUint8(at + 2);
  };
  for (let n = view.getUint32(4, true); n > 0; n--) {
    const id = view.getUint32(at, true);
    const cases: Recorded[] = [];
    const count = view.getUint8(at + 4);
    at += 5;
    for (let i = 0; i < count; i++) {
      const start = at;
      at += view.getUint16(at, true) === 0 ? 2 : 14;
      at += 6;
      for (let list = 0; list < 3; list++) skipRuns();
      cases.push({ apply: (before, out) => apply(view, start, before, out) });
    }
    forms.set(id, cases);
  }
  return forms;
}

function apply(view: DataView, start: number, before: MachineState, out: Outcome): void {
  let at = start;
  const vector = view.getUint16(at, true);
  at += 2;
  out.exception = null;
  if (vector !== 0) {
    out.exception = { vector: vector - 1, errorCode: view.getUint32(at, true), cr2: view.getBigUint64(at + 4, true) };
    at += 12;
  }
  const rip = CODE_BASE + view.getInt32(at, true);
  out.rip = before.codeSize === 64 ? rip : rip >>> 0;
  out.state.rflags = view.getUint16(at + 4, true);
  at += 6;
  out.state.gpr.set(before.gpr);
  out.state.fx.set(before.fx);
  out.state.data.set(before.data);
  for (const target of [gprBytes(out.state), out.state.fx, out.state.data]) {
    const count = view.getUint16(at, true);
    at += 2;
    for (let i = 0; i < count; i++) {
      const offset = view.getUint16(at, true);
      const length = view.getUint8(at + 2);
      for (let j = 0; j < length; j++) target[offset + j] = view.getUint8(at + 3 + j);
      at += 3 + length;
    }
  }
}
