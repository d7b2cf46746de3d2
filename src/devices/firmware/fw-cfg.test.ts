import { describe, expect, it } from 'vitest';
import { Log } from '../../base/log.ts';
import { AddressSpace } from '../../memory/address-space.ts';
import { PortSpace } from '../../memory/port-space.ts';
import { MemoryRegion } from '../../memory/region.ts';
import { Tracer } from '../../trace/trace.ts';
import { FwCfg } from './fw-cfg.ts';

function makeFwCfg(): {
  fwCfg: FwCfg;
  ports: PortSpace;
  host: Uint8Array;
  bytes: (key: number, count: number) => number[];
} {
  const tracer = new Tracer();
  const log = new Log();
  const memory = { buffer: new ArrayBuffer(0x10000) };
  const space = new AddressSpace({ memory, tracer, log });
  space.root.add(MemoryRegion.ram('ram', 0x10000, 0), 0);
  const ports = new PortSpace({ tracer, log });
  const fwCfg = new FwCfg({ tracer, memory: space });
  fwCfg.attach(ports);
  const bytes = (key: number, count: number): number[] => {
    ports.write(0x510, 2, key);
    return Array.from({ length: count }, () => ports.read(0x511, 1));
  };
  return { fwCfg, ports, host: new Uint8Array(memory.buffer), bytes };
}

const text = (bytes: number[]): string => String.fromCharCode(...bytes);

/** A DMA request at 0x100, big-endian, and its trigger. */
function dma(rig: ReturnType<typeof makeFwCfg>, control: number, length: number, address: number): number {
  const view = new DataView(rig.host.buffer);
  view.setUint32(0x100, control, false);
  view.setUint32(0x104, length, false);
  view.setUint32(0x108, 0, false);
  view.setUint32(0x10c, address, false);
  rig.ports.write(0x514, 4, 0);
  rig.ports.write(0x518, 4, 0x00010000); // 0x100, bytes swapped
  return view.getUint32(0x100, false);
}

describe('fw_cfg', () => {
  it('has its signature, revision and zeros past the end of an item', () => {
    const { bytes } = makeFwCfg();
    expect(text(bytes(0, 4))).toBe('QEMU');
    expect(bytes(1, 5)).toEqual([3, 0, 0, 0, 0]);
    expect(bytes(0x1234, 2)).toEqual([0, 0]);
  });

  it('lists files with sizes and selectors', () => {
    const { fwCfg, bytes } = makeFwCfg();
    fwCfg.addFile('etc/one', Uint8Array.of(1, 2, 3));
    fwCfg.addFile('etc/two', Uint8Array.of(4));
    fwCfg.addFile('etc/one', Uint8Array.of(9, 8));
    const directory = bytes(0x19, 4 + 128);
    expect(directory.slice(0, 4)).toEqual([0, 0, 0, 2]);
    expect(directory.slice(4, 12)).toEqual([0, 0, 0, 2, 0, 0x20, 0, 0]);
    expect(text(directory.slice(12, 19))).toBe('etc/one');
    expect(bytes(0x20, 2)).toEqual([9, 8]);
  });

  it('transfers by DMA: select and read, skip, and refuses a write', () => {
    const rig = makeFwCfg();
    rig.fwCfg.addFile(
      'etc/data',
      Uint8Array.from({ length: 10 }, (_, i) => i + 1),
    );
    expect(dma(rig, (0x20 << 16) | 8 | 2, 4, 0x200)).toBe(0);
    expect([...rig.host.subarray(0x200, 0x204)]).toEqual([1, 2, 3, 4]);
    expect(dma(rig, 4, 2, 0)).toBe(0);
    expect(dma(rig, 2, 6, 0x300)).toBe(0);
    expect([...rig.host.subarray(0x300, 0x306)]).toEqual([7, 8, 9, 10, 0, 0]);
    expect(dma(rig, 16, 4, 0x200)).toBe(1);
    expect(rig.ports.read(0x514, 4)).toBe(0x554d4551);
  });
});
