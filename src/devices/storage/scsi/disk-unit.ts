/** What the parts of a SCSI disk or CD-ROM drive know of it: identity, medium, limits. */
import type { Drive } from '../drive.ts';

export interface ScsiDiskOptions {
  readonly drive: Drive;
  readonly cdrom: boolean;
  readonly blockBytes: number;
  readonly physicalBlockBytes: number;
  readonly serial: string;
  readonly vendor: string;
  readonly product: string;
  readonly version: string;
}

export interface DiskUnit {
  readonly options: ScsiDiskOptions;
  readonly blockBytes: number;
  readonly writeCache: boolean;
  readonly readOnly: boolean;
  /** There is a medium. */
  readonly ready: boolean;
  readonly blocks: number;
  readonly discards: boolean;
  /** Ends the command where there is no medium. */
  needMedium(): void;
}

/** Blocks that one UNMAP or WRITE SAME may name, and descriptors in one UNMAP. */
export const MAX_UNMAP_BLOCKS = 0x3fffff;
export const MAX_UNMAP_DESCRIPTORS = 255;
