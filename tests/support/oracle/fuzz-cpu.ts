/**
 * Random bytes as code, from random states: whatever they are, the engine must come back within its instruction budget, throw
 * nothing, and leave a state that makes sense. Half of the programs are bytes as they fall, half are made of bytes that decode.
 */
import { MAX_OVERRUN } from '../../../src/accel/wasm-vcpu.ts';
import * as L from '../../../src/cpu/layout.ts';
import type { Testbench } from '../../../src/accel/testbench.ts';
import {
  CODE_BASE,
  CODE_PAGE,
  createOutcome,
  createState,
  DATA_BASE,
  type MachineState,
  type Outcome,
  RSP,
} from './machine-state.ts';
import { randomEncoding } from './cases.ts';
import type { EngineOracle } from './engine.ts';
import { allForms } from './forms.ts';
import { Random } from './random.ts';
import { fillArea, fillState } from './states.ts';

const PROGRAM_BYTES = 1024;
/** Budget of one run; the code may go MAX_OVERRUN further, and by the work of one repeated string instruction. */
const BUDGET = 2000;
/** What a string instruction counts at most before it looks at interrupts: microcode/string.ts, MAX_WORK and one run of MAX_RUN bytes. */
const MAX_STRING_WORK = 8192 + 0x20000 / 32 + 1;

export class CpuFuzzer {
  readonly #engine: EngineOracle;
  readonly #state: MachineState = createState();
  readonly #out: Outcome = createOutcome();
  /** Instructions that the engine says it executed. */
  instructions = 0;
  programs = 0;
  exceptions = 0;

  constructor(engine: EngineOracle) {
    this.#engine = engine;
  }

  #code(random: Random): Uint8Array {
    const code = new Uint8Array(PROGRAM_BYTES);
    random.fill(code);
    if (random.oneIn(2)) return code;
    const forms = allForms();
    for (let at = 0; at < PROGRAM_BYTES - 16;) {
      const { code: bytes } = randomEncoding(random.pick(forms), random);
      // Now and then a bit flips: nearly valid code reaches further than noise.
      if (random.oneIn(16)) bytes[random.below(bytes.length)] = random.u32() & 255;
      code.set(bytes, at);
      at += bytes.length;
    }
    return code;
  }

  /** Runs one program again and again past its exceptions, each time from the next address. Throws on what must not happen. */
  run(seed: number): void {
    const random = new Random(seed);
    fillState(
      random,
      this.#state,
      random.pick(['x87', 'mmx', 'sse'] as const),
      random.pick(['f32', 'f64', 'integer'] as const),
    );
    fillArea(random, this.#state.data, 'integer', random.oneIn(2));
    // Half of the registers point somewhere.
    for (let i = 0; i < 16; i++)
      if (i === RSP || random.oneIn(2))
        this.#state.gpr[i] = BigInt((random.oneIn(8) ? CODE_PAGE : DATA_BASE) + random.below(4096));
    this.programs++;
    try {
      this.#engine.fuzz(this.#code(random), this.#state, this.#out, (bench) => this.#drive(bench, random));
    } catch (error) {
      throw new Error(`fuzz seed ${seed}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    }
  }

  #drive(bench: Testbench, random: Random): void {
    const view = new DataView(bench.memory.buffer);
    const at = (offset: number): number => bench.cpu + offset;
    for (let leg = 0; leg < 24; leg++) {
      const single = random.oneIn(4);
      if (single) {
        bench.step(16);
        this.instructions += 16;
      } else {
        const workBefore = view.getUint32(at(L.CPU_STRING_WORK), true);
        bench.run(BUDGET);
        const executed = view.getInt32(at(L.CPU_BUDGET_GRANTED), true) - view.getInt32(at(L.CPU_BUDGET), true);
        const work = view.getUint32(at(L.CPU_STRING_WORK), true) - workBefore;
        const most = BUDGET + MAX_OVERRUN + Math.min(work, MAX_STRING_WORK);
        if (executed < 0 || executed > most)
          throw new Error(`${executed} instructions of a budget of ${BUDGET}, ${work} of them for strings`);
        this.instructions += executed;
      }
      const exit = view.getUint32(at(L.CPU_EXIT), true);
      const vector = view.getInt32(at(L.CPU_EXC), true);
      if (vector < -1 || vector > 31) throw new Error(`exception ${vector}`);
      if (exit === L.EXIT_INTERNAL_ERROR || exit === L.EXIT_SHUTDOWN) throw new Error(`exit ${exit}`);
      if (view.getUint32(at(L.CPU_FTOP), true) > 7) throw new Error('FTOP out of range');
      if (view.getBigUint64(at(L.CPU_ZERO), true) !== 0n) throw new Error('CPU_ZERO was written');
      if ((view.getUint32(at(L.CPU_MODE), true) & 3) !== L.MODE_64) throw new Error('left 64-bit mode');
      if (((view.getUint32(at(L.CPU_MODE), true) >> L.MODE_CPL_SHIFT) & 3) !== 3) throw new Error('left CPL 3');
      if (vector >= 0) this.exceptions++;
      // Behind the fault, or anywhere in the program when it went away.
      const rip = Number(view.getBigUint64(at(L.CPU_RIP), true));
      const inside = rip >= CODE_BASE && rip < CODE_BASE + PROGRAM_BYTES;
      const next = inside && !random.oneIn(4) ? rip + 1 : CODE_BASE + random.below(PROGRAM_BYTES);
      view.setBigUint64(at(L.CPU_RIP), BigInt(next), true);
      view.setInt32(at(L.CPU_EXC), -1, true);
      view.setUint32(at(L.CPU_EXIT), 0, true);
    }
  }
}
