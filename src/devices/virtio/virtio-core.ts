/**
 * What every virtio device is, whatever bus it is on (Virtio 1.2, chapters 2 and 3): status, features, queues, and the way buffers take
 * from the driver to the device's model and back. A transport (virtio-pci.ts, virtio-mmio.ts) shows it to the guest.
 *
 * Models do their work asynchronously. A reset does not wait for buffers that are under way: they are forgotten when they come back, and
 * the status reads 0 only then, as 2.4.1 lets a device do, so that no transfer writes into memory that has another owner by now.
 */
import type { Log } from '../../base/log.ts';
import type { DmaMemory } from '../../memory/address-space.ts';
import { type SavedState, type StateFields, StateReader } from '../../state/state.ts';
import { PackedQueue } from './packed-queue.ts';
import { SplitQueue } from './split-queue.ts';
import { ElementBuilder, type QueueElement, RingError, type Segment, type VirtQueue } from './virtqueue.ts';

export const STATUS_DRIVER_OK = 4;
export const STATUS_FEATURES_OK = 8;
export const STATUS_NEEDS_RESET = 64;

export const F_ANY_LAYOUT = 27;
export const F_INDIRECT_DESC = 28;
export const F_EVENT_INDEX = 29;
export const F_VERSION_1 = 32;
export const F_RING_PACKED = 34;

/** A kind of device: block, SCSI host … */
export interface VirtioModel {
  /** As in -device, without the bus: "virtio-blk". */
  readonly name: string;
  /** Device ID of chapter 5. */
  readonly deviceId: number;
  readonly queueCount: number;
  readonly queueSize: number;
  /** Feature bits of its own that it offers. */
  readonly features: readonly number[];
  readonly configBytes: number;
  readConfig(offset: number, size: number): number;
  writeConfig(offset: number, size: number, value: number): void;
  connect(core: VirtioCore): void;
  /** The driver put buffers into a queue: take them with `core.pop`. */
  notified(queue: number): void;
  reset(): void;
}

/** What the transport is told. */
export interface VirtioInterrupts {
  queue(index: number): void;
  config(): void;
}

export interface VirtioOptions {
  readonly packed: boolean;
  readonly eventIndex: boolean;
  readonly indirect: boolean;
}

/** The registers of one queue. */
export class QueueRegisters {
  size = 0;
  enabled = false;
  /** Addresses as two halves, low first: descriptors, driver area, device area. */
  readonly addresses: Uint32Array = new Uint32Array(6);
  ring: VirtQueue | undefined;
  /** Buffers that the model has. */
  readonly taken: Set<QueueElement> = new Set();

  reset(size: number): void {
    this.size = size;
    this.enabled = false;
    this.addresses.fill(0);
    this.ring = undefined;
    this.taken.clear();
  }

  address(part: 0 | 1 | 2): number {
    return (this.addresses[part * 2 + 1] ?? 0) * 0x1_0000_0000 + (this.addresses[part * 2] ?? 0);
  }
}

export class VirtioCore {
  readonly model: VirtioModel;
  readonly queues: readonly QueueRegisters[];
  /** Raised with each change of the configuration that the device makes. */
  configGeneration = 0;
  interrupts: VirtioInterrupts = { queue: () => undefined, config: () => undefined };

  private readonly memory: DmaMemory;
  private readonly log: Log;
  private readonly offered: Uint32Array = new Uint32Array(2);
  private readonly accepted: Uint32Array = new Uint32Array(2);
  private statusBits = 0;
  /** Buffers from before the last reset that have not come back, and the status that is shown meanwhile. */
  private strays = 0;
  private strayStatus = 0;

  constructor(model: VirtioModel, memory: DmaMemory, log: Log, options: VirtioOptions) {
    this.model = model;
    this.memory = memory;
    this.log = log;
    const bits = [...model.features, F_ANY_LAYOUT, F_VERSION_1];
    if (options.indirect) bits.push(F_INDIRECT_DESC);
    if (options.eventIndex) bits.push(F_EVENT_INDEX);
    if (options.packed) bits.push(F_RING_PACKED);
    for (const bit of bits) this.offered[bit >> 5] = ((this.offered[bit >> 5] ?? 0) | (1 << (bit & 31))) >>> 0;
    this.queues = Array.from({ length: model.queueCount }, () => new QueueRegisters());
    this.clear();
    model.connect(this);
  }

  // ---- for transports ----

  offeredFeatures(word: number): number {
    return this.offered[word] ?? 0;
  }

  acceptedFeatures(word: number): number {
    return this.accepted[word] ?? 0;
  }

  /** The driver's choice; what was not offered does not count. */
  acceptFeatures(word: number, bits: number): void {
    if (word > 1 || (this.statusBits & STATUS_FEATURES_OK) !== 0) return;
    this.accepted[word] = (bits & (this.offered[word] ?? 0)) >>> 0;
  }

  has(feature: number): boolean {
    return (((this.accepted[feature >> 5] ?? 0) >>> (feature & 31)) & 1) !== 0;
  }

  get status(): number {
    return this.statusBits === 0 && this.strays > 0 ? this.strayStatus : this.statusBits;
  }

  /** Status register; `legacy` drivers know no FEATURES_OK. */
  setStatus(value: number, legacy: boolean): void {
    if (value === 0) {
      this.reset();
      return;
    }
    let bits = value & 0xff;
    // A driver that speaks the modern interface must know it.
    if ((bits & STATUS_FEATURES_OK) !== 0 && !legacy && !this.has(F_VERSION_1)) bits &= ~STATUS_FEATURES_OK;
    this.statusBits = bits | (this.statusBits & STATUS_NEEDS_RESET);
  }

  /** Puts a queue into service. What is wrong with it stops the device. */
  enableQueue(index: number): void {
    const queue = this.queues[index];
    if (queue === undefined || queue.enabled) return;
    this.guarded(() => {
      if (queue.size === 0) throw new RingError(`queue ${index} has no places`);
      this.makeRing(queue);
      queue.enabled = true;
    });
  }

  disableQueue(index: number): void {
    const queue = this.queues[index];
    if (queue === undefined) return;
    this.strays += queue.taken.size;
    queue.reset(this.model.queueSize);
  }

  /** The driver notified a queue. */
  kick(index: number): void {
    // GUEST: the index is any number; queues that do not exist or are not set up are left alone.
    const queue = this.queues[index];
    if (queue?.ring === undefined || !this.running) return;
    this.model.notified(index);
  }

  reset(): void {
    const shown = this.status;
    for (const queue of this.queues) this.strays += queue.taken.size;
    this.strayStatus = shown;
    this.clear();
    this.model.reset();
  }

  // ---- for models ----

  get running(): boolean {
    return (this.statusBits & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET)) === STATUS_DRIVER_OK;
  }

  /** The driver's next buffer, undefined when there is none (or the driver broke the queue). */
  pop(index: number): QueueElement | undefined {
    const queue = this.queues[index];
    if (queue?.ring === undefined || !this.running) return undefined;
    return this.guarded(() => {
      const element = queue.ring?.pop();
      if (element !== undefined) queue.taken.add(element);
      return element;
    });
  }

  /** Gives a buffer back with `written` new bytes; from before a reset, it is only forgotten. */
  push(index: number, element: QueueElement, written: number): void {
    const queue = this.queues[index];
    for (const { address, bytes } of element.intoSegments) this.memory.written(address, bytes);
    if (queue?.ring === undefined || !queue.taken.delete(element)) {
      if (this.strays > 0) this.strays--;
      return;
    }
    if (queue.ring.push(element, written)) this.interrupts.queue(index);
  }

  /** A buffer that breaks the rules is not given back. */
  reject(index: number, element: QueueElement, reason: string): void {
    this.queues[index]?.taken.delete(element);
    this.fail(reason);
  }

  /** The device changed its configuration. */
  configChanged(): void {
    this.configGeneration = (this.configGeneration + 1) & 0xff;
    if (this.running) this.interrupts.config();
  }

  /** The driver broke a rule: nothing is done any more until it resets the device (2.1.2). */
  fail(reason: string): void {
    this.log.guestError(`${this.model.name}: ${reason}`);
    const told = (this.statusBits & STATUS_DRIVER_OK) !== 0;
    this.statusBits |= STATUS_NEEDS_RESET;
    if (told) this.interrupts.config();
  }

  // ---- saved state ----

  save(): SavedState {
    return {
      kind: 'virtio',
      version: 1,
      fields: {
        status: this.statusBits,
        features: [...this.accepted],
        queues: this.queues.map((queue): StateFields => ({
          size: queue.size,
          enabled: queue.enabled,
          addresses: [...queue.addresses],
          ring: queue.ring?.save() ?? null,
          // What is under way is done again after loading.
          taken: [...queue.taken].map((element): StateFields => ({
            id: element.id,
            places: element.places,
            out: element.outSegments.flatMap(({ address, bytes }) => [address, bytes]),
            into: element.intoSegments.flatMap(({ address, bytes }) => [address, bytes]),
          })),
        })),
      },
    };
  }

  /** Gives back the buffers that were under way, which the model does again. */
  load(state: SavedState): { readonly queue: number; readonly element: QueueElement }[] {
    const reader = new StateReader(state, 'virtio', 1);
    this.reset();
    this.accepted.set(reader.numbers('features', 0xffffffff, 2));
    this.statusBits = reader.u8('status');
    const again: { queue: number; element: QueueElement }[] = [];
    reader.list('queues', this.queues.length).forEach((fields, index) => {
      const saved = new StateReader({ kind: 'virtio-queue', version: 1, fields }, 'virtio-queue', 1);
      // INVARIANT: as many as there are queues.
      const queue = this.queues[index]!;
      queue.size = saved.integer('size', this.model.queueSize);
      queue.addresses.set(saved.numbers('addresses', 0xffffffff, 6));
      queue.enabled = saved.bool('enabled');
      if (!queue.enabled) return;
      this.guarded(() => {
        this.makeRing(queue);
        queue.ring?.load(saved.fieldsOf('ring'));
        for (const taken of saved.list('taken')) {
          const element = this.rebuild(
            new StateReader({ kind: 'virtio-buffer', version: 1, fields: taken }, 'virtio-buffer', 1),
          );
          queue.taken.add(element);
          again.push({ queue: index, element });
        }
      });
    });
    return again;
  }

  private rebuild(saved: StateReader): QueueElement {
    const builder = new ElementBuilder(this.memory);
    for (const [name, write] of [
      ['out', false],
      ['into', true],
    ] as const) {
      for (const { address, bytes } of pairs(saved.numbers(name, 2 ** 52))) builder.add(address, bytes, write);
    }
    return builder.finish(saved.u16('id'), saved.u16('places'));
  }

  private makeRing(queue: QueueRegisters): void {
    const addresses = {
      size: queue.size,
      descriptors: queue.address(0),
      driver: queue.address(1),
      device: queue.address(2),
      eventIndex: this.has(F_EVENT_INDEX),
    };
    queue.ring = this.has(F_RING_PACKED)
      ? new PackedQueue(this.memory, addresses)
      : new SplitQueue(this.memory, addresses);
  }

  private clear(): void {
    this.statusBits = 0;
    this.accepted.fill(0);
    for (const queue of this.queues) queue.reset(this.model.queueSize);
  }

  private guarded<Result>(action: () => Result): Result | undefined {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof RingError)) throw error;
      this.fail(error.message);
      return undefined;
    }
  }
}

function pairs(numbers: readonly number[]): Segment[] {
  return Array.from({ length: numbers.length >> 1 }, (_, i) => ({
    address: numbers[i * 2] ?? 0,
    bytes: numbers[i * 2 + 1] ?? 0,
  }));
}
