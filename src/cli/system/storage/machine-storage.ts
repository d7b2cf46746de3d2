/** The disks of one run: opens what the command line names, hands drives to the machine, and closes everything afterwards. */
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../../../base/errors.ts';
import { BlockError, ERRNO_TEXT, errnoOf } from '../../../block/block-error.ts';
import type { NodeOptions } from '../../../block/driver.ts';
import { BlockGraph, type OpenFlags } from '../../../block/graph.ts';
import type { BlockNode } from '../../../block/node.ts';
import { jsonFilename } from '../../../block/options.ts';
import { nodeBlockHost } from '../../../host/node/block/host.ts';
import type { DriveConfig } from '../../../machine/config.ts';
import { BlockObjects } from '../../block-objects.ts';
import type { DiskWrite } from '../../../machine/ext4.ts';
import { parseOptionList } from '../option-text.ts';
import type { DriveInterface, DriveRequest } from './drive-option.ts';
import type { BlockdevRequest, StorageRequest } from './storage-request.ts';

const GROUPS: readonly DriveInterface[] = ['default', 'virtio', 'scsi', 'none'];

export class MachineStorage {
  readonly drives: DriveConfig[] = [];
  private readonly graph: BlockGraph;
  private readonly opened: BlockNode[] = [];

  private constructor(graph: BlockGraph) {
    this.graph = graph;
  }

  /** @throws {UserError} for what cannot be opened; nothing stays open then. */
  static async open(request: StorageRequest, warn: (sentence: string) => void): Promise<MachineStorage> {
    const places = placeDrives(request.drives);
    const objects = new BlockObjects(nodeBlockHost, [...blockObjects(request.objects), ...limitGroups(places)]);
    const { secret, tlsCredentials, throttleGroup } = objects;
    const storage = new MachineStorage(new BlockGraph(nodeBlockHost, { warn, secret, tlsCredentials, throttleGroup }));
    try {
      for (const blockdev of request.blockdevs) await storage.addBlockdev(blockdev);
      const [onDefault] = places.filter(({ drive }) => drive.interface === 'default');
      if (onDefault !== undefined)
        warn(
          `${onDefault.drive.text}: this board has no IDE controller yet; disks without if= are virtio-blk (/dev/vda), CD-ROM drives are on virtio-scsi (/dev/sr0)`,
        );
      for (const { drive, id } of places) await storage.addDrive(drive, id, request.snapshot, warn);
      return storage;
    } catch (error) {
      await storage.close().catch(() => undefined);
      throw error;
    }
  }

  /** Makes an image that is empty but for `content`; nobody sees it before it is whole. @throws {UserError} */
  static async createImage(filename: string, size: number, content: Iterable<DiskWrite> = []): Promise<void> {
    const unfinished = `${filename}.new`;
    const format = /\.(raw|img)$/.test(filename) ? 'raw' : 'qcow2';
    const graph = new BlockGraph(nodeBlockHost);
    await graph.create({ format, filename: unfinished, size });
    const node = await graph.open(unfinished, { format });
    try {
      for (const { offset, bytes } of content) await node.write(offset, [bytes]);
      await node.flush();
    } finally {
      await graph.close(node);
    }
    await rename(unfinished, filename);
  }

  /** Everything that was written is on stable storage, and all files are closed. @throws {UserError} when that fails. */
  async close(): Promise<void> {
    const failures = new Set<string>();
    const failed = (node: BlockNode, error: unknown): void => {
      const why =
        error instanceof BlockError || error instanceof UserError ? error.message : ERRNO_TEXT[errnoOf(error)];
      failures.add(`${node.filename}: ${why}`);
    };
    for (const node of this.opened.splice(0).reverse()) {
      try {
        if (!node.readOnly) await node.flush();
      } catch (error) {
        failed(node, error);
      }
      await this.graph.close(node).catch((error: unknown) => failed(node, error));
    }
    if (failures.size > 0) throw new UserError(`what was written last may be lost: ${[...failures].join('; ')}`);
  }

  private async addBlockdev({ text, name, options }: BlockdevRequest): Promise<void> {
    const node = await this.openNode(text, options, {});
    const { discard } = options;
    this.drives.push({
      id: name,
      node,
      interface: 'none',
      discard: discard === 'unmap' || discard === 'on',
    });
  }

  private async addDrive(
    drive: DriveRequest,
    id: string,
    snapshot: boolean,
    warn: (text: string) => void,
  ): Promise<void> {
    const node = await this.driveNode(drive, id, drive.snapshot ?? (snapshot && !drive.readOnly), warn);
    const isCdrom = drive.cdrom && drive.interface !== 'virtio';
    const kind = drive.interface === 'default' ? 'virtio' : drive.interface;
    this.drives.push({
      id,
      node,
      interface: isCdrom && kind !== 'none' ? 'cdrom' : kind,
      readOnly: drive.readOnly,
      writeCache: drive.cache.writeback,
      discard: drive.discard,
      ...(drive.rerror !== undefined && { rerror: drive.rerror }),
      ...(drive.werror !== undefined && { werror: drive.werror }),
      ...(drive.serial !== undefined && { serial: drive.serial }),
    });
  }

  private async driveNode(
    drive: DriveRequest,
    id: string,
    snapshot: boolean,
    warn: (text: string) => void,
  ): Promise<BlockNode | undefined> {
    const { text, file, format, cache } = drive;
    const zeroes = drive.detectZeroes === 'off' ? {} : { 'detect-zeroes': drive.detectZeroes };
    const options = { ...drive.node, ...(!snapshot && zeroes) };
    const hasNode = Object.keys(options).length > 0;
    if (file === undefined && format === undefined && !hasNode) {
      if (drive.cdrom) return undefined;
      throw new UserError(`${text}: file= is missing`);
    }
    const flags: OpenFlags = {
      readOnly: drive.readOnly || snapshot,
      direct: cache.direct,
      noFlush: cache.noFlush,
      unmap: drive.discard,
      ...(format !== undefined && { format }),
    };
    const what = file !== undefined && !hasNode ? file : this.nodeOptions(file, options);
    const node = await this.openNode(text, what, flags);
    if (format === undefined && node.driver === 'raw' && !drive.readOnly && !snapshot)
      warn(
        `${text}: the format is not given and was taken for raw: writes that would turn the first sector into another format's header fail; format=raw allows them`,
      );
    return this.filtered(drive, id, snapshot ? await this.overlay(text, node, zeroes) : node);
  }

  /** Puts the filters that a drive asks for over its node. */
  private async filtered(drive: DriveRequest, id: string, node: BlockNode): Promise<BlockNode> {
    const { text, throttling, copyOnRead } = drive;
    let top = node;
    if (copyOnRead) top = await this.openNode(text, { driver: 'copy-on-read', file: top.name }, {});
    if (Object.keys(throttling).length === 0) return top;
    const group = throttling['group'] ?? id;
    return this.openNode(text, { driver: 'throttle', 'throttle-group': group, file: top.name }, {});
  }

  private nodeOptions(file: string | undefined, node: NodeOptions): NodeOptions {
    if (file === undefined) return node;
    const top = jsonFilename(file) ?? { file: this.graph.filenames.protocolOptions(file) };
    const below = { ...objectOption(top, 'file'), ...objectOption(node, 'file') };
    return { ...top, ...node, ...(Object.keys(below).length > 0 && { file: below }) };
  }

  /** A new image over `base` that takes the writes; its file has no name any more when this returns. */
  private async overlay(text: string, base: BlockNode, options: NodeOptions): Promise<BlockNode> {
    const folder = await mkdtemp(join(tmpdir(), 'orrery-snapshot-'));
    const filename = join(folder, 'overlay.qcow2');
    try {
      await this.graph.create({ format: 'qcow2', filename, size: base.size });
      const file = { driver: 'file', filename, locking: 'off' };
      const node = { driver: 'qcow2', file, backing: base.name, ...options };
      return await this.openNode(text, node, { noFlush: true, unmap: true });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  private async openNode(text: string, what: string | NodeOptions, flags: OpenFlags): Promise<BlockNode> {
    try {
      const node = await this.graph.open(what, flags);
      this.opened.push(node);
      return node;
    } catch (error) {
      throw error instanceof UserError ? new UserError(`${text}: ${error.message}`) : error;
    }
  }
}

/** What an option's parts are, none when it is a word. */
function objectOption(options: NodeOptions, name: string): NodeOptions {
  const value = options[name];
  // INVARIANT: an object that is no list.
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as NodeOptions) : {};
}

/** -object texts for the graph; what only tells threads apart is checked and left out. */
function blockObjects(texts: readonly string[]): string[] {
  return texts.filter((text) => {
    const { name, properties } = parseOptionList('object', text);
    if ((name ?? properties['qom-type']) !== 'iothread') return true;
    if (properties['id'] === undefined) throw new UserError(`-object ${text}: id= is missing`);
    return false;
  });
}

/** Limits of drives make groups: one of the drive's own, or the one that throttling.group names. */
function limitGroups(places: readonly PlacedDrive[]): string[] {
  const groups = new Map<string, string>();
  for (const { drive, id } of places) {
    const { group, ...limits } = drive.throttling;
    if (Object.keys(drive.throttling).length === 0) continue;
    const text = Object.entries(limits).map(([name, value]) => `,x-${name}=${value}`);
    groups.set(group ?? id, `throttle-group,id=${group ?? id}${text.join('')}`);
  }
  return [...groups.values()];
}

interface PlacedDrive {
  readonly drive: DriveRequest;
  readonly id: string;
}

/** The drives in the order of their places, each with an ID. */
function placeDrives(drives: readonly DriveRequest[]): PlacedDrive[] {
  return GROUPS.flatMap((group) => {
    const places = new Map<number, DriveRequest>();
    const members = drives.filter((drive) => drive.interface === group);
    for (const drive of members) {
      if (drive.index === undefined) continue;
      const other = places.get(drive.index);
      if (other !== undefined)
        throw new UserError(`${drive.text}: place ${drive.index} has the drive of ${other.text} already`);
      places.set(drive.index, drive);
    }
    let next = 0;
    for (const drive of members) {
      if (drive.index !== undefined) continue;
      while (places.has(next)) next++;
      places.set(next, drive);
    }
    return [...places]
      .sort(([a], [b]) => a - b)
      .map(([index, drive]) => ({ drive, id: drive.id ?? defaultId(drive, index) }));
  });
}

/** What QEMU calls a drive that nobody named. */
function defaultId({ interface: group, cdrom }: DriveRequest, index: number): string {
  const unit = cdrom ? 'cd' : 'hd';
  if (group === 'default') return `ide${index >> 1}-${unit}${index & 1}`;
  if (group === 'scsi') return `scsi${Math.floor(index / 7)}-${unit}${index % 7}`;
  return `${group}${index}`;
}
