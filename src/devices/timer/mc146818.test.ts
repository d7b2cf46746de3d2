import { describe, expect, it } from 'vitest';
import { MockClock } from '../../base/clock.ts';
import { Tracer } from '../../trace/trace.ts';
import { Mc146818 } from './mc146818.ts';

const START = Date.UTC(2024, 1, 28, 23, 59, 50);

function makeRtc(): {
  rtc: Mc146818;
  clock: MockClock;
  irq: { level: boolean; rises: number };
  get: (i: number) => number;
  put: (i: number, v: number) => void;
} {
  const clock = new MockClock();
  const irq = { level: false, rises: 0 };
  const rtc = new Mc146818({
    clock,
    tracer: new Tracer(),
    wallClockNs: () => START * 1e6 + clock.now(),
    irq: {
      set: (level) => {
        if (level && !irq.level) irq.rises++;
        irq.level = level;
      },
    },
  });
  const get = (index: number): number => {
    rtc.write(0, 1, index);
    return rtc.read(1);
  };
  const put = (index: number, value: number): void => {
    rtc.write(0, 1, index);
    rtc.write(1, 1, value);
  };
  return { rtc, clock, irq, get, put };
}

describe('MC146818', () => {
  it('tells date and time in BCD, over the end of a leap February', () => {
    const { clock, get } = makeRtc();
    expect([9, 8, 7, 4, 2, 0].map(get)).toEqual([0x24, 0x02, 0x28, 0x23, 0x59, 0x50]);
    clock.advance(10e9);
    expect([0x32, 9, 8, 7, 6, 4, 2, 0].map(get)).toEqual([0x20, 0x24, 0x02, 0x29, 5, 0, 0, 0]);
  });

  it('tells it in binary and in twelve hours', () => {
    const { get, put } = makeRtc();
    put(0x0b, 0x04);
    expect([4, 2].map(get)).toEqual([11 | 0x80, 59]);
  });

  it('goes on from what the guest set', () => {
    const { clock, get, put } = makeRtc();
    put(0x0b, 0x82);
    for (const [index, value] of [
      [9, 0x31],
      [8, 0x12],
      [7, 0x31],
      [4, 0x23],
      [2, 0x59],
      [0, 0x59],
    ] as const)
      put(index, value);
    clock.advance(5e9);
    expect(get(0)).toBe(0x59);
    put(0x0b, 0x02);
    clock.advance(1.1e9);
    expect([0x32, 9, 8, 7, 4, 2, 0].map(get)).toEqual([0x20, 0x32, 1, 1, 0, 0, 0]);
  });

  it('interrupts at the periodic rate until register C is read', () => {
    const { clock, irq, get, put } = makeRtc();
    put(0x0a, 0x26); // 1024 Hz
    put(0x0b, 0x42);
    clock.advance(1e6);
    expect(irq.level).toBe(true);
    clock.advance(1e7);
    expect(irq.rises).toBe(1);
    expect(get(0x0c) & 0xc0).toBe(0xc0);
    expect(irq.level).toBe(false);
    for (let i = 0; i < 1024; i++) {
      clock.advance(1e9 / 1024);
      get(0x0c);
    }
    expect(irq.rises).toBeGreaterThan(1020);
    expect(irq.rises).toBeLessThan(1027);
  });

  it('interrupts when an update has ended and shows an update in progress before it', () => {
    const { clock, irq, get, put } = makeRtc();
    put(0x0b, 0x12);
    clock.advance(0.9e9);
    expect(irq.level).toBe(false);
    expect(get(0x0a) & 0x80).toBe(0);
    clock.advance(0.0999e9);
    expect(get(0x0a) & 0x80).toBe(0x80);
    clock.advance(0.001e9);
    expect(irq.level).toBe(true);
    expect(get(0x0c) & 0x90).toBe(0x90);
  });

  it('rings the alarm, with any value where both top bits are set', () => {
    const { clock, irq, get, put } = makeRtc();
    put(1, 0x05);
    put(3, 0xff);
    put(5, 0xff);
    put(0x0b, 0x22);
    clock.advance(14e9);
    expect(irq.level).toBe(false);
    clock.advance(1.1e9);
    expect(irq.level).toBe(true);
    expect(get(0x0c) & 0x20).toBe(0x20);
    clock.advance(60e9);
    expect(irq.rises).toBe(2);
  });

  it('keeps flags for whoever polls without interrupts', () => {
    const { clock, get } = makeRtc();
    get(0x0c);
    clock.advance(1.5e9);
    expect(get(0x0c) & 0x50).toBe(0x50);
    expect(clock.nextDeadline()).toBe(Infinity);
  });

  it('keeps its memory, and the index without the NMI bit', () => {
    const { rtc, put, get } = makeRtc();
    put(0x40 | 0x80, 0x5a);
    rtc.reset();
    expect(get(0x40)).toBe(0x5a);
  });
});
