import { describe, expect, it } from 'vitest';
import { MockClock } from '../base/clock.ts';
import { UserError } from '../base/errors.ts';
import { Log } from '../base/log.ts';
import { MemoryChardev } from '../chardev/chardev.ts';
import { Tracer } from '../trace/trace.ts';
import { Pc, type PcVcpuBus } from './pc.ts';

interface Rig {
  pc: Pc;
  bus: PcVcpuBus;
  clock: MockClock;
  serial: MemoryChardev;
  events: string[];
  request: () => boolean;
}

function makePc(devices: { driver: string; properties: Record<string, string> }[] = [], memoryBytes = 2 << 20): Rig {
  const clock = new MockClock();
  const serial = new MemoryChardev();
  const events: string[] = [];
  let next = 0;
  let request = false;
  const pc = new Pc({
    clock,
    tracer: new Tracer(),
    log: new Log(),
    memory: { buffer: new ArrayBuffer(memoryBytes) },
    allocate: (sizeBytes) => {
      const at = next;
      next += sizeBytes;
      return at;
    },
    memoryBytes,
    cpus: [
      {
        setInterruptRequest: (active) => void (request = active),
        nmi: () => void events.push('nmi'),
        init: () => void events.push('init'),
        startup: () => {},
      },
    ],
    tsc: { read: () => clock.now() * 2, hz: 2e9 },
    wallClockNs: () => Date.UTC(2025, 0, 1) * 1e6 + clock.now(),
    serial: [serial],
    devices,
    setA20: (enabled) => void events.push(`a20 ${enabled}`),
  });
  pc.reset();
  events.length = 0;
  pc.events.on('poweroff', () => events.push('poweroff'));
  pc.events.on('reset', () => events.push('reset'));
  pc.events.on('debug-exit', (status) => events.push(`exit ${status}`));
  return { pc, bus: pc.vcpuBus(0), clock, serial, events, request: () => request };
}

/** A multiboot kernel of one instruction, for what a firmware does around it. */
function tinyKernel(): Uint8Array {
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  [0x1badb002, 0x00010000, -(0x1badb002 + 0x00010000) >>> 0, 0x100000, 0x100000, 0x100040, 0x100040, 0x100020].forEach(
    (word, i) => view.setUint32(i * 4, word, true),
  );
  bytes[0x20] = 0xf4;
  return bytes;
}

const boot = ({ pc }: Rig): ReturnType<Pc['bootKernel']> =>
  pc.bootKernel({ kernel: { name: 'tiny', bytes: tinyKernel() } });

describe('pc', () => {
  it('prints on the first serial port', () => {
    const { bus, serial } = makePc();
    for (const character of 'ok') bus.ioOut(0x3f8, 1, character.charCodeAt(0));
    expect(serial.text).toBe('ok');
  });

  it('delivers the timer through the 8259 in virtual wire mode', () => {
    const rig = makePc();
    boot(rig);
    const { bus, clock } = rig;
    for (const [port, value] of [
      [0x20, 0x11],
      [0x21, 0x30],
      [0x21, 4],
      [0x21, 1],
      [0x21, 0xfe],
      [0x43, 0x34],
      [0x40, 0xa9],
      [0x40, 4],
    ] as const)
      bus.ioOut(port, 1, value);
    clock.advance(2_000_000);
    expect(rig.request()).toBe(true);
    expect(bus.acknowledgeInterrupt()).toBe(0x30);
    expect(rig.request()).toBe(false);
    bus.ioOut(0x20, 1, 0x20);
    clock.advance(1_000_000);
    expect(bus.acknowledgeInterrupt()).toBe(0x30);
  });

  it('delivers a serial interrupt through the I/O APIC, and EOI through the local APIC', () => {
    const rig = makePc();
    const { bus, serial } = rig;
    bus.mmioWrite(0xfee000f0, 4, 0x1ff);
    bus.mmioWrite(0xfec00000, 4, 0x18);
    bus.mmioWrite(0xfec00010, 4, 0x44);
    bus.ioOut(0x3f9, 1, 1);
    serial.push(Uint8Array.of(0x41));
    expect(bus.acknowledgeInterrupt()).toBe(0x44);
    expect(bus.ioIn(0x3f8, 1)).toBe(0x41);
    bus.mmioWrite(0xfee000b0, 4, 0);
    expect(rig.request()).toBe(false);
  });

  it('moves the local APIC with IA32_APIC_BASE, and hides it when it is off or in x2APIC mode', () => {
    const { bus } = makePc();
    expect(bus.mmioRead(0xfee00030, 4)).toBe(0x50014);
    bus.writeMsr(0x1b, 0xfed00900, 0);
    expect([bus.mmioRead(0xfee00030, 4), bus.mmioRead(0xfed00030, 4)]).toEqual([0xffffffff, 0x50014]);
    bus.writeMsr(0x1b, 0xfee00d00, 0);
    expect(bus.mmioRead(0xfee00030, 4)).toBe(0xffffffff);
    expect(bus.readMsr(0x803)).toEqual({ low: 0x50014, high: 0 });
    bus.writeMsr(0x1b, 0xfee00100, 0);
    bus.writeTpr(5);
    expect(bus.readTpr()).toBe(5);
  });

  it('reports power off, reset by each of its ways, and test exits', () => {
    const rig = makePc([{ driver: 'isa-debug-exit', properties: { iobase: '0xf4', iosize: '4' } }]);
    boot(rig);
    const { bus, events } = rig;
    events.length = 0;
    bus.ioOut(0x604, 2, 0x2000);
    bus.ioOut(0xcf9, 1, 0x06);
    bus.ioOut(0x64, 1, 0xfe);
    bus.ioOut(0x92, 1, 0x03);
    bus.ioOut(0xf4, 4, 0x10);
    expect(events.filter((event) => !event.startsWith('a20'))).toEqual([
      'poweroff',
      'reset',
      'reset',
      'reset',
      'exit 33',
    ]);
  });

  it('leaves an operating system tables, a memory map and assigned BARs', () => {
    const rig = makePc([{ driver: 'pci-testdev', properties: {} }], 4 << 20);
    const image = boot(rig);
    expect(image.protocol).toBe('multiboot');
    expect(rig.bus.mmioRead(0x100020, 1)).toBe(0xf4);
    const rsdp = new Uint8Array(8);
    let found = 0;
    for (let at = 0xf0000; at < 0x100000; at += 16) {
      rig.pc.space.readBytes(at, rsdp);
      if (String.fromCharCode(...rsdp) === 'RSD PTR ') found = at;
    }
    expect(found).toBeGreaterThan(0);
    rig.bus.ioOut(0xcf8, 4, 0x80001010);
    expect(rig.bus.ioIn(0xcfc, 4)).toBe(0xc0000000);
    rig.bus.mmioWrite(0xc0000000, 1, 0);
    expect(rig.bus.mmioRead(0xc0000001, 1)).toBe(1);
  });

  it('drives interrupt lines and echoes for test suites', () => {
    const rig = makePc([{ driver: 'pc-testdev', properties: {} }]);
    const { bus } = rig;
    bus.ioOut(0xe0, 4, 0x12345678);
    expect([bus.ioIn(0xe0, 1), bus.ioIn(0xe0, 2), bus.ioIn(0xe0, 4)]).toEqual([0x78, 0x5678, 0x12345678]);
    bus.mmioWrite(0xff000010, 4, 0xcafe);
    expect(bus.mmioRead(0xff000010, 2)).toBe(0xcafe);
    bus.mmioWrite(0xfee000f0, 4, 0x1ff);
    bus.mmioWrite(0xfec00000, 4, 0x10 + 2 * 14);
    bus.mmioWrite(0xfec00010, 4, 0x78);
    bus.ioOut(0x200e, 4, 1);
    expect(bus.acknowledgeInterrupt()).toBe(0x78);
  });

  it('fills in the paravirtual clock where the guest asks', () => {
    const { pc, bus, clock } = makePc();
    clock.advance(5_000_000);
    bus.writeMsr(0x4b564d01, 0x3001, 0);
    bus.writeMsr(0x4b564d00, 0x4000, 0);
    const word = (at: number): number => pc.space.read(at, 4);
    expect(word(0x3000) % 2).toBe(0);
    expect([word(0x3008), word(0x3010)]).toEqual([10_000_000, 5_000_000]);
    expect([word(0x3018), pc.space.read(0x301c, 1), pc.space.read(0x301d, 1)]).toEqual([0x80000000, 0, 1]);
    expect(word(0x4004)).toBe(Date.UTC(2025, 0, 1) / 1000);
  });

  it('saves and loads every device', () => {
    const first = makePc();
    boot(first);
    const second = makePc();
    const states = first.pc.devices.map((device) => device.save());
    second.pc.devices.forEach((device, i) => {
      const state = states[i];
      if (state) device.load(structuredClone(state));
    });
    expect(second.pc.devices.map((device) => device.save())).toEqual(states);
    expect(second.bus.ioIn(0x604, 2)).toBe(0);
  });

  it('refuses what it cannot be in one sentence', () => {
    expect(() => makePc([], 0x8000)).toThrow(UserError);
    expect(() => makePc([], 4096 * 1024 * 1024)).toThrow(/-m: 4096 MiB is too much/);
    expect(() => makePc([{ driver: 'nonesuch', properties: {} }])).toThrow(/-device nonesuch: there is no such device/);
    expect(() => makePc([{ driver: 'isa-debug-exit', properties: { port: '1' } }])).toThrow(/no property 'port'/);
    expect(() => makePc([{ driver: 'isa-debug-exit', properties: { iobase: 'x' } }])).toThrow(
      /'iobase' of device 'isa-debug-exit' is 'x'/,
    );
  });
});
