/**
 * virtio-scsi: a SCSI host adapter (Virtio 1.2, 5.6). Queue 0 takes task management, queue 1 events (of which there are none: nothing is
 * plugged in while the machine runs), the others commands.
 */
import { ByteBuilder, viewOf } from '../../base/bytes.ts';
import { type IoVector, scatter, sliceVector, vectorBytes } from '../../block/io-vector.ts';
import { MAX_LUN, MAX_TARGET, type ScsiBus } from '../storage/scsi/scsi-bus.ts';
import type { StateFields, StateReader } from '../../state/state.ts';
import type { VirtioCore } from './virtio-core.ts';
import type { PluggableModel } from './virtio-kind.ts';
import type { QueueElement } from './virtqueue.ts';

const F_INOUT = 0;

const CONTROL_QUEUE = 0;
const EVENT_QUEUE = 1;
const FIRST_REQUEST_QUEUE = 2;

const DEFAULT_CDB_BYTES = 32;
const DEFAULT_SENSE_BYTES = 96;
/** Longest that a driver may make the two. */
const MAX_CDB_BYTES = 255;
const MAX_SENSE_BYTES = 252;
/** lun u8[8], id u64, task_attr u8, prio u8, crn u8 */
const REQUEST_BYTES = 19;
/** sense_len u32, residual u32, status_qualifier u16, status u8, response u8 */
const RESPONSE_BYTES = 12;
const CONFIG_BYTES = 36;
const CONFIG_SENSE = 20;
const CONFIG_CDB = 24;

const S_OK = 0;
const S_OVERRUN = 1;
const S_BAD_TARGET = 3;
const S_FAILURE = 9;
const S_FUNCTION_SUCCEEDED = 10;
const S_FUNCTION_REJECTED = 11;
const S_INCORRECT_LUN = 12;

const T_TMF = 0;
const T_AN_QUERY = 1;
const T_AN_SUBSCRIBE = 2;
const TMF_ABORT_TASK = 0;
const TMF_ABORT_TASK_SET = 1;
const TMF_CLEAR_TASK_SET = 3;
const TMF_I_T_NEXUS_RESET = 4;
const TMF_LOGICAL_UNIT_RESET = 5;
const TMF_QUERY_TASK = 6;
const TMF_QUERY_TASK_SET = 7;
const TMF_BYTES = 24;
const AN_BYTES = 16;

export interface VirtioScsiOptions {
  readonly bus: ScsiBus;
  readonly queues: number;
  readonly queueSize: number;
}

export class VirtioScsi implements PluggableModel {
  readonly name: string = 'virtio-scsi';
  readonly deviceId: number = 8;
  readonly queueCount: number;
  readonly queueSize: number;
  readonly features: readonly number[] = [F_INOUT];
  readonly configBytes: number = CONFIG_BYTES;
  private cdbBytes: number = DEFAULT_CDB_BYTES;
  private senseBytes: number = DEFAULT_SENSE_BYTES;
  private readonly options: VirtioScsiOptions;
  private readonly bus: ScsiBus;
  private core: VirtioCore | undefined;
  /** Commands under way, by target and LUN. */
  private readonly active: Map<string, Set<Promise<void>>> = new Map();

  constructor(options: VirtioScsiOptions) {
    this.options = options;
    this.bus = options.bus;
    this.queueCount = FIRST_REQUEST_QUEUE + options.queues;
    this.queueSize = options.queueSize;
  }

  connect(core: VirtioCore): void {
    this.core = core;
  }

  reset(): void {
    this.cdbBytes = DEFAULT_CDB_BYTES;
    this.senseBytes = DEFAULT_SENSE_BYTES;
    for (const unit of this.bus.all()) unit.reset();
  }

  readConfig(offset: number, size: number): number {
    const config = new ByteBuilder()
      .u32(this.options.queues)
      .u32(this.queueSize - 2)
      .u32(0xffff) // sectors in a command
      .u32(128) // commands a unit
      .u32(16) // event_info_size
      .u32(this.senseBytes)
      .u32(this.cdbBytes)
      .u8(0)
      .u8(0)
      .u8(MAX_TARGET)
      .u8(0)
      .u32(MAX_LUN)
      .build();
    const view = viewOf(config);
    if (size === 4) return view.getUint32(offset, true);
    return size === 2 ? view.getUint16(offset, true) : view.getUint8(offset);
  }

  writeConfig(offset: number, size: number, value: number): void {
    // GUEST: sizes within what a command can have; others are left as they are.
    if (size !== 4) return;
    if (offset === CONFIG_SENSE && value <= MAX_SENSE_BYTES) this.senseBytes = value;
    if (offset === CONFIG_CDB && value >= 16 && value <= MAX_CDB_BYTES) this.cdbBytes = value;
  }

  saveFields(): StateFields {
    return { cdbBytes: this.cdbBytes, senseBytes: this.senseBytes };
  }

  loadFields(reader: StateReader): void {
    this.writeConfig(CONFIG_CDB, 4, reader.u8('cdbBytes'));
    this.writeConfig(CONFIG_SENSE, 4, reader.u8('senseBytes'));
  }

  notified(queue: number): void {
    // Buffers for events stay where they are.
    if (queue === EVENT_QUEUE) return;
    for (;;) {
      const element = this.core?.pop(queue);
      if (element === undefined) return;
      this.start(queue, element);
    }
  }

  /** Begins what a buffer asks for. */
  start(queue: number, element: QueueElement): void {
    if (queue === CONTROL_QUEUE) this.control(element);
    else this.command(queue, element);
  }

  private command(queue: number, element: QueueElement): void {
    const outBytes = vectorBytes(element.out);
    const intoBytes = vectorBytes(element.into);
    const headBytes = REQUEST_BYTES + this.cdbBytes;
    const tailBytes = RESPONSE_BYTES + this.senseBytes;
    if (outBytes < headBytes || intoBytes < tailBytes) {
      this.core?.reject(queue, element, 'a command without header or response');
      return;
    }
    const head = new Uint8Array(headBytes);
    gatherInto(head, sliceVector(element.out, 0, headBytes));
    const out = sliceVector(element.out, headBytes, outBytes - headBytes);
    const into = sliceVector(element.into, tailBytes, intoBytes - tailBytes);
    const place = unitOf(head);
    const finish = (response: number, status = 0, sense: Uint8Array = new Uint8Array(0), residual = 0): void => {
      const kept = sense.subarray(0, this.senseBytes);
      const reply = new ByteBuilder().u32(kept.length).u32(residual).u16(0).u8(status).u8(response).raw(kept);
      scatter(reply.build(), element.into);
      this.core?.push(queue, element, intoBytes);
    };
    if (place === undefined) {
      finish(S_INCORRECT_LUN);
      return;
    }
    const cdb = new Uint8Array(Math.max(16, this.cdbBytes));
    cdb.set(head.subarray(REQUEST_BYTES));
    const result = this.bus.execute(place.target, place.lun, { cdb, out, into });
    if (result === undefined) {
      finish(S_BAD_TARGET);
      return;
    }
    const room = Math.max(vectorBytes(out), vectorBytes(into));
    const done = result.then(
      ({ status, sense, transferred }) => {
        const overrun = status === 0 && transferred > room;
        finish(overrun ? S_OVERRUN : S_OK, status, sense, Math.max(0, room - transferred));
      },
      () => finish(S_FAILURE),
    );
    this.track(place, done);
  }

  private track(place: { target: number; lun: number }, done: Promise<void>): void {
    const key = `${place.target}:${place.lun}`;
    const set = this.active.get(key) ?? new Set<Promise<void>>();
    this.active.set(key, set);
    const tracked = done.finally(() => set.delete(tracked));
    set.add(tracked);
  }

  /** Commands cannot be taken back: what asks for that waits until they are done. */
  private control(element: QueueElement): void {
    const request = new Uint8Array(Math.min(TMF_BYTES, vectorBytes(element.out)));
    gatherInto(request, sliceVector(element.out, 0, request.length));
    const finish = (reply: Uint8Array): void => {
      const bytes = Math.min(reply.length, vectorBytes(element.into));
      scatter(reply.subarray(0, bytes), element.into);
      this.core?.push(CONTROL_QUEUE, element, bytes);
    };
    const type = request.length >= 4 ? viewOf(request).getUint32(0, true) : -1;
    if ((type === T_AN_QUERY || type === T_AN_SUBSCRIBE) && request.length >= AN_BYTES) {
      finish(Uint8Array.of(0, 0, 0, 0, S_OK));
      return;
    }
    if (type !== T_TMF || request.length < TMF_BYTES) {
      this.core?.reject(CONTROL_QUEUE, element, 'a control request of no known kind');
      return;
    }
    void this.manage(request).then((response) => finish(Uint8Array.of(response)));
  }

  private async manage(request: Uint8Array): Promise<number> {
    const place = unitOf(request.subarray(8));
    if (place === undefined) return S_INCORRECT_LUN;
    const unit = this.bus.unit(place.target, place.lun);
    const commands = this.active.get(`${place.target}:${place.lun}`) ?? new Set<Promise<void>>();
    switch (viewOf(request).getUint32(4, true)) {
      case TMF_ABORT_TASK:
      case TMF_ABORT_TASK_SET:
      case TMF_CLEAR_TASK_SET:
        if (unit === undefined) return S_INCORRECT_LUN;
        await Promise.all(commands);
        return S_OK;
      case TMF_LOGICAL_UNIT_RESET:
      case TMF_I_T_NEXUS_RESET:
        if (unit === undefined) return S_BAD_TARGET;
        await Promise.all(commands);
        unit.reset();
        return S_OK;
      case TMF_QUERY_TASK:
      case TMF_QUERY_TASK_SET:
        return commands.size > 0 ? S_FUNCTION_SUCCEEDED : S_OK;
      default:
        return S_FUNCTION_REJECTED;
    }
  }
}

/** Target and LUN from the eight bytes of 5.6.6.1; undefined for other addresses. */
function unitOf(address: Uint8Array): { target: number; lun: number } | undefined {
  const [format = 0, target = 0, high = 0, low = 0] = address;
  if (format !== 1 || (high & 0xc0) === 0x80 || high >> 6 === 3) return undefined;
  return { target, lun: ((high & 0x3f) << 8) | low };
}

function gatherInto(into: Uint8Array, vector: IoVector): void {
  let at = 0;
  for (const piece of vector) {
    into.set(piece, at);
    at += piece.length;
  }
}
