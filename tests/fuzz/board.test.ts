/** A guest without manners: random accesses to everything on the board, with time going on between them. */
import { describe, expect, it } from 'vitest';
import { type BoardRig, makeBoard } from '../support/board.ts';

const ACCESSES = Number(process.env['ORRERY_FUZZ_ACCESSES'] ?? 60_000);
const DEVICES = ['pc-testdev', 'pci-testdev', 'isa-debug-exit'].map((driver) => ({ driver, properties: {} }));

/** mulberry32: a failure names its seed. */
function makeRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const SIZES = [1, 2, 4] as const;
const MEMORY_WINDOWS = [
  0xfec00000, 0xfee00000, 0xff000000, 0xc0000000, 0xa0000, 0xc0000, 0xf0000, 0xffff0000, 0,
] as const;
const MSRS = [0x1b, 0x6e0, 0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x800, 0x10] as const;

function value(random: (below: number) => number): number {
  return [0, 1, 0xff, 0xffffffff, 0x80000000, 1 << random(32), random(256), random(0x100000000)][random(8)]! >>> 0;
}

function access(
  { pc, bus, clock }: BoardRig,
  random: (below: number) => number,
  ports: readonly { first: number; count: number }[],
): void {
  const size = SIZES[random(3)]!;
  switch (random(8)) {
    case 0:
    case 1:
    case 2: {
      // Mostly where something is.
      const range = ports[random(ports.length)]!;
      const port = random(16) === 0 ? random(0x10000) : range.first + random(range.count);
      if (random(2)) bus.ioOut(port, size, value(random));
      else expect(bus.ioIn(port, size)).toBeLessThan(2 ** (8 * size));
      break;
    }
    case 3:
    case 4: {
      const address =
        MEMORY_WINDOWS[random(MEMORY_WINDOWS.length)]! + (random(4) === 0 ? random(0x10000) : random(0x100) * 16);
      if (random(2)) bus.mmioWrite(address, size, value(random));
      else expect(bus.mmioRead(address, size)).toBeLessThan(2 ** (8 * size));
      break;
    }
    case 5: {
      bus.ioOut(0xcf8, 4, (0x80000000 | (random(4) << 11) | (random(4) << 8) | (random(64) << 2)) >>> 0);
      if (random(2)) bus.ioOut(0xcfc + random(4), SIZES[random(3)]!, value(random));
      else bus.ioIn(0xcfc, 4);
      break;
    }
    case 6: {
      const msr = MSRS[random(MSRS.length)]! + (random(3) === 0 ? random(0x40) : 0);
      if (random(2)) bus.writeMsr(msr, value(random), random(2) ? 0 : value(random));
      else bus.readMsr(msr);
      break;
    }
    default:
      clock.advance(random(4) === 0 ? random(2_000_000) : random(5000));
      if (random(2)) bus.acknowledgeInterrupt();
      if (random(4) === 0) pc.uarts[0]?.write(4, 1, 0);
  }
}

describe('the board under random accesses', () => {
  it('never throws, answers within the width, and saves what loads again', () => {
    for (let seed = 1; seed * 5000 <= ACCESSES; seed++) {
      const random = makeRandom(seed);
      const rig = makeBoard({ devices: DEVICES, cpus: 1 + (seed & 1) });
      const ports = rig.pc.ports.list();
      try {
        for (let i = 0; i < 5000; i++) access(rig, random, ports);
        const states = rig.pc.devices.map((device) => device.save());
        const twin = makeBoard({ devices: DEVICES, cpus: 1 + (seed & 1) });
        twin.clock.advanceTo(rig.clock.now());
        twin.pc.devices.forEach((device, i) => device.load(structuredClone(states[i]!)));
        // The paravirtual clock writes its structures anew, with another version.
        const same = ({ kind }: { kind: string }): boolean => kind !== 'paravirt-clock';
        expect(twin.pc.devices.map((device) => device.save()).filter(same)).toEqual(states.filter(same));
        rig.pc.reset();
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
  });
});
