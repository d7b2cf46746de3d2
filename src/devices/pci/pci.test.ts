import { describe, expect, it } from 'vitest';
import { Log } from '../../base/log.ts';
import { AddressSpace } from '../../memory/address-space.ts';
import { PortSpace } from '../../memory/port-space.ts';
import { MemoryRegion } from '../../memory/region.ts';
import { Tracer } from '../../trace/trace.ts';
import { Msix } from './msix.ts';
import { PciConfigMechanism } from './config-mechanism.ts';
import { PciBus, pirqOf } from './pci-bus.ts';
import { PciDevice } from './pci-device.ts';
import { Piix3 } from './piix3.ts';

interface Rig {
  ports: PortSpace;
  space: AddressSpace;
  bus: PciBus;
  pirqs: boolean[];
  msis: number[][];
  config: (slot: number, func: number, offset: number) => number;
  setConfig: (slot: number, func: number, offset: number, value: number) => void;
}

function makeRig(): Rig {
  const tracer = new Tracer();
  const log = new Log();
  const ports = new PortSpace({ tracer, log });
  const space = new AddressSpace({ memory: { buffer: new ArrayBuffer(0) }, tracer, log });
  const pirqs = [false, false, false, false];
  const msis: number[][] = [];
  const bus = new PciBus({
    ports,
    memory: space.root,
    onPirq: (pirq, level) => void (pirqs[pirq] = level),
    sendMsi: (...message) => void msis.push(message),
  });
  new PciConfigMechanism(tracer, bus).attach(ports);
  const select = (slot: number, func: number, offset: number): void =>
    ports.write(0xcf8, 4, (0x80000000 | (slot << 11) | (func << 8) | offset) >>> 0);
  return {
    ports,
    space,
    bus,
    pirqs,
    msis,
    config: (slot, func, offset) => {
      select(slot, func, offset & 0xfc);
      return ports.read(0xcfc, 4);
    },
    setConfig: (slot, func, offset, value) => {
      select(slot, func, offset & 0xfc);
      ports.write(0xcfc, 4, value);
    },
  };
}

const answer = (value: number): { read(): number; write(): void } => ({ read: () => value, write: () => {} });

function makeDevice(): PciDevice {
  const device = new PciDevice({
    name: 'test',
    vendorId: 0x1234,
    deviceId: 0x5678,
    classCode: 0x010802,
    interruptPin: 1,
  });
  device.addBar(0, { kind: 'memory', region: MemoryRegion.mmio('bar0', 0x4000, answer(0x11)) });
  device.addBar(1, { kind: 'io', sizeBytes: 0x20, handler: answer(0x22) });
  device.addBar(2, {
    kind: 'memory',
    is64: true,
    prefetchable: true,
    region: MemoryRegion.mmio('bar2', 0x100000, answer(0x33)),
  });
  return device;
}

describe('PCI configuration space', () => {
  it('identifies functions and reads all ones where nothing is', () => {
    const rig = makeRig();
    rig.bus.add(makeDevice(), 3);
    expect(rig.config(3, 0, 0)).toBe(0x56781234);
    expect(rig.config(3, 0, 8)).toBe(0x01080200);
    expect(rig.config(4, 0, 0)).toBe(0xffffffff);
    rig.ports.write(0xcf8, 4, 0x80001802);
    expect(rig.ports.read(0xcfc, 2)).toBe(0x5678);
    rig.ports.write(0xcf8, 4, 0x80001800);
    expect([rig.ports.read(0xcfe, 2), rig.ports.read(0xcff, 1)]).toEqual([0x5678, 0x56]);
    rig.ports.write(0xcf8, 4, 0);
    expect(rig.ports.read(0xcfc, 4)).toBe(0xffffffff);
  });

  it('tells the size of a BAR and maps it where the guest puts it, once decoding is on', () => {
    const rig = makeRig();
    rig.bus.add(makeDevice(), 3);
    rig.setConfig(3, 0, 0x10, 0xffffffff);
    expect(rig.config(3, 0, 0x10)).toBe(0xffffc000);
    rig.setConfig(3, 0, 0x14, 0xffffffff);
    expect(rig.config(3, 0, 0x14)).toBe(0xffffffe1);
    rig.setConfig(3, 0, 0x18, 0xffffffff);
    rig.setConfig(3, 0, 0x1c, 0xffffffff);
    expect([rig.config(3, 0, 0x18), rig.config(3, 0, 0x1c)]).toEqual([0xfff0000c, 0xffffffff]);
    rig.setConfig(3, 0, 0x10, 0xe0000000);
    rig.setConfig(3, 0, 0x14, 0xc000);
    rig.setConfig(3, 0, 0x18, 0x00100000);
    rig.setConfig(3, 0, 0x1c, 0x20);
    expect(rig.space.read(0xe0000000, 1)).toBe(0xff);
    rig.setConfig(3, 0, 0x04, 0x0003);
    expect([rig.space.read(0xe0000000, 1), rig.ports.read(0xc01f, 1), rig.space.read(0x20_0010_0000, 4)]).toEqual([
      0x11, 0x22, 0x33,
    ]);
    rig.setConfig(3, 0, 0x10, 0xe1000000);
    expect([rig.space.read(0xe0000000, 1), rig.space.read(0xe1000000, 1)]).toEqual([0xff, 0x11]);
    rig.setConfig(3, 0, 0x04, 0);
    expect([rig.space.read(0xe1000000, 1), rig.ports.read(0xc000, 1)]).toEqual([0xff, 0xff]);
  });

  it('keeps read-only bits and accesses of one byte apart', () => {
    const rig = makeRig();
    rig.bus.add(makeDevice(), 3);
    rig.setConfig(3, 0, 0, 0);
    expect(rig.config(3, 0, 0)).toBe(0x56781234);
    rig.ports.write(0xcf8, 4, 0x8000183c);
    rig.ports.write(0xcfc, 1, 0x0b);
    expect(rig.config(3, 0, 0x3c)).toBe(0x010b);
  });

  it('chains capabilities', () => {
    const rig = makeRig();
    const device = makeDevice();
    const first = device.addCapability(9, new Uint8Array(5));
    const second = device.addCapability(0x11, new Uint8Array(10));
    rig.bus.add(device, 3);
    expect(rig.config(3, 0, 4) & 0x100000).toBe(0x100000);
    expect(rig.config(3, 0, 0x34) & 0xff).toBe(first);
    expect(rig.config(3, 0, first) & 0xffff).toBe((second << 8) | 9);
    expect(rig.config(3, 0, second) & 0xffff).toBe(0x11);
  });
});

describe('PCI interrupts', () => {
  it('swizzle pins over the wires, share them and can be switched off', () => {
    const rig = makeRig();
    const [a, b] = [makeDevice(), makeDevice()];
    rig.bus.add(a, 3);
    rig.bus.add(b, 7);
    const wire = pirqOf(3, 0);
    expect(pirqOf(1, 0)).toBe(0);
    expect(pirqOf(7, 0)).toBe(wire);
    a.intx.set(true);
    b.intx.set(true);
    a.intx.set(false);
    expect(rig.pirqs[wire]).toBe(true);
    expect(rig.config(7, 0, 4) & 0x80000).toBe(0x80000);
    rig.setConfig(7, 0, 4, 0x0400);
    expect(rig.pirqs[wire]).toBe(false);
  });

  it('are routed to ISA interrupts by the bridge and move with its registers', () => {
    const irqs: Record<number, boolean> = {};
    const bridge = new Piix3({ onIrq: (irq, level) => void (irqs[irq] = level), onReset: () => {} });
    bridge.setPirq(2, true);
    expect(irqs).toEqual({});
    bridge.pci.writeConfig(0x62, 1, 11);
    expect(irqs[11]).toBe(true);
    bridge.pci.writeConfig(0x62, 1, 10);
    expect([irqs[10], irqs[11]]).toEqual([true, false]);
    bridge.pci.writeConfig(0x62, 1, 0x80);
    expect(irqs[10]).toBe(false);
  });
});

describe('MSI-X', () => {
  it('sends messages, keeps masked ones pending and sends them when unmasked', () => {
    const rig = makeRig();
    const device = makeDevice();
    const msix = new Msix(device, 4, 4);
    rig.bus.add(device, 3);
    const capability = rig.config(3, 0, 0x34) & 0xff;
    expect(rig.config(3, 0, capability)).toBe(0x00030011);
    rig.setConfig(3, 0, 0x20, 0xe2000000);
    rig.setConfig(3, 0, 0x04, 0x0006);
    rig.setConfig(3, 0, capability, 0x80000000);
    const table = 0xe2000010; // vector 1
    [0xfee01000, 0, 0x4041].forEach((word, i) => rig.space.write(table + i * 4, 4, word));
    msix.notify(1);
    expect(rig.msis).toEqual([]);
    expect(rig.space.read(0xe2000800, 4)).toBe(2);
    rig.space.write(table + 12, 4, 0);
    expect(rig.msis).toEqual([[0xfee01000, 0, 0x4041]]);
    expect(rig.space.read(0xe2000800, 4)).toBe(0);
    msix.notify(1);
    msix.notify(9);
    expect(rig.msis.length).toBe(2);
    rig.setConfig(3, 0, capability, 0xc0000000);
    msix.notify(1);
    rig.setConfig(3, 0, capability, 0x80000000);
    msix.configChanged();
    expect(rig.msis.length).toBe(3);
  });
});
