/** The drives of a machine: their devices where none was asked for, who has which, and what happens when one fails. */
import { UserError } from '../base/errors.ts';
import type { BlockError } from '../block/block-error.ts';
import { Drive, type DriveHost, type DriveOptions } from '../devices/storage/drive.ts';
import type { DeviceConfig, DriveConfig } from './config.ts';

const DRIVERS = { virtio: 'virtio-blk-pci', scsi: 'scsi-hd', cdrom: 'scsi-cd' } as const;

/** Devices for drives that name an interface; those with `none` wait for a device that names them. */
export function driveDevices(drives: readonly DriveConfig[]): DeviceConfig[] {
  const devices = drives.flatMap((drive): DeviceConfig[] => {
    const kind = drive.interface ?? 'virtio';
    if (kind === 'none') return [];
    const properties = { drive: drive.id, ...(drive.serial !== undefined && { serial: drive.serial }) };
    return [{ driver: DRIVERS[kind], properties }];
  });
  const scsi = devices.some(({ driver }) => driver !== DRIVERS.virtio);
  return scsi ? [{ driver: 'virtio-scsi-pci', properties: {} }, ...devices] : devices;
}

/** A drive as a monitor shows it. */
export interface DriveFacts {
  readonly id: string;
  /** The kind of device that has it. */
  readonly device: string | undefined;
  /** Undefined: there is no medium. */
  readonly filename: string | undefined;
  readonly format: string | undefined;
  readonly readOnly: boolean;
}

export class Drives implements DriveHost {
  pending = 0;
  /** Called with one sentence when a failed request stops the machine. */
  onStop: (message: string) => void = () => undefined;
  private readonly configs: ReadonlyMap<string, DriveConfig>;
  private readonly claimed = new Map<string, Drive>();
  /** Kinds of devices, by drive. */
  private readonly claimers = new Map<string, string>();
  private waiting: ((again: boolean) => void)[] = [];

  constructor(configs: readonly DriveConfig[]) {
    const byId = new Map<string, DriveConfig>();
    for (const config of configs) {
      if (byId.has(config.id)) throw new UserError(`-drive: there is a drive '${config.id}' already`);
      byId.set(config.id, config);
    }
    this.configs = byId;
  }

  /** The drive for a device; no other gets it. */
  claim(device: string, id: string, overrides: Partial<DriveOptions>): Drive {
    if (id === '') return new Drive({ id: device, node: undefined, ...overrides }, this);
    const config = this.configs.get(id);
    if (config === undefined) throw new UserError(`-device ${device}: there is no drive '${id}'`);
    if (this.claimed.has(id)) throw new UserError(`-device ${device}: drive '${id}' belongs to another device`);
    const drive = new Drive({ ...config, ...overrides }, this);
    this.claimed.set(id, drive);
    this.claimers.set(id, device);
    return drive;
  }

  /** What there is, for people. */
  list(): DriveFacts[] {
    return [...this.configs.values()].map(({ id, node, readOnly }) => ({
      id,
      device: this.claimers.get(id),
      filename: node?.filename,
      format: node?.driver,
      readOnly: readOnly === true || node?.readOnly === true,
    }));
  }

  stopForError(drive: string, error: BlockError): Promise<boolean> {
    const again = new Promise<boolean>((resolve) => this.waiting.push(resolve));
    this.onStop(`drive '${drive}': ${error.message}; the machine is stopped until it is told to go on`);
    return again;
  }

  /** Requests that wait after an error are done again, or given up. */
  release(again: boolean): void {
    for (const resolve of this.waiting.splice(0)) resolve(again);
  }

  /** Gives up what waits and resolves when nothing is under way any more. */
  async drain(): Promise<void> {
    this.release(false);
    await Promise.all([...this.claimed.values()].map((drive) => drive.drain()));
  }

  get any(): boolean {
    return this.configs.size > 0;
  }
}
