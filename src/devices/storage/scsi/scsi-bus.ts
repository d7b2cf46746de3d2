/** A SCSI bus: units by target and LUN, and what is answered for those that are not there (SPC-4, 6.33; SAM-5, 4.7). */
import { UserError } from '../../../base/errors.ts';
import { scatter, vectorBytes } from '../../../block/io-vector.ts';
import { viewOf } from '../../../base/bytes.ts';
import {
  ASC_LUN_NOT_SUPPORTED,
  checkCondition,
  type ScsiCommand,
  type ScsiResult,
  type ScsiTarget,
  SENSE_ILLEGAL_REQUEST,
  STATUS_GOOD,
} from './scsi-target.ts';

export const MAX_TARGET = 255;
export const MAX_LUN = 16383;
const INQUIRY = 0x12;
const REPORT_LUNS = 0xa0;
const NO_UNIT_HERE = 0x7f;

export class ScsiBus {
  /** As devices name it: "scsi0.0". */
  readonly name: string;
  private readonly units: Map<number, Map<number, ScsiTarget>> = new Map();

  constructor(name: string) {
    this.name = name;
  }

  /** Puts a unit at a place; without a target number, at the first free one. */
  attach(device: string, unit: ScsiTarget, target: number | undefined, lun: number): void {
    const place = target ?? this.freeTarget();
    if (place > MAX_TARGET || lun > MAX_LUN)
      throw new UserError(`-device ${device}: there is no scsi-id ${place}, lun ${lun} on bus ${this.name}`);
    const luns = this.units.get(place) ?? new Map<number, ScsiTarget>();
    if (luns.has(lun))
      throw new UserError(`-device ${device}: scsi-id ${place}, lun ${lun} on bus ${this.name} is taken`);
    luns.set(lun, unit);
    this.units.set(place, luns);
  }

  /** Undefined where there is no such target. */
  execute(target: number, lun: number, command: ScsiCommand): Promise<ScsiResult> | undefined {
    const luns = this.units.get(target);
    if (luns === undefined) return undefined;
    const [opcode] = command.cdb;
    if (opcode === REPORT_LUNS)
      return Promise.resolve(answer(command, lunList([...luns.keys()]), viewOf(command.cdb).getUint32(6)));
    const unit = luns.get(lun);
    if (unit !== undefined) return unit.execute(command);
    if (opcode !== INQUIRY) return Promise.resolve(checkCondition(SENSE_ILLEGAL_REQUEST, ASC_LUN_NOT_SUPPORTED));
    const data = new Uint8Array(36);
    data.set([NO_UNIT_HERE, 0, 0x05, 0x12, 31]);
    return Promise.resolve(answer(command, data, viewOf(command.cdb).getUint16(3)));
  }

  /** The unit at a place. */
  unit(target: number, lun: number): ScsiTarget | undefined {
    return this.units.get(target)?.get(lun);
  }

  all(): ScsiTarget[] {
    return [...this.units.values()].flatMap((luns) => [...luns.values()]);
  }

  private freeTarget(): number {
    for (let target = 0; target <= MAX_TARGET; target++) if (!this.units.has(target)) return target;
    return MAX_TARGET + 1;
  }
}

function lunList(luns: readonly number[]): Uint8Array {
  const data = new Uint8Array(8 + luns.length * 8);
  const view = viewOf(data);
  view.setUint32(0, luns.length * 8);
  [...luns].sort((a, b) => a - b).forEach((lun, i) => view.setUint16(8 + i * 8, lun < 256 ? lun : 0x4000 | lun));
  return data;
}

function answer({ into }: ScsiCommand, data: Uint8Array, allocation: number): ScsiResult {
  const bytes = Math.min(data.length, allocation);
  scatter(data.subarray(0, Math.min(bytes, vectorBytes(into))), into);
  return { status: STATUS_GOOD, sense: new Uint8Array(0), transferred: bytes };
}
