/** What a command line says about disks, before anything is opened. */
import type { NodeOptions } from '../../../block/driver.ts';
import type { DriveRequest } from './drive-option.ts';

export interface StorageRequest {
  readonly drives: DriveRequest[];
  readonly blockdevs: BlockdevRequest[];
  /** Values of -object. */
  readonly objects: string[];
  /** -snapshot: drives keep nothing of what is written. */
  snapshot: boolean;
}

export interface BlockdevRequest {
  readonly text: string;
  readonly name: string;
  readonly options: NodeOptions;
}

export function noStorage(): StorageRequest {
  return { drives: [], blockdevs: [], objects: [], snapshot: false };
}
