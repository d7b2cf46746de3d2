import { beforeEach, describe, expect, it } from 'vitest';
import { BufferNode } from '../../../tests/support/buffer-node.ts';
import { FlatMemory, SplitDriver } from '../../../tests/support/virtio-driver.ts';
import type { BlockError } from '../../block/block-error.ts';
import { Log } from '../../base/log.ts';
import { Drive, type DriveHost, type DriveOptions } from '../storage/drive.ts';
import { VirtioBlk } from './virtio-blk.ts';
import { F_VERSION_1, STATUS_DRIVER_OK, STATUS_FEATURES_OK, STATUS_NEEDS_RESET, VirtioCore } from './virtio-core.ts';

const LAYOUT = { size: 16, descriptors: 0x1000, driver: 0x2000, device: 0x3000 };
const HEADER = 0x4000;
const STATUS = 0x4100;
const DATA = 0x5000;
const [IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES] = [0, 1, 4, 8, 11, 13];

class Host implements DriveHost {
  pending = 0;
  readonly stops: string[] = [];
  resume: (again: boolean) => void = () => undefined;

  stopForError(drive: string, error: BlockError): Promise<boolean> {
    this.stops.push(`${drive} ${error.code}`);
    return new Promise((resolve) => (this.resume = resolve));
  }
}

class Rig {
  readonly memory = new FlatMemory(0x20000);
  readonly node = new BufferNode(Uint8Array.from({ length: 64 << 10 }, (_, i) => i >> 9));
  readonly host = new Host();
  readonly interrupts: string[] = [];
  readonly model: VirtioBlk;
  readonly core: VirtioCore;
  driver: SplitDriver = new SplitDriver(this.memory, LAYOUT);

  constructor(options: Partial<DriveOptions> = {}, features = [F_VERSION_1, 9, 13, 14]) {
    const drive = new Drive({ id: 'd', node: this.node, ...options }, this.host);
    this.model = new VirtioBlk({
      drive, serial: 'serial-1', queues: 1, queueSize: 16, logicalBlockBytes: 512, physicalBlockBytes: 512,
      discard: true, writeZeroes: true, configWce: true,
    }); // prettier-ignore
    this.core = new VirtioCore(this.model, this.memory, new Log(), {
      packed: false,
      eventIndex: false,
      indirect: true,
    });
    this.core.interrupts = {
      queue: (i) => this.interrupts.push(`queue ${i}`),
      config: () => this.interrupts.push('config'),
    };
    this.start(features);
  }

  start(features: readonly number[]): void {
    this.core.setStatus(3, false);
    for (const word of [0, 1])
      this.core.acceptFeatures(
        word,
        features.filter((bit) => bit >> 5 === word).reduce((bits, bit) => bits | (1 << (bit & 31)), 0) >>> 0,
      );
    this.core.setStatus(3 | STATUS_FEATURES_OK, false);
    const [queue] = this.core.queues;
    queue?.addresses.set([LAYOUT.descriptors, 0, LAYOUT.driver, 0, LAYOUT.device, 0]);
    this.core.enableQueue(0);
    this.core.setStatus(3 | STATUS_FEATURES_OK | STATUS_DRIVER_OK, false);
  }

  offer(type: number, sector: number, data?: { bytes: number; write: boolean }): void {
    this.memory.view.setUint32(HEADER, type, true);
    this.memory.view.setUint32(HEADER + 8, sector, true);
    this.memory.bytes[STATUS] = 0xee;
    this.driver.offer([
      { address: HEADER, bytes: 16 },
      ...(data ? [{ address: DATA, ...data }] : []),
      { address: STATUS, bytes: 1, write: true },
    ]);
    this.core.kick(0);
  }

  async request(type: number, sector: number, data?: { bytes: number; write: boolean }): Promise<number> {
    this.offer(type, sector, data);
    for (let i = 0; i < 20; i++) await Promise.resolve();
    expect(this.driver.collect()).toBeDefined();
    return this.memory.bytes[STATUS] ?? -1;
  }

  range(sector: number, count: number, flags = 0): { bytes: number; write: boolean } {
    [sector, 0, count, flags].forEach((word, i) => this.memory.view.setUint32(DATA + 4 * i, word, true));
    return { bytes: 16, write: false };
  }
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 30; i++) await Promise.resolve();
};

describe('virtio-blk', () => {
  let rig: Rig;
  beforeEach(() => {
    rig = new Rig();
  });

  it('reads and writes sectors in guest memory itself', async () => {
    expect(await rig.request(IN, 3, { bytes: 1024, write: true })).toBe(0);
    expect([rig.memory.bytes[DATA], rig.memory.bytes[DATA + 512], rig.memory.bytes[DATA + 1024]]).toEqual([3, 4, 0]);
    rig.memory.bytes.fill(0x77, DATA, DATA + 512);
    expect(await rig.request(OUT, 5, { bytes: 512, write: false })).toBe(0);
    expect(rig.node.bytes[5 * 512]).toBe(0x77);
    expect(rig.interrupts).toEqual(['queue 0', 'queue 0']);
  });

  it('flushes, tells its serial number, discards and writes zeroes', async () => {
    expect(await rig.request(FLUSH, 0)).toBe(0);
    expect(await rig.request(GET_ID, 0, { bytes: 20, write: true })).toBe(0);
    expect(new TextDecoder().decode(rig.memory.bytes.subarray(DATA, DATA + 8))).toBe('serial-1');
    expect(await rig.request(DISCARD, 0, rig.range(8, 8))).toBe(0);
    expect(await rig.request(WRITE_ZEROES, 0, rig.range(16, 8, 1))).toBe(0);
    expect(rig.node.operations).toEqual(['flush', 'discard 4096+4096', 'zeroes-unmap 8192+4096']);
  });

  it('refuses what is beyond the disk, cut in sectors, unknown or malformed', async () => {
    expect(await rig.request(IN, 127, { bytes: 1024, write: true })).toBe(1);
    expect(await rig.request(IN, 0, { bytes: 100, write: true })).toBe(1);
    expect(await rig.request(77, 0)).toBe(2);
    expect(await rig.request(DISCARD, 0, rig.range(8, 8, 1))).toBe(2);
    expect(await rig.request(DISCARD, 0, rig.range(0x7fffffff, 8))).toBe(1);
    expect(await rig.request(WRITE_ZEROES, 0, { bytes: 15, write: false })).toBe(2);
    expect(rig.node.operations).toEqual([]);
  });

  it('does not write to a read-only drive', async () => {
    rig = new Rig({ readOnly: true });
    expect(rig.model.features).toContain(5);
    expect(await rig.request(OUT, 0, { bytes: 512, write: false })).toBe(1);
    expect(rig.node.operations).toEqual([]);
  });

  it('makes each write stable when the driver cannot flush or switched the cache off', async () => {
    rig = new Rig({}, [F_VERSION_1]);
    await rig.request(OUT, 0, { bytes: 512, write: false });
    expect(rig.node.operations).toEqual(['write-fua 0+512']);
    rig = new Rig({}, [F_VERSION_1, 9, 11]);
    rig.model.writeConfig(32, 1, 0);
    await rig.request(OUT, 0, { bytes: 512, write: false });
    expect(rig.node.operations).toEqual(['write-fua 0+512']);
    rig.model.writeConfig(32, 1, 1);
    await rig.request(OUT, 0, { bytes: 512, write: false });
    expect(rig.node.operations[1]).toBe('write 0+512');
  });

  it('reports errors as told, and does a request again that stopped the machine', async () => {
    rig.node.failures.push('EIO');
    expect(await rig.request(IN, 0, { bytes: 512, write: true })).toBe(1);
    rig.node.failures.push('ENOSPC');
    rig.offer(OUT, 0, { bytes: 512, write: false });
    await settle();
    expect(rig.host.stops).toEqual(['d ENOSPC']);
    expect(rig.host.pending).toBe(0);
    expect(rig.driver.collect()).toBeUndefined();
    rig.host.resume(true);
    await settle();
    expect(rig.driver.collect()).toBeDefined();
    expect(rig.memory.bytes[STATUS]).toBe(0);
    rig = new Rig({ werror: 'ignore' });
    rig.node.failures.push('EIO');
    expect(await rig.request(OUT, 0, { bytes: 512, write: false })).toBe(0);
  });

  it('shows a reset as done only when nothing is under way, and forgets what was', async () => {
    let open = (): void => undefined;
    rig.node.gate = new Promise((resolve) => (open = resolve));
    rig.offer(IN, 1, { bytes: 512, write: true });
    rig.core.setStatus(0, false);
    expect(rig.core.status).not.toBe(0);
    open();
    await settle();
    expect(rig.core.status).toBe(0);
    expect(rig.driver.collect()).toBeUndefined();
  });

  it('stops until it is reset when the driver breaks the queue', () => {
    rig.memory.view.setUint16(LAYOUT.driver + 2, 1000, true);
    rig.core.kick(0);
    expect(rig.core.status & STATUS_NEEDS_RESET).toBe(STATUS_NEEDS_RESET);
    expect(rig.interrupts).toEqual(['config']);
    rig.driver.offer([{ address: HEADER, bytes: 4 }]);
    rig.core.setStatus(0, false);
    expect(rig.core.status).toBe(0);
  });

  it('does again after loading what was under way when the state was saved', async () => {
    rig.node.gate = new Promise(() => undefined);
    rig.offer(IN, 7, { bytes: 512, write: true });
    const state = structuredClone(rig.core.save());
    const other = new Rig();
    other.memory.bytes.set(rig.memory.bytes);
    for (const { queue, element } of other.core.load(state)) other.model.start(queue, element);
    await settle();
    expect(other.memory.bytes[DATA]).toBe(7);
    expect(other.memory.bytes[STATUS]).toBe(0);
    expect(other.memory.view.getUint16(LAYOUT.device + 2, true)).toBe(1);
  });
});
