/** Drivers without manners: rings, buffers, requests and SCSI commands that are nearly right, or not at all. */
import { describe, expect, it } from 'vitest';
import { Log } from '../../src/base/log.ts';
import { Drive } from '../../src/devices/storage/drive.ts';
import { ScsiBus } from '../../src/devices/storage/scsi/scsi-bus.ts';
import { ScsiDisk } from '../../src/devices/storage/scsi/scsi-disk.ts';
import { VirtioBlk } from '../../src/devices/virtio/virtio-blk.ts';
import type { PluggableModel } from '../../src/devices/virtio/virtio-kind.ts';
import { VirtioMmio } from '../../src/devices/virtio/virtio-mmio.ts';
import { VirtioScsi } from '../../src/devices/virtio/virtio-scsi.ts';
import { BufferNode } from '../support/buffer-node.ts';
import { FlatMemory, PackedDriver, type Piece, SplitDriver } from '../support/virtio-driver.ts';

const ROUNDS = Number(process.env['ORRERY_FUZZ_VIRTIO'] ?? 1500);
const MEMORY_BYTES = 0x20000;
const RING = { size: 16, descriptors: 0x1000, driver: 0x2000, device: 0x3000 };
const BUFFERS = 0x4000;
const SETUP = [0x80, 0x90, 0xa0] as const;
const COMMANDS = [
  0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1d, 0x1e, 0x25, 0x28, 0x2a, 0x2f, 0x35, 0x41, 0x42, 0x43, 0x46, 0x4a, 0x51,
  0x55, 0x5a, 0x88, 0x8a, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa,
] as const; // prettier-ignore

type Random = (below: number) => number;

/** mulberry32: a failure names its seed. */
function makeRandom(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

function makeModel(kind: 'blk' | 'scsi'): PluggableModel {
  const host = { pending: 0, stopForError: (): Promise<boolean> => Promise.resolve(false) };
  const drive = (id: string, readOnly: boolean): Drive =>
    new Drive({ id, node: new BufferNode(new Uint8Array(32 << 10), readOnly) }, host);
  if (kind === 'blk')
    return new VirtioBlk({
      drive: drive('d', false), serial: 'x', queues: 2, queueSize: 16, logicalBlockBytes: 512, physicalBlockBytes: 512,
      discard: true, writeZeroes: true, configWce: true,
    }); // prettier-ignore
  const bus = new ScsiBus('scsi0.0');
  const unit = { blockBytes: 512, physicalBlockBytes: 512, serial: 's', vendor: 'v', product: 'p', version: '1' };
  bus.attach('scsi-hd', new ScsiDisk({ ...unit, drive: drive('h', false), cdrom: false }), 0, 0);
  bus.attach('scsi-cd', new ScsiDisk({ ...unit, drive: drive('c', true), cdrom: true }), 1, 0);
  return new VirtioScsi({ bus, queues: 1, queueSize: 16 });
}

/** Buffers of a request: mostly where they should be, and as long. */
function pieces(random: Random, kind: 'blk' | 'scsi'): Piece[] {
  const wild = (): number => [0, 0xffffffff, MEMORY_BYTES - 8, 0x80000000, random(0x100000000)][random(5)] ?? 0;
  const place = (): number => (random(40) === 0 ? wild() : BUFFERS + random(64) * 512);
  const length = (usual: number): number => (random(20) === 0 ? wild() : usual);
  const head = kind === 'blk' ? 16 : 51;
  const tail = kind === 'blk' ? 1 : 108;
  const data = random(4) * 512 + (random(8) === 0 ? random(600) : 0);
  const list: Piece[] = [{ address: place(), bytes: length(head) }];
  const write = random(2) === 0;
  if (data > 0 && !write) list.push({ address: place(), bytes: length(data) });
  if (kind === 'scsi') list.push({ address: place(), bytes: length(tail), write: true });
  if (data > 0 && write) list.push({ address: place(), bytes: length(data), write: true });
  if (kind === 'blk') list.push({ address: place(), bytes: length(tail), write: random(30) !== 0 });
  return random(30) === 0 ? list.reverse() : list;
}

function fillHead(random: Random, kind: 'blk' | 'scsi', memory: FlatMemory, at: number): void {
  if (at + 64 > MEMORY_BYTES) return;
  if (kind === 'blk') {
    memory.view.setUint32(at, [0, 1, 4, 8, 11, 13, random(0x100000000)][random(7)] ?? 0, true);
    memory.view.setUint32(at + 8, random(8) === 0 ? random(0x100000000) : random(70), true);
    memory.view.setUint32(at + 12, random(20) === 0 ? random(0x100000000) : 0, true);
    return;
  }
  memory.bytes.set([random(20) === 0 ? random(256) : 1, random(3), random(10) === 0 ? random(256) : 0x40, 0], at);
  memory.bytes[at + 19] = random(10) === 0 ? random(256) : (COMMANDS[random(COMMANDS.length)] ?? 0);
  for (let i = 1; i < 16; i++) memory.bytes[at + 19 + i] = random(3) === 0 ? random(256) : random(3);
}

async function drive(kind: 'blk' | 'scsi', packed: boolean, random: Random): Promise<void> {
  const memory = new FlatMemory(MEMORY_BYTES);
  const model = makeModel(kind);
  const device = new VirtioMmio(model, {
    memory,
    log: new Log(),
    irq: { set: () => undefined },
    redo: (queue, element) => model.start(queue, element),
    packed: true,
    eventIndex: true,
    indirect: true,
  });
  const set = (offset: number, value: number): void => device.write(offset, 4, value);
  const start = (): SplitDriver | PackedDriver => {
    memory.bytes.fill(0, RING.descriptors, BUFFERS);
    set(0x70, 0);
    set(0x70, 3);
    set(0x24, 0);
    set(0x20, random(2) === 0 ? 0 : 0xffffffff);
    set(0x24, 1);
    set(0x20, packed ? 5 : 1);
    set(0x70, 11);
    const queue = kind === 'blk' ? 0 : random(3);
    set(0x30, queue);
    set(0x38, RING.size);
    [RING.descriptors, RING.driver, RING.device].forEach((address, i) => {
      set((SETUP[i] ?? 0) + 0, address);
      set((SETUP[i] ?? 0) + 4, 0);
    });
    set(0x44, 1);
    set(0x70, 15);
    return packed ? new PackedDriver(memory, RING) : new SplitDriver(memory, RING);
  };
  let driver = start();
  for (let i = 0; i < 40; i++) {
    if (i % 10 === 9 || (device.read(0x70, 4) & 64) !== 0) driver = start();
    const list = pieces(random, kind);
    fillHead(random, kind, memory, list[0]?.address ?? 0);
    try {
      if (random(5) === 0) driver.offerIndirect(BUFFERS + 0x8000, list);
      else driver.offer(list);
    } catch {
      driver = start(); // The ring is full of what was never given back.
      continue;
    }
    if (random(6) === 0) memory.bytes[RING.descriptors + random(0x3000)] = random(256);
    if (random(10) === 0) device.write(random(0x200), [1, 2, 4][random(3)] ?? 4, random(0x100000000));
    set(0x50, random(20) === 0 ? random(100) : kind === 'blk' ? 0 : random(3));
    await new Promise((resolve) => setImmediate(resolve));
    while (driver.collect() !== undefined);
  }
  const state = device.save();
  device.load(JSON.parse(JSON.stringify(state)) as typeof state);
  device.reset();
  await new Promise((resolve) => setImmediate(resolve));
  expect(device.read(0x70, 4)).toBe(0);
}

describe.each(['blk', 'scsi'] as const)('virtio-%s', (kind) => {
  it.each([false, true])('bears what drivers write (packed: %s)', async (packed) => {
    for (let seed = 1; seed * 40 <= ROUNDS; seed++) {
      const failed = (error: unknown): never => {
        throw new Error(`seed ${seed}`, { cause: error });
      };
      await drive(kind, packed, makeRandom(seed)).catch(failed);
    }
  });
});
