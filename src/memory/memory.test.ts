import { describe, expect, it } from 'vitest';
import { Log } from '../base/log.ts';
import { Tracer } from '../trace/trace.ts';
import { AddressSpace } from './address-space.ts';
import { PortSpace } from './port-space.ts';
import { MemoryRegion } from './region.ts';
import type { MemorySlot } from './slots.ts';

function makeSpace(): { space: AddressSpace; slots: Map<number, MemorySlot>; host: Uint8Array } {
  const memory = { buffer: new ArrayBuffer(0x10000) };
  const space = new AddressSpace({ memory, tracer: new Tracer(), log: new Log() });
  const slots = new Map<number, MemorySlot>();
  space.connect(
    { setMemoryRegion: (slot) => void (slot.sizeBytes === 0 ? slots.delete(slot.slot) : slots.set(slot.slot, slot)) },
    64,
  );
  return { space, slots, host: new Uint8Array(memory.buffer) };
}

const registers = (
  writes: unknown[] = [],
): { read(offset: number, size: number): number; write(...args: number[]): void } => ({
  read: (offset, size) => offset * 16 + size,
  write: (...args) => void writes.push(args),
});

describe('guest physical memory', () => {
  it('cuts RAM around a device of higher priority and heals when the device is disabled', () => {
    const { space, slots } = makeSpace();
    space.root.add(MemoryRegion.ram('ram', 0x8000, 0x1000), 0);
    const device = MemoryRegion.mmio('device', 0x1000, registers());
    space.root.add(device, 0x2000, 1);
    expect([...slots.values()].map((s) => [s.guestPhysical, s.sizeBytes, s.hostOffset])).toEqual([
      [0, 0x2000, 0x1000],
      [0x3000, 0x5000, 0x4000],
    ]);
    expect(space.read(0x2004, 4)).toBe(0x44);
    device.setEnabled(false);
    expect([...slots.values()].map((s) => [s.guestPhysical, s.sizeBytes])).toEqual([[0, 0x8000]]);
  });

  it('shows the same bytes through an alias, read only where asked', () => {
    const { space, slots, host } = makeSpace();
    const ram = MemoryRegion.ram('ram', 0x8000, 0);
    space.root.add(ram, 0);
    space.root.add(MemoryRegion.alias('high', ram, 0x4000, 0x1000, true), 0x10_0000_0000);
    host[0x4010] = 0x5a;
    expect(space.read(0x10_0000_0010, 1)).toBe(0x5a);
    space.write(0x10_0000_0010, 1, 0);
    expect(host[0x4010]).toBe(0x5a);
    expect([...slots.values()].find((s) => s.guestPhysical === 0x10_0000_0000)?.readonly).toBe(true);
  });

  it('reads all ones where nothing is, and joins an access that crosses into it', () => {
    const { space, host } = makeSpace();
    space.root.add(MemoryRegion.ram('ram', 0x1000, 0), 0);
    host[0xfff] = 0x12;
    expect(space.read(0x5000, 4)).toBe(0xffffffff);
    expect(space.read(0xfff, 2)).toBe(0xff12);
  });

  it('serves parts of a page from the dispatcher', () => {
    const { space, slots, host } = makeSpace();
    space.root.add(MemoryRegion.ram('ram', 0x1000, 0), 0);
    space.root.add(MemoryRegion.mmio('device', 0x10, registers()), 0x800, 1);
    expect(slots.size).toBe(0);
    host[0x7ff] = 7;
    expect(space.read(0x7ff, 1)).toBe(7);
    expect(space.read(0x800, 1)).toBe(1);
    space.write(0x810, 2, 0xbeef);
    expect(host[0x810]).toBe(0xef);
  });

  it('moves bytes for devices and tells which RAM they changed', () => {
    const { space, host } = makeSpace();
    const written: number[][] = [];
    space.onDeviceWrite = (address, size): unknown => written.push([address, size]);
    space.root.add(MemoryRegion.ram('a', 0x1000, 0x1000), 0);
    space.root.add(MemoryRegion.ram('b', 0x1000, 0x4000), 0x1000);
    space.writeBytes(0xffe, Uint8Array.of(1, 2, 3, 4));
    expect([host[0x1ffe], host[0x1fff], host[0x4000], host[0x4001]]).toEqual([1, 2, 3, 4]);
    expect(written).toEqual([
      [0xffe, 2],
      [0x1000, 2],
    ]);
    const back = new Uint8Array(4);
    space.readBytes(0xffe, back);
    expect([...back]).toEqual([1, 2, 3, 4]);
    expect(space.hostOffset(0x1800, 16)).toBe(0x4800);
    expect(space.hostOffset(0xffe, 16)).toBe(-1);
  });
});

it('transfers of gigabytes to nothing, or to ROM, take no time', () => {
  const { space, host } = makeSpace();
  space.root.add(MemoryRegion.rom('rom', 0x1000, 0), 0x4000_0000);
  space.root.add(MemoryRegion.ram('ram', 0x1000, 0x1000), 0x5000_0000);
  const bytes = new Uint8Array(0x1100_0000).fill(7);
  space.writeBytes(0x4000_0000, bytes);
  expect([host[0], host[0x1000], host[0x1fff], host[0x2000]]).toEqual([0, 7, 7, 0]);
  space.readBytes(0x4000_0000, bytes);
  expect([bytes[0], bytes[0x1000], bytes[0x1000_0000]]).toEqual([0, 0xff, 7]);
});

describe('ports', () => {
  const makePorts = (): PortSpace => new PortSpace({ tracer: new Tracer(), log: new Log() });

  it('split a wide access onto byte registers', () => {
    const ports = makePorts();
    const writes: number[][] = [];
    ports.register(
      { name: 'bytes', first: 0x40, count: 4 },
      { read: (offset) => offset + 1, write: (...args) => void writes.push(args) },
    );
    expect(ports.read(0x40, 4)).toBe(0x04030201);
    ports.write(0x42, 2, 0xaabb);
    expect(writes).toEqual([
      [2, 1, 0xbb],
      [3, 1, 0xaa],
    ]);
    expect(ports.read(0x43, 2)).toBe(0xff04);
  });

  it('let registers of different widths share numbers', () => {
    const ports = makePorts();
    ports.register(
      { name: 'address', first: 0xcf8, count: 4, sizes: [4] },
      { read: () => 0x80000000, write: () => {} },
    );
    ports.register({ name: 'reset', first: 0xcf9, count: 1 }, { read: () => 6, write: () => {} });
    expect(ports.read(0xcf8, 4)).toBe(0x80000000);
    expect(ports.read(0xcf9, 1)).toBe(6);
    expect(ports.read(0xcf8, 1)).toBe(0xff);
  });

  it('give back what a disposed device covered', () => {
    const ports = makePorts();
    ports.register({ name: 'below', first: 0x100, count: 8 }, { read: () => 1, write: () => {} });
    const above = ports.register({ name: 'above', first: 0x104, count: 8 }, { read: () => 2, write: () => {} });
    expect([ports.read(0x103, 1), ports.read(0x104, 1), ports.read(0x10b, 1)]).toEqual([1, 2, 2]);
    above.dispose();
    expect([ports.read(0x104, 1), ports.read(0x10b, 1)]).toEqual([1, 0xff]);
  });
});
