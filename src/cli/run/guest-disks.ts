/** The disks of `orrery run --disk`: made when they do not exist; /init mounts them where their serial number says. */
import { existsSync } from 'node:fs';
import { UserError } from '../../base/errors.ts';
import { DISK_SERIAL_PREFIX } from '../../host/node/assets/guest-root.ts';
import { type DiskWrite, ext4Writes, MIN_EXT4_BYTES } from '../../machine/ext4.ts';
import { driveOf } from '../system/storage/drive-option.ts';
import type { MachineStorage } from '../system/storage/machine-storage.ts';

const MIN_DISK_BYTES = 1024 ** 2;
const SECTOR_BYTES = 512;

/**
 * Opens the images; undefined when there are none. `interactive`: there is somebody who can make space on a full disk of the host and let
 * the guest go on; otherwise the guest is told of the error.
 */
export async function openGuestDisks(
  files: readonly string[],
  newBytes: number,
  interactive: boolean,
): Promise<MachineStorage | undefined> {
  if (files.length === 0) return undefined;
  if (newBytes < MIN_DISK_BYTES || newBytes % SECTOR_BYTES !== 0)
    throw new UserError(`--disk-size: ${newBytes} bytes are not whole sectors of ${SECTOR_BYTES}, 1 MiB at least`);
  const { MachineStorage: Storage } = await import('../system/storage/machine-storage.ts');
  for (const file of files) if (!existsSync(file)) await Storage.createImage(file, newBytes, fileSystem(newBytes));
  const drives = files.map((file, index) => {
    const place = `disk${index === 0 ? '' : index}`;
    const properties = { file, if: 'virtio', id: place, serial: DISK_SERIAL_PREFIX + place };
    // Any other name says nothing of what is in the file.
    const format = file.endsWith('.raw') ? { format: 'raw' } : {};
    const policy = { discard: 'unmap', 'detect-zeroes': 'unmap', werror: interactive ? 'enospc' : 'report' };
    return driveOf(`--disk ${file}`, new Map(Object.entries({ ...properties, ...format, ...policy })));
  });
  return Storage.open({ drives, blockdevs: [], objects: [], snapshot: false }, (sentence) => {
    process.stderr.write(`orrery: warning: ${sentence}\n`);
  });
}

/** A new disk has a file system; on one that is too small for it, the guest makes another. */
function fileSystem(sizeBytes: number): Iterable<DiskWrite> {
  if (sizeBytes < MIN_EXT4_BYTES) return [];
  return ext4Writes({ sizeBytes, uuid: randomUuid(), time: Math.floor(Date.now() / 1000) });
}

/** Version 4 (RFC 9562, 5.4). */
function randomUuid(): Uint8Array {
  return Uint8Array.from(Buffer.from(crypto.randomUUID().replaceAll('-', ''), 'hex'));
}
