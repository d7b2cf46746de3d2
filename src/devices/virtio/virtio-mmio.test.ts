import { beforeEach, describe, expect, it } from 'vitest';
import { BufferNode } from '../../../tests/support/buffer-node.ts';
import { FlatMemory, SplitDriver } from '../../../tests/support/virtio-driver.ts';
import { Log } from '../../base/log.ts';
import { Drive } from '../storage/drive.ts';
import { VirtioBlk } from './virtio-blk.ts';
import { VirtioMmio } from './virtio-mmio.ts';

const LAYOUT = { size: 16, descriptors: 0x1000, driver: 0x2000, device: 0x3000 };
const HEADER = 0x4000;
const DATA = 0x5000;
const STATUS = 0x6000;
const [FEATURES, FEATURES_SELECT, ACCEPT, ACCEPT_SELECT] = [0x10, 0x14, 0x20, 0x24];
const [QUEUE_SELECT, QUEUE_MAX, QUEUE_SIZE, QUEUE_READY, NOTIFY] = [0x30, 0x34, 0x38, 0x44, 0x50];
const [PENDING, ACKNOWLEDGE, DEVICE_STATUS, CONFIG] = [0x60, 0x64, 0x70, 0x100];

describe('virtio with registers in memory', () => {
  const memory = new FlatMemory(0x10000);
  let device: VirtioMmio;
  let line: boolean;
  const get = (offset: number): number => device.read(offset, 4);
  const set = (offset: number, value: number): void => device.write(offset, 4, value);

  beforeEach(() => {
    memory.bytes.fill(0);
    line = false;
    const node = new BufferNode(Uint8Array.from({ length: 8192 }, (_, i) => i >> 9));
    const host = { pending: 0, stopForError: (): Promise<boolean> => Promise.resolve(false) };
    const model = new VirtioBlk({
      drive: new Drive({ id: 'd', node }, host), serial: 's', queues: 1, queueSize: 16, logicalBlockBytes: 512,
      physicalBlockBytes: 512, discard: true, writeZeroes: true, configWce: true,
    }); // prettier-ignore
    device = new VirtioMmio(model, {
      memory,
      log: new Log(),
      irq: { set: (level) => (line = level) },
      redo: (queue, element) => model.start(queue, element),
      packed: false,
      eventIndex: false,
      indirect: true,
    });
  });

  function start(): void {
    set(DEVICE_STATUS, 3);
    set(ACCEPT_SELECT, 1);
    set(ACCEPT, 1);
    set(DEVICE_STATUS, 11);
    set(QUEUE_SELECT, 0);
    set(QUEUE_SIZE, LAYOUT.size);
    [LAYOUT.descriptors, LAYOUT.driver, LAYOUT.device].forEach((address, i) => {
      set(0x80 + i * 0x10, address);
      set(0x84 + i * 0x10, 0);
    });
    set(QUEUE_READY, 1);
    set(DEVICE_STATUS, 15);
  }

  it('says what it is', () => {
    expect([get(0), get(4), get(8)]).toEqual([0x74726976, 2, 2]);
    set(FEATURES_SELECT, 1);
    expect(get(FEATURES) & 1).toBe(1);
    expect(get(QUEUE_MAX)).toBe(16);
    expect(get(CONFIG)).toBe(16);
    expect(get(0xb0)).toBe(0xffffffff);
    expect(device.read(0, 1)).toBe(0);
  });

  it('reads a sector and holds its interrupt until it is acknowledged', async () => {
    start();
    expect(get(DEVICE_STATUS)).toBe(15);
    const driver = new SplitDriver(memory, LAYOUT);
    memory.view.setUint32(HEADER + 8, 3, true);
    driver.offer([
      { address: HEADER, bytes: 16 },
      { address: DATA, bytes: 512, write: true },
      { address: STATUS, bytes: 1, write: true },
    ]);
    memory.bytes[STATUS] = 0xff;
    set(NOTIFY, 0);
    await new Promise((resolve) => setTimeout(resolve));
    expect(driver.collect()).toEqual({ id: 0, written: 513 });
    expect([memory.bytes[DATA], memory.bytes[STATUS]]).toEqual([3, 0]);
    expect([line, get(PENDING)]).toEqual([true, 1]);
    set(ACKNOWLEDGE, 1);
    expect([line, get(PENDING)]).toEqual([false, 0]);
  });

  it('bears what no driver writes', () => {
    for (let offset = 0; offset < 0x200; offset += 4) set(offset, 0xffffffff);
    set(DEVICE_STATUS, 0);
    set(QUEUE_SELECT, 77);
    expect(get(QUEUE_MAX)).toBe(0);
    set(QUEUE_READY, 1);
    set(NOTIFY, 77);
    expect(get(DEVICE_STATUS)).toBe(0);
    expect(line).toBe(false);
  });

  it('is the same after saving and loading', () => {
    start();
    const state = device.save();
    device.reset();
    expect(get(DEVICE_STATUS)).toBe(0);
    device.load(JSON.parse(JSON.stringify(state)) as typeof state);
    expect([get(DEVICE_STATUS), get(QUEUE_READY)]).toEqual([15, 1]);
  });
});
