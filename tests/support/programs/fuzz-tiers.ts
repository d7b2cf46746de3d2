/** One random program on several tiers, compared again and again on its way: registers, memory, and every trap. */
import type { WasmAcceleratorOptions } from '../../../src/accel/wasm-vm.ts';
import { stateDifferences } from '../../../src/accel/verify/cpu-state.ts';
import { Random } from '../oracle/random.ts';
import { FuzzGuest, RAM_BYTES } from './fuzz-guest.ts';

/** The first is what the others are held against. */
export const FUZZ_TIERS: Readonly<Record<string, WasmAcceleratorOptions>> = {
  interp: { tier: 'interp' },
  forced: { tier: 'jit', hotAfter: 1 },
  warm: { tier: 'jit', hotAfter: 5 },
  tiny: { tier: 'jit', hotAfter: 2, arenaBytes: 16 << 10, maxTranslations: 3 },
};

const SLICES = 12;
const MAX_SLICE = 1500;

export class FuzzTiers {
  instructions = 0;
  programs = 0;
  traps = 0;
  readonly vectors: Map<string, number> = new Map();
  private readonly guests: readonly FuzzGuest[];

  constructor(names: readonly string[] = Object.keys(FUZZ_TIERS)) {
    // INVARIANT: callers give names of FUZZ_TIERS.
    this.guests = names.map((name) => new FuzzGuest(name, FUZZ_TIERS[name]!));
  }

  /** Throws where the tiers part. */
  run(seed: number): void {
    const [reference, ...others] = this.guests;
    if (reference === undefined) return;
    for (const guest of this.guests) guest.load(seed);
    const random = new Random(seed ^ 0x9e3779b9);
    this.programs++;
    for (let slice = 0; slice < SLICES; slice++) {
      const instructions = 1 + random.below(random.oneIn(3) ? 20 : MAX_SLICE);
      const vector = random.oneIn(3) ? 0x20 + random.below(8) : undefined;
      const exits = this.guests.map((guest) => {
        if (vector !== undefined) guest.interrupt(vector);
        return JSON.stringify(guest.vcpu.run(instructions));
      });
      this.instructions += instructions;
      for (const [i, guest] of others.entries()) {
        const where = `seed ${seed}, ${guest.name}, slice ${slice} of ${instructions} instructions`;
        if (exits[i + 1] !== exits[0]) throw new Error(`${where}: ends ${exits[i + 1]}, not ${exits[0]}`);
        const found = this.difference(reference, guest);
        if (found !== undefined)
          throw new Error(`${where}:\n${found}\nlast traps:\n${guest.traps.slice(-4).join('\n')}`);
      }
      if (!exits[0]?.includes('budget')) break;
    }
    this.traps += reference.trapCount;
    for (const trap of reference.traps) {
      const vector = trap.slice(1, trap.indexOf('('));
      this.vectors.set(vector, (this.vectors.get(vector) ?? 0) + 1);
    }
  }

  private difference(reference: FuzzGuest, guest: FuzzGuest): string | undefined {
    const lines: string[] = [];
    const trap = reference.traps.findIndex((text, i) => text !== guest.traps[i]);
    if (trap >= 0 || reference.trapCount !== guest.trapCount) {
      lines.push(`traps: ${reference.trapCount} and ${guest.trapCount}`);
      lines.push(`  after ${reference.traps[trap - 1]}`, `  ${reference.traps[trap]}`, `  ${guest.traps[trap]}`);
    }
    for (const { name, main, other } of stateDifferences(reference.vm.engine, guest.vm.engine, guest.vcpu.cpu))
      lines.push(`${name}: ${main}, ${guest.name} has ${other}`);
    const [a, b] = [reference.memory, guest.memory];
    for (let at = 0, shown = 0; at < RAM_BYTES && shown < 8; at++) {
      if (a[at] === b[at]) continue;
      shown++;
      lines.push(`memory ${at.toString(16)}: ${a[at]?.toString(16)}, ${guest.name} has ${b[at]?.toString(16)}`);
    }
    return lines.length === 0 ? undefined : lines.join('\n');
  }
}
