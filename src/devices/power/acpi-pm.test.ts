import { describe, expect, it } from 'vitest';
import { MockClock } from '../../base/clock.ts';
import { Log } from '../../base/log.ts';
import { PortSpace } from '../../memory/port-space.ts';
import { Tracer } from '../../trace/trace.ts';
import { Piix4Pm } from './piix4-pm.ts';

function makePm(): { ports: PortSpace; clock: MockClock; pm: Piix4Pm; sci: () => boolean; slept: number[] } {
  const clock = new MockClock();
  const tracer = new Tracer();
  const ports = new PortSpace({ tracer, log: new Log() });
  const slept: number[] = [];
  let level = false;
  const pm = new Piix4Pm({
    clock,
    tracer,
    ports,
    sci: { set: (value) => void (level = value) },
    onSleep: (type) => void slept.push(type),
  });
  pm.attach();
  pm.enable(0x600);
  return { ports, clock, pm, sci: () => level, slept };
}

describe('ACPI fixed hardware', () => {
  it('counts at 3.579545 MHz in 24 bits', () => {
    const { ports, clock } = makePm();
    clock.advance(1_000_000_000);
    expect(ports.read(0x608, 4)).toBe(3_579_545);
    clock.advance(4_000_000_000);
    expect(ports.read(0x608, 4)).toBe((5 * 3_579_545) % 2 ** 24);
  });

  it('raises the SCI for the power button once ACPI is enabled through the command port', () => {
    const { ports, pm, sci } = makePm();
    ports.write(0x602, 2, 0x0100);
    pm.acpi.pressPowerButton();
    expect(sci()).toBe(false);
    ports.write(0xb2, 1, 0xf1);
    expect(ports.read(0x604, 2) & 1).toBe(1);
    expect(sci()).toBe(true);
    ports.write(0x600, 2, 0x0100);
    expect(sci()).toBe(false);
  });

  it('reports each half turn of the timer', () => {
    const { ports, clock, sci } = makePm();
    ports.write(0xb2, 1, 0xf1);
    ports.write(0x602, 2, 1);
    clock.advance(2_300_000_000);
    expect(sci()).toBe(false);
    clock.advance(100_000_000);
    expect(sci()).toBe(true);
    ports.write(0x600, 1, 1);
    expect(sci()).toBe(false);
    clock.advance(2_350_000_000);
    expect(sci()).toBe(true);
  });

  it('asks for a sleep state with the sleep enable bit only', () => {
    const { ports, slept } = makePm();
    ports.write(0x604, 2, 0x0000);
    expect(slept).toEqual([]);
    ports.write(0x604, 2, 0x2000);
    ports.write(0x605, 1, 0x24);
    expect(slept).toEqual([0, 1]);
  });

  it('moves with its base register and vanishes without decoding', () => {
    const { ports, pm } = makePm();
    pm.pci.writeConfig(0x40, 4, 0xb000);
    expect(ports.read(0x604, 2)).toBe(0xffff);
    expect(ports.read(0xb004, 2)).toBe(0);
    pm.pci.writeConfig(0x80, 1, 0);
    expect(ports.read(0xb004, 2)).toBe(0xffff);
  });
});
