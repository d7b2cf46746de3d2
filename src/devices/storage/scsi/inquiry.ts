/** INQUIRY (SPC-4, 6.6): what a unit is, and its vital product data pages. */
import { asciiBytes, ByteBuilder, viewOf } from '../../../base/bytes.ts';
import { type DiskUnit, MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS } from './disk-unit.ts';
import { ASC_INVALID_FIELD, SENSE_ILLEGAL_REQUEST, SenseError } from './scsi-target.ts';

const TYPE_DISK = 0x00;
const TYPE_CDROM = 0x05;
const EVPD = 0x01;

export function inquiry(disk: DiskUnit, cdb: Uint8Array): Uint8Array {
  const page = cdb[2] ?? 0;
  if (((cdb[1] ?? 0) & EVPD) !== 0) return vitalData(disk, page);
  if (page !== 0) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
  const { cdrom, vendor, product, version } = disk.options;
  return new ByteBuilder()
    .u8(cdrom ? TYPE_CDROM : TYPE_DISK)
    .u8(cdrom ? 0x80 : 0) // removable
    .u8(0x05) // SPC-3
    .u8(0x12) // hierarchical units, response format 2
    .u8(36 - 5)
    .u8(0)
    .u8(0)
    .u8(0x02) // command queueing
    .text(vendor, 8, 0x20)
    .text(product, 16, 0x20)
    .text(version, 4, 0x20)
    .build();
}

function vitalData(disk: DiskUnit, page: number): Uint8Array {
  const { cdrom, serial } = disk.options;
  const pages = [0x00, ...(serial === '' ? [] : [0x80]), 0x83, ...(cdrom ? [] : [0xb0, 0xb1, 0xb2])];
  const type = cdrom ? TYPE_CDROM : TYPE_DISK;
  const withHeader = (body: Uint8Array): Uint8Array =>
    new ByteBuilder().u8(type).u8(page).u8(body.length >> 8).u8(body.length & 0xff).raw(body).build(); // prettier-ignore
  if (!pages.includes(page)) throw new SenseError(SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
  switch (page) {
    case 0x00:
      return withHeader(Uint8Array.from(pages));
    case 0x80:
      return withHeader(asciiBytes(serial.slice(0, 36)));
    case 0x83: {
      const name = asciiBytes((serial || disk.options.product).slice(0, 36));
      // ASCII, vendor's own, about the unit
      return withHeader(new ByteBuilder().u8(0x02).u8(0).u8(0).u8(name.length).raw(name).build());
    }
    case 0xb0:
      return withHeader(blockLimits(disk));
    case 0xb1: {
      const body = new Uint8Array(60);
      body[1] = 1; // does not rotate
      return withHeader(body);
    }
    default:
      // UNMAP, WRITE SAME (16) and (10) with UNMAP; thin provisioned
      return withHeader(Uint8Array.of(0, disk.discards ? 0xe0 : 0, disk.discards ? 2 : 0, 0));
  }
}

function blockLimits(disk: DiskUnit): Uint8Array {
  const body = new Uint8Array(60);
  const view = viewOf(body);
  if (disk.discards) {
    view.setUint32(16, MAX_UNMAP_BLOCKS);
    view.setUint32(20, MAX_UNMAP_DESCRIPTORS);
    view.setUint32(24, disk.options.physicalBlockBytes / disk.blockBytes); // granularity
  }
  view.setUint32(36, MAX_UNMAP_BLOCKS); // WRITE SAME, upper half at 32
  return body;
}
