import { describe, expect, it } from 'vitest';
import { MockClock } from '../../base/clock.ts';
import { Tracer } from '../../trace/trace.ts';
import { ApicBus, DELIVERY_FIXED } from './apic-bus.ts';
import { Ioapic } from './ioapic.ts';
import { Lapic } from './lapic.ts';

interface Rig {
  clock: MockClock;
  bus: ApicBus;
  lapics: Lapic[];
  ioapic: Ioapic;
  /** What the CPUs were told, as "cpu:event". */
  events: string[];
  requests: boolean[];
  tsc: { offset: number };
}

const TSC_HZ = 2_000_000_000;

function makeRig(cpus: number = 1): Rig {
  const clock = new MockClock();
  const tracer = new Tracer();
  const bus = new ApicBus();
  const events: string[] = [];
  const requests: boolean[] = [];
  const tsc = { offset: 0 };
  const lapics = Array.from(
    { length: cpus },
    (_, id) =>
      new Lapic({
        clock,
        tracer,
        bus,
        id,
        bootProcessor: id === 0,
        tsc: { read: () => clock.now() * 2 + tsc.offset, hz: TSC_HZ },
        onWiringChange: () => {},
        cpu: {
          setInterruptRequest: (active) => void (requests[id] = active),
          nmi: () => void events.push(`${id}:nmi`),
          smi: () => void events.push(`${id}:smi`),
          init: () => void events.push(`${id}:init`),
          startup: (vector) => void events.push(`${id}:startup ${vector}`),
        },
      }),
  );
  for (const lapic of lapics) lapic.write(0xf0, 4, 0x1ff);
  return { clock, bus, lapics, ioapic: new Ioapic({ tracer }, bus), events, requests, tsc };
}

const fixed = (
  vector: number,
  levelTriggered = false,
): { destination: number; logical: boolean; delivery: number; vector: number; levelTriggered: boolean } => ({
  destination: 0,
  logical: false,
  delivery: DELIVERY_FIXED,
  vector,
  levelTriggered,
});

/** The only APIC, or the boot processor's. */
function boot(rig: Rig): Lapic {
  const lapic = rig.lapics[0];
  if (!lapic) throw new Error('a rig has at least one APIC');
  return lapic;
}

describe('local APIC priorities', () => {
  it('delivers the highest vector first and nests only above the priority in service', () => {
    const rig = makeRig();
    const lapic = boot(rig);
    for (const vector of [0x31, 0x51, 0x41]) lapic.accept(fixed(vector));
    expect(rig.requests[0]).toBe(true);
    expect(lapic.acknowledge()).toBe(0x51);
    expect(lapic.pendingVector()).toBe(-1);
    lapic.accept(fixed(0x5f)); // same class
    expect(lapic.pendingVector()).toBe(-1);
    lapic.accept(fixed(0x60));
    expect(lapic.acknowledge()).toBe(0x60);
    expect(lapic.read(0xa0, 4)).toBe(0x60);
    lapic.write(0xb0, 4, 0);
    lapic.write(0xb0, 4, 0);
    expect(lapic.acknowledge()).toBe(0x5f);
  });

  it('holds back what the task priority outranks, and shows it through CR8', () => {
    const rig = makeRig();
    const lapic = boot(rig);
    lapic.write(0x80, 4, 0x45);
    expect(lapic.cr8).toBe(4);
    expect(lapic.read(0xa0, 4)).toBe(0x45);
    lapic.accept(fixed(0x4f));
    expect(rig.requests[0]).not.toBe(true);
    lapic.cr8 = 3;
    expect(rig.requests[0]).toBe(true);
  });

  it('when disabled by software takes no fixed interrupt and masks its vectors', () => {
    const rig = makeRig();
    const lapic = boot(rig);
    lapic.write(0x320, 4, 0x40);
    lapic.write(0xf0, 4, 0xff);
    expect(lapic.read(0x320, 4)).toBe(0x10040);
    expect(lapic.accept(fixed(0x40))).toBe(false);
  });
});

describe('local APIC timer', () => {
  it('fires once and counts down with its divider', () => {
    const rig = makeRig();
    const lapic = boot(rig);
    lapic.write(0x3e0, 4, 0x3); // by 16
    lapic.write(0x320, 4, 0x40);
    lapic.write(0x380, 4, 1000);
    rig.clock.advance(8000);
    expect(lapic.read(0x390, 4)).toBe(500);
    rig.clock.advance(8000);
    expect(lapic.read(0x390, 4)).toBe(0);
    expect(lapic.acknowledge()).toBe(0x40);
    lapic.write(0xb0, 4, 0);
    rig.clock.advance(100_000);
    expect(lapic.pendingVector()).toBe(-1);
  });

  it('fires again each period and keeps its count over a change of mode', () => {
    const rig = makeRig();
    const lapic = boot(rig);
    lapic.write(0x3e0, 4, 0xb);
    lapic.write(0x320, 4, 0x20040);
    lapic.write(0x380, 4, 1_000_000);
    let fired = 0;
    for (let i = 0; i < 100; i++) {
      rig.clock.advance(100_000);
      if (lapic.acknowledge() === 0x40) fired++;
      lapic.write(0xb0, 4, 0);
    }
    expect(fired).toBe(10);
    rig.clock.advance(400_000);
    lapic.write(0x320, 4, 0x40); // one-shot: goes on counting
    expect(lapic.read(0x390, 4)).toBe(600_000);
    rig.clock.advance(600_000);
    lapic.write(0x320, 4, 0x20040); // periodic again: stands at 0
    rig.clock.advance(2_000_000);
    expect(lapic.read(0x390, 4)).toBe(0);
  });

  it('fires at the TSC deadline, also one that has passed, and disarms with 0', () => {
    const rig = makeRig();
    const lapic = boot(rig);
    lapic.write(0x320, 4, 0x40040);
    expect(lapic.writeMsr(0x6e0, 20_000, 0)).toBe(true);
    rig.clock.advance(9_999);
    expect(lapic.pendingVector()).toBe(-1);
    rig.clock.advance(1);
    expect(lapic.acknowledge()).toBe(0x40);
    expect(lapic.readMsr(0x6e0)).toEqual({ low: 0, high: 0 });
    lapic.write(0xb0, 4, 0);
    lapic.writeMsr(0x6e0, 1, 0);
    expect(lapic.acknowledge()).toBe(0x40);
    lapic.write(0xb0, 4, 0);
    lapic.writeMsr(0x6e0, 1_000_000, 0);
    lapic.writeMsr(0x6e0, 0, 0);
    rig.clock.advance(1e9);
    expect(lapic.pendingVector()).toBe(-1);
  });

  it('waits longer when the TSC is set back', () => {
    const rig = makeRig();
    const lapic = boot(rig);
    lapic.write(0x320, 4, 0x40040);
    lapic.writeMsr(0x6e0, 20_000, 0);
    rig.tsc.offset = -20_000;
    rig.clock.advance(15_000);
    expect(lapic.pendingVector()).toBe(-1);
    rig.clock.advance(5_000);
    expect(lapic.pendingVector()).toBe(0x40);
  });
});

describe('interprocessor interrupts', () => {
  const send = (lapic: Lapic, destination: number, icr: number): void => {
    lapic.write(0x310, 4, (destination << 24) >>> 0);
    lapic.write(0x300, 4, icr);
  };

  it('reach a physical destination, oneself, all, or all but oneself', () => {
    const rig = makeRig(3);
    const sender = boot(rig);
    const pending = (): number[] => rig.lapics.map((lapic) => lapic.acknowledge());
    send(sender, 2, 0x40);
    expect(pending()).toEqual([-1, -1, 0x40]);
    send(sender, 0, 0x40050);
    expect(pending()).toEqual([0x50, -1, -1]);
    send(sender, 0, 0x80060);
    expect(pending()).toEqual([0x60, 0x60, 0x60]);
    send(sender, 0, 0xc0070);
    expect(pending()).toEqual([-1, 0x70, 0x70]);
    send(sender, 0xff, 0x80);
    expect(pending()).toEqual([0x80, 0x80, 0x80]);
  });

  it('reach logical destinations, flat and in clusters', () => {
    const rig = makeRig(2);
    rig.lapics.forEach((lapic, i) => lapic.write(0xd0, 4, (0x1000000 << i) >>> 0));
    send(boot(rig), 2, 0x840);
    expect(rig.lapics.map((lapic) => lapic.pendingVector())).toEqual([-1, 0x40]);
    rig.lapics.forEach((lapic, i) => {
      lapic.write(0xe0, 4, 0x0fffffff);
      lapic.write(0xd0, 4, ((i + 1) << 28) | 0x01000000);
    });
    send(boot(rig), 0x11, 0x850);
    expect(rig.lapics.map((lapic) => lapic.pendingVector())).toEqual([0x50, 0x40]);
  });

  it('start processors: INIT, then startup with a page number', () => {
    const rig = makeRig(2);
    send(boot(rig), 1, 0x4500);
    send(boot(rig), 1, 0x8500); // de-assert: nothing
    send(boot(rig), 1, 0x4608);
    send(boot(rig), 1, 0x4400);
    expect(rig.events).toEqual(['1:init', '1:startup 8', '1:nmi']);
  });

  it('report an illegal vector in the error status', () => {
    const rig = makeRig();
    const lapic = boot(rig);
    send(lapic, 0, 0x0f);
    expect(lapic.read(0x280, 4)).toBe(0);
    lapic.write(0x280, 4, 0);
    expect(lapic.read(0x280, 4)).toBe(0x20);
  });
});

describe('x2APIC', () => {
  it('is entered from xAPIC only, and left by switching off', () => {
    const rig = makeRig();
    const lapic = boot(rig);
    expect(lapic.readMsr(0x802)).toBeUndefined();
    expect(lapic.writeMsr(0x1b, 0xfee00400, 0)).toBe(false);
    expect(lapic.writeMsr(0x1b, 0xfee00d00, 0)).toBe(true);
    expect(lapic.mmioBase).toBeUndefined();
    expect(lapic.writeMsr(0x1b, 0xfee00900, 0)).toBe(false);
    expect(lapic.writeMsr(0x1b, 0xfee00100, 0)).toBe(true);
    expect(lapic.writeMsr(0x1b, 0xfee00d00, 0)).toBe(false);
    expect(lapic.writeMsr(0x1b, 0xfee00900, 0)).toBe(true);
    expect(lapic.mmioBase).toBe(0xfee00000);
    expect(lapic.writeMsr(0x1b, 0xfee00901, 0)).toBe(false);
  });

  it('addresses with 32 bits, sends to itself, refuses reserved bits', () => {
    const rig = makeRig(2);
    for (const lapic of rig.lapics) lapic.writeMsr(0x1b, 0xfee00c00, 0);
    const lapic = boot(rig);
    lapic.writeMsr(0x830, 0x40, 1);
    expect(rig.lapics.map((each) => each.acknowledge())).toEqual([-1, 0x40]);
    lapic.writeMsr(0x830, 0x840, 3); // logical: cluster 0, both
    expect(rig.lapics.map((each) => each.pendingVector())).toEqual([0x40, -1]);
    expect(lapic.writeMsr(0x83f, 0x50, 0)).toBe(true);
    expect(lapic.acknowledge()).toBe(0x50);
    expect(lapic.writeMsr(0x80b, 1, 0)).toBe(false);
    expect(lapic.writeMsr(0x80d, 1, 0)).toBe(false);
    expect(lapic.readMsr(0x80e)).toBeUndefined();
    expect(lapic.readMsr(0x802)).toEqual({ low: 0, high: 0 });
  });
});

describe('I/O APIC', () => {
  const select = (ioapic: Ioapic, register: number, value: number): void => {
    ioapic.write(0, 4, register);
    ioapic.write(0x10, 4, value);
  };
  const read = (ioapic: Ioapic, register: number): number => {
    ioapic.write(0, 4, register);
    return ioapic.read(0x10);
  };

  it('sends an edge once, and loses it while masked', () => {
    const rig = makeRig();
    select(rig.ioapic, 0x10 + 8, 0x00040);
    rig.ioapic.setLine(4, true);
    expect(boot(rig).acknowledge()).toBe(0x40);
    boot(rig).write(0xb0, 4, 0);
    rig.ioapic.setLine(4, false);
    select(rig.ioapic, 0x10 + 8, 0x10040);
    rig.ioapic.setLine(4, true);
    rig.ioapic.setLine(4, false);
    select(rig.ioapic, 0x10 + 8, 0x00040);
    expect(boot(rig).pendingVector()).toBe(-1);
  });

  it('sends a level again at EOI while the line is up, with remote IRR in between', () => {
    const rig = makeRig();
    select(rig.ioapic, 0x10 + 20, 0x08051);
    rig.ioapic.setLine(10, true);
    expect(read(rig.ioapic, 0x10 + 20) & 0x4000).toBe(0x4000);
    expect(boot(rig).acknowledge()).toBe(0x51);
    rig.ioapic.setLine(10, true);
    expect(boot(rig).pendingVector()).toBe(-1);
    boot(rig).write(0xb0, 4, 0);
    expect(boot(rig).acknowledge()).toBe(0x51);
    rig.ioapic.setLine(10, false);
    boot(rig).write(0xb0, 4, 0);
    expect(read(rig.ioapic, 0x10 + 20) & 0x4000).toBe(0);
    expect(boot(rig).pendingVector()).toBe(-1);
  });

  it('delivers a level that was waiting when it is unmasked', () => {
    const rig = makeRig();
    rig.ioapic.setLine(10, true);
    select(rig.ioapic, 0x10 + 20, 0x08051);
    expect(boot(rig).acknowledge()).toBe(0x51);
  });

  it('has 24 entries and nothing behind them', () => {
    const rig = makeRig();
    expect(read(rig.ioapic, 1)).toBe(0x170020);
    select(rig.ioapic, 0xfe, 0x12345);
    expect(read(rig.ioapic, 0xfe)).toBe(0);
    select(rig.ioapic, 0, 0x0f000000);
    expect(read(rig.ioapic, 0)).toBe(0x0f000000);
  });
});

it('a local APIC goes on after save and load: requests, service and a running timer', () => {
  const rig = makeRig();
  const lapic = boot(rig);
  lapic.accept(fixed(0x61));
  lapic.accept(fixed(0x35));
  lapic.acknowledge();
  lapic.write(0x320, 4, 0x70);
  lapic.write(0x3e0, 4, 0xb);
  lapic.write(0x380, 4, 5000);
  const state = lapic.save();
  lapic.reset();
  lapic.load(state);
  rig.clock.advance(5000);
  expect(lapic.acknowledge()).toBe(0x70);
  lapic.write(0xb0, 4, 0);
  lapic.write(0xb0, 4, 0);
  expect(lapic.acknowledge()).toBe(0x35);
});
