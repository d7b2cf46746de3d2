import { describe, expect, it } from 'vitest';
import { MockClock, ticksToNs } from '../../base/clock.ts';
import { Tracer } from '../../trace/trace.ts';
import { I8254, PIT_HZ } from './i8254.ts';
import { Port61 } from './port61.ts';

function makePit(): { pit: I8254; clock: MockClock; rises: number[]; ticks: (count: number) => void } {
  const clock = new MockClock();
  const rises: number[] = [];
  const pit = new I8254({ clock, tracer: new Tracer() }, { set: (level) => void (level && rises.push(clock.now())) });
  pit.reset();
  rises.length = 0;
  return { pit, clock, rises, ticks: (count) => clock.advance(ticksToNs(count, PIT_HZ)) };
}

const read16 = (pit: I8254, counter: number): number => pit.read(counter) | (pit.read(counter) << 8);

describe('8254', () => {
  it('as rate generator interrupts once a period, at 1000 Hz with a count of 1193', () => {
    const { pit, clock, rises } = makePit();
    pit.write(3, 0x34);
    rises.length = 0;
    pit.write(0, 1193 & 0xff);
    pit.write(0, 1193 >> 8);
    rises.length = 0;
    clock.advance(1_000_000_000);
    expect(rises.length).toBe(1000);
  });

  it('in mode 0 raises its output once, when the count has run out', () => {
    const { pit, rises, ticks } = makePit();
    pit.write(3, 0x30);
    pit.write(0, 100);
    pit.write(0, 0);
    ticks(99);
    expect(rises).toEqual([]);
    expect(pit.output(0)).toBe(false);
    ticks(2);
    expect(rises.length).toBe(1);
    ticks(200_000);
    expect(rises.length).toBe(1);
  });

  it('counts down by one in mode 2 and by two in mode 3', () => {
    const { pit, ticks } = makePit();
    pit.write(3, 0xb4);
    pit.write(2, 0xe8);
    pit.write(2, 0x03);
    const gate = new Port61(new MockClock(), pit);
    gate.write(0, 1, 1);
    ticks(10);
    expect(read16(pit, 2)).toBe(990);
    pit.write(3, 0xb6);
    pit.write(2, 0xe8);
    pit.write(2, 0x03);
    ticks(10);
    expect(read16(pit, 2)).toBe(980);
  });

  it('holds a latched count while it goes on counting, and a latched status before it', () => {
    const { pit, ticks } = makePit();
    pit.write(3, 0x34);
    pit.write(0, 0);
    pit.write(0, 0);
    ticks(0x100);
    pit.write(3, 0xc2); // read back counter 0: status and count
    ticks(0x100);
    expect(pit.read(0)).toBe(0xb4); // output high, both bytes, mode 2
    expect(read16(pit, 0)).toBe(0xff00);
    expect(read16(pit, 0)).toBe(0xfe00);
  });

  it('shows counter 2 through port 0x61 as calibration loops use it', () => {
    const { pit, clock, ticks } = makePit();
    const port = new Port61(clock, pit);
    port.write(0, 1, 0x01);
    pit.write(3, 0xb0);
    pit.write(2, 0xff);
    pit.write(2, 0x00);
    expect(port.read() & 0x20).toBe(0);
    ticks(0x100);
    expect(port.read() & 0x20).toBe(0x20);
  });

  it('stands still in mode 0 while the gate is low', () => {
    const { pit, ticks } = makePit();
    pit.setGate(2, true);
    pit.write(3, 0xb0);
    pit.write(2, 0x00);
    pit.write(2, 0x10);
    ticks(0x100);
    pit.setGate(2, false);
    ticks(0x1000);
    expect(read16(pit, 2)).toBe(0xf00);
    pit.setGate(2, true);
    ticks(0x100);
    expect(read16(pit, 2)).toBe(0xe00);
  });

  it('counts in BCD', () => {
    const { pit, ticks } = makePit();
    pit.write(3, 0x35);
    pit.write(0, 0x00);
    pit.write(0, 0x10); // 1000
    ticks(1);
    expect(read16(pit, 0)).toBe(0x0999);
  });
});
