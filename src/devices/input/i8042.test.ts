import { describe, expect, it } from 'vitest';
import { Log } from '../../base/log.ts';
import { PortSpace } from '../../memory/port-space.ts';
import { Tracer } from '../../trace/trace.ts';
import { I8042 } from './i8042.ts';
import { Ps2Keyboard } from './ps2-keyboard.ts';

function makeController(): {
  ports: PortSpace;
  keyboard: Ps2Keyboard;
  irq1: () => boolean;
  a20: boolean[];
  resets: () => number;
  drain: () => number[];
} {
  const tracer = new Tracer();
  const ports = new PortSpace({ tracer, log: new Log() });
  const keyboard = new Ps2Keyboard();
  const a20: boolean[] = [];
  let resets = 0;
  let irq1 = false;
  new I8042({
    tracer,
    keyboard,
    keyboardIrq: { set: (level) => void (irq1 = level) },
    mouseIrq: { set: () => {} },
    onA20: (enabled) => void a20.push(enabled),
    onReset: () => void resets++,
  }).attach(ports);
  const drain = (): number[] => {
    const bytes: number[] = [];
    while (ports.read(0x64, 1) & 1) bytes.push(ports.read(0x60, 1));
    return bytes;
  };
  return { ports, keyboard, irq1: () => irq1, a20, resets: () => resets, drain };
}

describe('8042', () => {
  it('passes its self test and keeps its command byte', () => {
    const { ports, drain } = makeController();
    ports.write(0x64, 1, 0xaa);
    ports.write(0x64, 1, 0xab);
    expect(drain()).toEqual([0x55, 0x00]);
    ports.write(0x64, 1, 0x60);
    ports.write(0x60, 1, 0x44);
    ports.write(0x64, 1, 0x20);
    expect(drain()).toEqual([0x44]);
  });

  it('resets the CPU and gates A20', () => {
    const { ports, a20, resets } = makeController();
    ports.write(0x64, 1, 0xfe);
    expect(resets()).toBe(1);
    ports.write(0x64, 1, 0xff);
    expect(resets()).toBe(1);
    ports.write(0x64, 1, 0xd1);
    ports.write(0x60, 1, 0xdd);
    ports.write(0x64, 1, 0xdf);
    expect(a20).toEqual([false, true]);
  });

  it('brings keys with an interrupt each, translated to set 1', () => {
    const { keyboard, irq1, drain } = makeController();
    keyboard.key(0x1e, true); // A
    keyboard.key(0x1e, false);
    keyboard.key(0x48, true, true); // up
    keyboard.key(0x48, false, true);
    expect(irq1()).toBe(true);
    expect(drain()).toEqual([0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0xc8]);
    expect(irq1()).toBe(false);
  });

  it('passes commands to the keyboard: reset, identify, lights', () => {
    const { ports, keyboard, drain } = makeController();
    ports.write(0x60, 1, 0xff);
    expect(drain()).toEqual([0xfa, 0xaa]);
    ports.write(0x60, 1, 0xf2);
    expect(drain()).toEqual([0xfa, 0xab, 0x41]); // the second byte of the ID is translated too
    ports.write(0x60, 1, 0xed);
    ports.write(0x60, 1, 0x02);
    expect(keyboard.leds).toBe(2);
    expect(drain()).toEqual([0xfa, 0xfa]);
  });
});
