/** What SCSI targets and host adapters say to each other (SAM-5, SPC-4): commands, status, sense data. */
import type { IoVector } from '../../../block/io-vector.ts';

export const STATUS_GOOD = 0x00;
export const STATUS_CHECK_CONDITION = 0x02;

export const SENSE_NOT_READY = 0x2;
export const SENSE_MEDIUM_ERROR = 0x3;
export const SENSE_HARDWARE_ERROR = 0x4;
export const SENSE_ILLEGAL_REQUEST = 0x5;
export const SENSE_UNIT_ATTENTION = 0x6;
export const SENSE_DATA_PROTECT = 0x7;

// Additional sense codes, with their qualifiers
export const ASC_INVALID_OPCODE = 0x2000;
export const ASC_LBA_OUT_OF_RANGE = 0x2100;
export const ASC_INVALID_FIELD = 0x2400;
export const ASC_PARAMETER_LENGTH = 0x1a00;
export const ASC_INVALID_PARAMETER = 0x2600;
export const ASC_LUN_NOT_SUPPORTED = 0x2500;
export const ASC_WRITE_PROTECTED = 0x2700;
export const ASC_POWER_ON = 0x2900;
export const ASC_NO_MEDIUM = 0x3a00;
export const ASC_READ_ERROR = 0x1100;
export const ASC_WRITE_ERROR = 0x0c00;
export const ASC_SPACE_ALLOCATION_FAILED = 0x2707;

export interface ScsiCommand {
  /** 16 bytes at least. */
  readonly cdb: Uint8Array;
  /** Data from the initiator, and room for data to it. */
  readonly out: IoVector;
  readonly into: IoVector;
}

export interface ScsiResult {
  readonly status: number;
  readonly sense: Uint8Array;
  /** Bytes of data that were moved, or would have been had there been room. */
  readonly transferred: number;
}

export interface ScsiTarget {
  execute(command: ScsiCommand): Promise<ScsiResult>;
  reset(): void;
}

/** A command that ends in CHECK CONDITION. */
export class SenseError extends Error {
  readonly key: number;
  readonly code: number;

  constructor(key: number, code: number) {
    super(`sense ${key.toString(16)}/${code.toString(16)}`);
    this.key = key;
    this.code = code;
  }
}

/** Fixed format sense data (SPC-4, 4.5.3). */
export function senseData(key: number, code: number): Uint8Array {
  const sense = new Uint8Array(18);
  sense.set([0x70, 0, key], 0);
  sense[7] = sense.length - 8;
  sense.set([code >> 8, code & 0xff], 12);
  return sense;
}

export function checkCondition(key: number, code: number): ScsiResult {
  return { status: STATUS_CHECK_CONDITION, sense: senseData(key, code), transferred: 0 };
}
