import { describe, expect, it } from 'vitest';
import { MockClock } from '../../base/clock.ts';
import { MemoryChardev } from '../../chardev/chardev.ts';
import { Tracer } from '../../trace/trace.ts';
import { Uart16550 } from './uart16550.ts';

function makeUart(limit?: number): {
  uart: Uart16550;
  backend: MemoryChardev;
  clock: MockClock;
  irq: () => boolean;
  get: (o: number) => number;
  put: (o: number, v: number) => void;
} {
  const clock = new MockClock();
  const backend = new MemoryChardev(limit);
  let level = false;
  const uart = new Uart16550({ clock, tracer: new Tracer(), backend, irq: { set: (value) => void (level = value) } });
  return {
    uart,
    backend,
    clock,
    irq: () => level,
    get: (offset) => uart.read(offset),
    put: (offset, value) => uart.write(offset, 1, value),
  };
}

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

describe('16550A', () => {
  it('sends at once and interrupts when the transmitter is empty, until IIR is read', () => {
    const { backend, get, put, irq } = makeUart();
    put(0, 0x48);
    expect(backend.text).toBe('H');
    put(1, 0x02);
    expect(irq()).toBe(true);
    expect(get(2) & 0x0f).toBe(2);
    expect(irq()).toBe(false);
    put(0, 0x69);
    expect(irq()).toBe(true);
    expect(backend.text).toBe('Hi');
  });

  it('holds what the backend does not take and sends it later', () => {
    const { backend, get, put } = makeUart(1);
    put(2, 1);
    put(0, 0x61);
    put(0, 0x62);
    expect(get(5) & 0x60).toBe(0);
    expect([...backend.take()]).toEqual([0x61]);
    expect(get(5) & 0x60).toBe(0x60);
    expect(backend.text).toBe('b');
  });

  it('receives into the FIFO, interrupts at the trigger level and below it after a pause', () => {
    const { backend, clock, get, put, irq } = makeUart();
    put(2, 0x81); // 8 bytes
    put(1, 0x01);
    backend.push(bytes('abc'));
    expect(irq()).toBe(false);
    clock.advance(10_000_000);
    expect(get(2) & 0x0f).toBe(0x0c);
    expect([get(0), get(0), get(0)]).toEqual([0x61, 0x62, 0x63]);
    expect(irq()).toBe(false);
    backend.push(bytes('01234567'));
    expect(get(2) & 0x0f).toBe(0x04);
  });

  it('leaves input waiting in the backend when the FIFO is full', () => {
    const { backend, get, put } = makeUart();
    put(2, 0x01);
    backend.push(bytes('0123456789abcdefXYZ'));
    expect(backend.pendingBytes).toBe(3);
    let text = '';
    while (get(5) & 1) text += String.fromCharCode(get(0));
    expect(text).toBe('0123456789abcdefXYZ');
    expect(get(5) & 2).toBe(0);
  });

  it('loops back characters and modem lines without touching the backend', () => {
    const { backend, get, put } = makeUart();
    put(4, 0x1a); // loop, OUT2, RTS
    put(0, 0x5a);
    expect(get(0)).toBe(0x5a);
    expect(get(6) & 0xf0).toBe(0x90);
    expect(backend.text).toBe('');
  });

  it('switches to the divisor with DLAB and keeps the scratch register', () => {
    const { get, put } = makeUart();
    put(7, 0x5a);
    put(3, 0x83);
    put(0, 1);
    put(1, 0);
    expect([get(0), get(1)]).toEqual([1, 0]);
    put(3, 0x03);
    expect(get(1)).toBe(0);
    expect(get(7)).toBe(0x5a);
  });

  it('reports a break and a lost carrier', () => {
    const { backend, get, put, irq } = makeUart();
    put(1, 0x0c);
    backend.sendEvent('break');
    expect(get(2) & 0x0f).toBe(6);
    expect(get(5) & 0x11).toBe(0x11);
    expect(get(0)).toBe(0);
    get(6);
    backend.sendEvent('closed');
    expect(irq()).toBe(true);
    expect(get(2) & 0x0f).toBe(0);
    expect(get(6)).toBe(0x0b);
  });

  it('is identified as a 16550A: FIFO bits follow FCR', () => {
    const { get, put } = makeUart();
    expect(get(2) & 0xc0).toBe(0);
    put(2, 1);
    expect(get(2) & 0xc0).toBe(0xc0);
  });

  it('goes on after save and load with what was in the FIFO', () => {
    const { uart, backend, get, put } = makeUart();
    put(2, 1);
    backend.push(bytes('xy'));
    const state = uart.save();
    uart.reset();
    uart.load(state);
    expect([get(0), get(0)]).toEqual([0x78, 0x79]);
  });
});
