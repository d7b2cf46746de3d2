/** MODE SENSE (SPC-4, 6.11): caching for disks (SBC-3, 6.4.5), capabilities for CD-ROM drives (MMC-6 annex). */
import type { DiskUnit } from './disk-unit.ts';
import { ASC_INVALID_FIELD, SENSE_ILLEGAL_REQUEST, SenseError } from './scsi-target.ts';

const ALL_PAGES = 0x3f;
const CACHING = 0x08;
const CD_CAPABILITIES = 0x2a;
const ERROR_RECOVERY = 0x01;
const NO_BLOCK_DESCRIPTORS = 0x08;
const WRITE_PROTECTED = 0x80;
const DPO_FUA = 0x10;
/** Page control: which values are asked for. */
const CHANGEABLE = 1;
const SAVED = 3;

export function modePages(disk: DiskUnit, cdb: Uint8Array, long: boolean): Uint8Array {
  const page = (cdb[2] ?? 0) & 0x3f;
  const control = (cdb[2] ?? 0) >> 6;
  if (control === SAVED) throw new SenseError(SENSE_ILLEGAL_REQUEST, 0x3900); // saving parameters is not supported
  const { cdrom } = disk.options;
  const available = cdrom ? [ERROR_RECOVERY, CD_CAPABILITIES] : [ERROR_RECOVERY, CACHING];
  if (page !== ALL_PAGES && !available.includes(page)) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
  const wanted = page === ALL_PAGES ? available : [page];
  const body = wanted.flatMap((number) => [...modePage(disk, number, control === CHANGEABLE)]);
  const descriptor = cdrom || ((cdb[1] ?? 0) & NO_BLOCK_DESCRIPTORS) !== 0 ? [] : blockDescriptor(disk);
  const specific = cdrom ? 0 : (disk.readOnly ? WRITE_PROTECTED : 0) | DPO_FUA;
  const rest = descriptor.length + body.length;
  const header = long
    ? [(rest + 6) >> 8, (rest + 6) & 0xff, 0, specific, 0, 0, 0, descriptor.length]
    : [rest + 3, 0, specific, descriptor.length];
  return Uint8Array.from([...header, ...descriptor, ...body]);
}

function blockDescriptor(disk: DiskUnit): number[] {
  const blocks = Math.min(0xffffff, disk.blocks);
  const size = disk.blockBytes;
  return [0, blocks >> 16, (blocks >> 8) & 0xff, blocks & 0xff, 0, size >> 16, (size >> 8) & 0xff, size & 0xff];
}

function modePage(disk: DiskUnit, number: number, changeable: boolean): Uint8Array {
  if (number === CACHING) {
    const page = new Uint8Array(20);
    page.set([CACHING, 18, changeable || disk.writeCache ? 0x04 : 0]);
    return page;
  }
  if (number === ERROR_RECOVERY) {
    const page = new Uint8Array(12);
    page.set([ERROR_RECOVERY, 10, changeable ? 0 : 0x80]); // reallocates on writes
    return page;
  }
  const page = new Uint8Array(22);
  page.set([CD_CAPABILITIES, 20]);
  if (changeable) return page;
  page[2] = 0x3b; // reads CD-R, CD-RW, DVD-ROM, DVD-R, DVD-RAM
  page[6] = 0x28; // a tray that can be told to open
  page.set([0x02, 0xc2], 8); // 4x, in kB/s
  return page;
}
