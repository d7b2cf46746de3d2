import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FlatMemory, PackedDriver, type QueueDriver, SplitDriver } from '../../../tests/support/virtio-driver.ts';
import { PackedQueue } from './packed-queue.ts';
import { SplitQueue } from './split-queue.ts';
import { RingError, type VirtQueue } from './virtqueue.ts';

const LAYOUT = { size: 8, descriptors: 0x1000, driver: 0x2000, device: 0x3000 };

function rig(
  kind: 'split' | 'packed',
  eventIndex = false,
): { memory: FlatMemory; queue: VirtQueue; driver: QueueDriver } {
  const memory = new FlatMemory(0x10000);
  const queue =
    kind === 'split'
      ? new SplitQueue(memory, { ...LAYOUT, eventIndex })
      : new PackedQueue(memory, { ...LAYOUT, eventIndex });
  const driver = kind === 'split' ? new SplitDriver(memory, LAYOUT) : new PackedDriver(memory, LAYOUT);
  return { memory, queue, driver };
}

describe.each(['split', 'packed'] as const)('%s queue', (kind) => {
  it('hands out buffers in order and takes them back in any, round after round', () => {
    const { queue, driver } = rig(kind);
    fc.assert(
      fc.property(
        fc.array(fc.record({ pieces: fc.integer({ min: 1, max: 3 }), indirect: fc.boolean() }), { maxLength: 60 }),
        (buffers) => {
          for (const { pieces, indirect } of buffers) {
            const list = Array.from({ length: pieces }, (_, i) => ({
              address: 0x5000 + i * 16,
              bytes: 8 + i,
              write: i > 0,
            }));
            const id = indirect ? driver.offerIndirect(0x4000, list) : driver.offer(list);
            const element = queue.pop();
            expect(element?.id).toBe(id);
            expect([...(element?.out ?? []), ...(element?.into ?? [])].map((piece) => piece.length)).toEqual(
              list.map(({ bytes }) => bytes),
            );
            expect(queue.pop()).toBeUndefined();
            if (element) queue.push(element, pieces);
            expect(driver.collect()).toEqual({ id, written: pieces });
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  it('gives several back out of order', () => {
    const { queue, driver } = rig(kind);
    const ids = [1, 2, 3].map((n) => driver.offer([{ address: 0x5000, bytes: n }]));
    const elements = ids.map(() => queue.pop());
    for (const element of [...elements].reverse()) if (element) queue.push(element, 0);
    expect(ids.map(() => driver.collect()?.id)).toEqual([...ids].reverse());
  });

  it('goes on where it was after save and load', () => {
    const { memory, queue, driver } = rig(kind);
    for (let round = 0; round < 11; round++) {
      driver.offer([{ address: 0x5000, bytes: 4, write: true }]);
      const element = queue.pop();
      if (element) queue.push(element, 4);
      driver.collect();
    }
    const copy =
      kind === 'split'
        ? new SplitQueue(memory, { ...LAYOUT, eventIndex: false })
        : new PackedQueue(memory, { ...LAYOUT, eventIndex: false });
    copy.load(queue.save());
    expect(copy.pop()).toBeUndefined();
    const id = driver.offer([{ address: 0x5000, bytes: 4 }]);
    expect(copy.pop()?.id).toBe(id);
  });

  it('refuses buffers that are not RAM, tables of odd length and what the device may not read', () => {
    for (const pieces of [
      [{ address: 0xfffff000, bytes: 16 }],
      [{ address: 0xfff0, bytes: 0x20 }],
      [
        { address: 0x5000, bytes: 4, write: true },
        { address: 0x5000, bytes: 4 },
      ],
    ]) {
      const { queue, driver } = rig(kind);
      driver.offer(pieces);
      expect(() => queue.pop()).toThrow(RingError);
    }
  });

  it('survives any content of its rings', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 128, maxLength: 128 }),
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        (table, ring) => {
          const { memory, queue } = rig(kind);
          memory.bytes.set(table, LAYOUT.descriptors);
          memory.bytes.set(ring, LAYOUT.driver);
          try {
            for (let i = 0; i < 10; i++) {
              const element = queue.pop();
              if (element) queue.push(element, 1);
            }
          } catch (error) {
            expect(error).toBeInstanceOf(RingError);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('interrupts as the driver wants', () => {
    const { memory, queue, driver } = rig(kind, true);
    const used = (event: number): boolean => {
      if (kind === 'split') memory.view.setUint16(LAYOUT.driver + 4 + 16, event, true);
      else {
        memory.view.setUint16(LAYOUT.driver, event | 0x8000, true);
        memory.view.setUint16(LAYOUT.driver + 2, 2, true);
      }
      driver.offer([{ address: 0x5000, bytes: 4 }]);
      const element = queue.pop();
      return element !== undefined && queue.push(element, 0);
    };
    expect(used(0)).toBe(true);
    expect(used(3)).toBe(false);
    expect(used(3)).toBe(false);
    expect(used(3)).toBe(true);
  });
});

describe('split queue', () => {
  it('refuses loops, heads and indices beyond the table', () => {
    const cases: ((driver: SplitDriver, memory: FlatMemory) => void)[] = [
      (driver) => {
        driver.descriptor(0, { address: 0x5000, bytes: 4 }, 1, 1);
        driver.descriptor(1, { address: 0x5000, bytes: 4 }, 1, 0);
        driver.publish(0);
      },
      (driver) => driver.publish(8),
      (_driver, memory) => memory.view.setUint16(LAYOUT.driver + 2, 9, true),
      (driver) => {
        driver.descriptor(0, { address: 0x4000, bytes: 32 }, 4, 0);
        driver.descriptor(0, { address: 0x5000, bytes: 4 }, 1, 1, 0x4000);
        driver.descriptor(1, { address: 0x5000, bytes: 4 }, 1, 0, 0x4000);
        driver.publish(0);
      },
      (driver) => {
        driver.descriptor(0, { address: 0x4000, bytes: 0xfffffff0 }, 4, 0);
        driver.publish(0);
      },
    ];
    for (const arrange of cases) {
      const memory = new FlatMemory(0x10000);
      const queue = new SplitQueue(memory, { ...LAYOUT, eventIndex: false });
      arrange(new SplitDriver(memory, LAYOUT), memory);
      expect(() => queue.pop()).toThrow(RingError);
    }
  });

  it('tells with the event index from which buffer on it wants to be notified', () => {
    const memory = new FlatMemory(0x10000);
    const queue = new SplitQueue(memory, { ...LAYOUT, eventIndex: true });
    const driver = new SplitDriver(memory, LAYOUT);
    driver.offer([{ address: 0x5000, bytes: 4 }]);
    driver.offer([{ address: 0x5000, bytes: 4 }]);
    for (let i = 0; i < 3; i++) queue.pop();
    expect(driver.availEvent).toBe(2);
  });
});
