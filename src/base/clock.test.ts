import { describe, expect, it } from 'vitest';
import { InstructionTime, MockClock, nsToTicks, ticksToNs, VirtualClock } from './clock.ts';

describe('timers', () => {
  it('run in the order of their deadlines, each at its own time', () => {
    const clock = new MockClock();
    const seen: [string, number][] = [];
    clock.createTimer(() => seen.push(['late', clock.now()])).arm(20);
    clock.createTimer(() => seen.push(['early', clock.now()])).arm(10);
    clock.advanceTo(30);
    expect(seen).toEqual([
      ['early', 10],
      ['late', 20],
    ]);
  });

  it('fire once an arming, and not after a cancel', () => {
    const clock = new MockClock();
    let fired = 0;
    const timer = clock.createTimer(() => fired++);
    timer.arm(10);
    timer.arm(15);
    clock.advanceTo(12);
    expect(fired).toBe(0);
    clock.advanceTo(40);
    expect(fired).toBe(1);
    timer.arm(50);
    timer.cancel();
    expect(clock.nextDeadline()).toBe(Infinity);
    clock.advanceTo(60);
    expect(fired).toBe(1);
  });

  it('that re-arm themselves into the past do not hang the clock', () => {
    let source = 0;
    const clock = new VirtualClock(() => source);
    clock.start();
    let fired = 0;
    const timer = clock.createTimer(() => {
      fired++;
      timer.arm(0);
    });
    timer.arm(0);
    source = 100;
    clock.runExpired();
    expect(fired).toBeGreaterThan(0);
    expect(fired).toBeLessThan(1000);
  });
});

describe('virtual time', () => {
  it('stands still while stopped and goes on where it stood', () => {
    let source = 1000;
    const clock = new VirtualClock(() => source);
    expect(clock.now()).toBe(0);
    clock.start();
    source = 1500;
    expect(clock.now()).toBe(500);
    clock.stop();
    source = 9000;
    expect(clock.now()).toBe(500);
    clock.start();
    source = 9001;
    expect(clock.now()).toBe(501);
  });

  it('is counted in instructions in the deterministic mode, and skips ahead while the guest idles', () => {
    let executed = 0;
    const time = new InstructionTime(() => executed, 2);
    const clock = new VirtualClock(() => time.now());
    clock.start();
    let firedAt = -1;
    clock.createTimer(() => (firedAt = clock.now())).arm(1000);
    expect(time.instructionsUntilDeadline(clock, 1_000_000)).toBe(500);
    executed = 100;
    expect(clock.now()).toBe(200);
    expect(time.skipToDeadline(clock)).toBe(true);
    clock.runExpired();
    expect(firedAt).toBe(1000);
    expect(time.skipToDeadline(clock)).toBe(false);
  });
});

it('tick conversions invert each other at frequencies that do not divide a second', () => {
  for (const hz of [1_193_182, 3_579_545, 32_768]) {
    for (const ticks of [0, 1, 2, 1000, hz - 1, hz, hz * 3600 * 24 + 17])
      expect(nsToTicks(ticksToNs(ticks, hz), hz)).toBe(ticks);
  }
});
