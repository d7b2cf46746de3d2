import { describe, expect, it } from 'vitest';
import { Log } from '../../base/log.ts';
import { PortSpace } from '../../memory/port-space.ts';
import { Tracer } from '../../trace/trace.ts';
import { I8259Pair } from './i8259-pair.ts';

function makePair(): { pic: I8259Pair; ports: PortSpace; intr: boolean[] } {
  const tracer = new Tracer();
  const ports = new PortSpace({ tracer, log: new Log() });
  const intr: boolean[] = [];
  const pic = new I8259Pair({ tracer }, { set: (level) => void (intr.at(-1) === level || intr.push(level)) });
  pic.attach(ports);
  // As every PC's firmware: master at 0x20, slave at 0x28, no automatic EOI, everything unmasked.
  for (const [port, value] of [
    [0x20, 0x11],
    [0x21, 0x20],
    [0x21, 4],
    [0x21, 1],
    [0x21, 0],
  ] as const)
    ports.write(port, 1, value);
  for (const [port, value] of [
    [0xa0, 0x11],
    [0xa1, 0x28],
    [0xa1, 2],
    [0xa1, 1],
    [0xa1, 0],
  ] as const)
    ports.write(port, 1, value);
  return { pic, ports, intr };
}

const pulse = (pic: I8259Pair, irq: number): void => {
  pic.setIrq(irq, true);
  pic.setIrq(irq, false);
};

describe('8259 pair', () => {
  it('delivers by priority and holds lower requests until EOI', () => {
    const { pic, ports } = makePair();
    pulse(pic, 4);
    expect(pic.acknowledge()).toBe(0x24);
    pulse(pic, 5);
    expect(pic.interruptPending).toBe(false);
    pulse(pic, 1);
    expect(pic.acknowledge()).toBe(0x21);
    ports.write(0x20, 1, 0x20);
    expect(pic.interruptPending).toBe(false);
    ports.write(0x20, 1, 0x20);
    expect(pic.acknowledge()).toBe(0x25);
  });

  it('passes slave interrupts through input 2, one after the other', () => {
    const { pic, ports } = makePair();
    pulse(pic, 12);
    pulse(pic, 8);
    expect(pic.acknowledge()).toBe(0x28);
    ports.write(0xa0, 1, 0x20);
    ports.write(0x20, 1, 0x20);
    expect(pic.interruptPending).toBe(true);
    expect(pic.acknowledge()).toBe(0x2c);
  });

  it('gives a spurious vector when the request is masked before the acknowledge', () => {
    const { pic, ports } = makePair();
    pulse(pic, 3);
    ports.write(0x21, 1, 0xff);
    expect(pic.acknowledge()).toBe(0x27);
    ports.write(0x20, 1, 0x0b);
    expect(ports.read(0x20, 1)).toBe(0);
  });

  it('asks again after EOI while a level-triggered line is up', () => {
    const { pic, ports } = makePair();
    ports.write(0x4d1, 1, 0xff);
    expect(ports.read(0x4d1, 1)).toBe(0xde);
    pic.setIrq(10, true);
    expect(pic.acknowledge()).toBe(0x2a);
    ports.write(0xa0, 1, 0x20);
    ports.write(0x20, 1, 0x20);
    expect(pic.acknowledge()).toBe(0x2a);
    pic.setIrq(10, false);
    ports.write(0xa0, 1, 0x20);
    ports.write(0x20, 1, 0x20);
    expect(pic.interruptPending).toBe(false);
  });

  it('rotates priorities with EOI', () => {
    const { pic, ports } = makePair();
    pulse(pic, 3);
    pic.acknowledge();
    ports.write(0x20, 1, 0xa0); // rotate on non-specific EOI: 3 becomes lowest
    pulse(pic, 3);
    pulse(pic, 4);
    expect(pic.acknowledge()).toBe(0x24);
  });

  it('lets lower interrupts through in special mask mode', () => {
    const { pic, ports } = makePair();
    pulse(pic, 1);
    pic.acknowledge();
    pulse(pic, 5);
    ports.write(0x21, 1, 0x02);
    ports.write(0x20, 1, 0x68);
    expect(pic.acknowledge()).toBe(0x25);
  });

  it('answers a poll like an acknowledge', () => {
    const { pic, ports } = makePair();
    pulse(pic, 6);
    ports.write(0x20, 1, 0x0c);
    expect(ports.read(0x20, 1)).toBe(0x86);
    expect(pic.interruptPending).toBe(false);
  });

  it('goes on after save and load where it was', () => {
    const { pic, ports } = makePair();
    pulse(pic, 4);
    pic.acknowledge();
    pulse(pic, 9);
    const state = pic.save();
    pic.reset();
    expect(pic.interruptPending).toBe(false);
    pic.load(state);
    ports.write(0x20, 1, 0x20);
    expect(pic.acknowledge()).toBe(0x29);
  });
});
