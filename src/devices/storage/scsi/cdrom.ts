/** What CD-ROM drives know beyond disks (MMC-6): table of contents, features, events, disc information. One data track. */
import { viewOf } from '../../../base/bytes.ts';
import type { DiskUnit } from './disk-unit.ts';
import { ASC_INVALID_FIELD, SENSE_ILLEGAL_REQUEST, SenseError } from './scsi-target.ts';

const LEAD_OUT = 0xaa;
const DATA_TRACK = 0x14;
const FRAMES_PER_SECOND = 75;
/** Two seconds lie before block 0. */
const PREGAP_FRAMES = 150;
const MSF = 0x02;
const PROFILE_CD_ROM = 0x0008;
const PROFILE_DVD_ROM = 0x0010;
/** More blocks than a CD has make it a DVD. */
const CD_BLOCKS = 80 * 60 * FRAMES_PER_SECOND;

/** The answer to a command of MMC's; undefined for one that there is not. */
export function cdromReply(disk: DiskUnit, cdb: Uint8Array): Uint8Array | undefined {
  switch (cdb[0]) {
    case 0x43:
      disk.needMedium();
      return tableOfContents(disk, cdb);
    case 0x46:
      return configuration(disk, cdb);
    case 0x4a:
      return eventStatus(disk, cdb);
    case 0x51: {
      disk.needMedium();
      const data = new Uint8Array(34);
      data.set([0, 32, 0x0e, 1, 1, 1, 1, 0x20]); // complete, finalised, one track in one session, for any use
      return data;
    }
    default:
      return undefined;
  }
}

function tableOfContents(disk: DiskUnit, cdb: Uint8Array): Uint8Array {
  const msf = ((cdb[1] ?? 0) & MSF) !== 0;
  const format = (cdb[2] ?? 0) & 0x0f || (cdb[9] ?? 0) >> 6;
  const first = cdb[6] ?? 0;
  const entry = (track: number, block: number): number[] => [0, DATA_TRACK, track, 0, ...address(block, msf)];
  let entries: number[];
  if (format === 0) {
    // GUEST: the first track that is wanted is any number; there are 1 and the lead-out.
    if (first > 1 && first !== LEAD_OUT) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
    entries = [...(first <= 1 ? entry(1, 0) : []), ...entry(LEAD_OUT, disk.blocks)];
  } else if (format === 1) entries = entry(1, 0);
  else throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
  const length = entries.length + 2;
  return Uint8Array.from([length >> 8, length & 0xff, 1, 1, ...entries]);
}

function address(block: number, msf: boolean): number[] {
  if (!msf) return [(block >>> 24) & 0xff, (block >>> 16) & 0xff, (block >>> 8) & 0xff, block & 0xff];
  const frames = block + PREGAP_FRAMES;
  const seconds = Math.floor(frames / FRAMES_PER_SECOND);
  return [0, Math.min(255, Math.floor(seconds / 60)), seconds % 60, frames % FRAMES_PER_SECOND];
}

function configuration(disk: DiskUnit, cdb: Uint8Array): Uint8Array {
  const wanted = cdb[1] ?? 0;
  const from = viewOf(cdb).getUint16(2);
  let profile = 0;
  if (disk.ready) profile = disk.blocks > CD_BLOCKS ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
  const features: [number, number[]][] = [
    [0x0000, [0, 0, 0x03, 8, 0, 0x10, Number(profile === PROFILE_DVD_ROM), 0, 0, 0x08, Number(profile === PROFILE_CD_ROM), 0]],
    [0x0001, [0, 1, 0x07, 8, 0, 0, 0, 1, 1, 0, 0, 0]], // core, over SCSI
    [0x0003, [0, 3, 0x03, 4, 0x29, 0, 0, 0]], // removable: tray, ejects, locks
  ]; // prettier-ignore
  const chosen = features.filter(([number]) => ((wanted & 3) === 2 ? number === from : number >= from));
  const body = chosen.flatMap(([, bytes]) => bytes);
  return Uint8Array.from([0, 0, 0, body.length + 4, 0, 0, profile >> 8, profile & 0xff, ...body]);
}

/** Polled: the media class tells whether there is a disc. */
function eventStatus(disk: DiskUnit, cdb: Uint8Array): Uint8Array {
  if (((cdb[1] ?? 0) & 1) === 0) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
  const media = 1 << 4;
  if (((cdb[4] ?? 0) & media) === 0) return Uint8Array.of(0, 2, 0x80, media);
  return Uint8Array.of(0, 6, 4, media, 0, disk.ready ? 0x02 : 0, 0, 0);
}
