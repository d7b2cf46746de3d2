/**
 * Orrery in Node: `import { Machine } from 'orrery'`.
 *
 *     const machine = await Machine.create({ kernel, initrd, commandLine: 'console=ttyS0' });
 *     machine.start();
 *     for await (const bytes of machine.serial[0].readable) process.stdout.write(bytes);
 *     const { reason } = await machine.exited;
 */
import {
  BlockGraph, createImage as createImageOn, type DiskImage, type GraphOptions,
  type HostAddress, type NbdExportOptions, type NbdServer, type NbdServerOptions, type NewImageOptions, type NodeOptions,
  openImage as openImageOn, type OpenImageOptions, serveNbd as serveNbdOn,
} from './block/index.ts'; // prettier-ignore
import { nodeBlockHost } from './host/node/block/host.ts';
import { nodeHostServices } from './host/node/services.ts';
import type { MachineConfig } from './machine/config.ts';
import { Machine as PortableMachine } from './machine/machine.ts';

export * from './index.ts';
export { nodeBlockHost } from './host/node/block/host.ts';
export { nodeHostServices } from './host/node/services.ts';
export { guestAssets } from './host/node/assets/assets.ts';
export type { AssetManifest, AssetOptions, GuestArchitecture, GuestAssets } from './host/node/assets/assets.ts';

/** A virtual PC in this process. */
export type Machine = PortableMachine;

export const Machine: {
  /**
   * Makes a machine with its kernel loaded, not yet running.
   * @throws {UserError} for a configuration that cannot be, in one sentence.
   */
  create(config: MachineConfig): Promise<Machine>;
} = {
  create: (config) => PortableMachine.create(config, nodeHostServices),
};

/**
 * Opens a disk image: a file name (`a.qcow2`, `nbd://host/export`, `https://…`, `json:{…}`) or the options of a node in the names of
 * `-blockdev`. Its format is told by its content unless `format` says it.
 *
 *     await using image = await openImage('disk.qcow2', { readOnly: true });
 *     const sector = await image.read(0, 512);
 *
 * @throws {ImageError} in one sentence, for what is no image or must not be used.
 */
export function openImage(what: string | NodeOptions, options: OpenImageOptions = {}): Promise<DiskImage> {
  return openImageOn(nodeBlockHost, what, options);
}

/**
 * Writes an empty image and opens it; a file that is there already is overwritten.
 *
 *     await using image = await createImage({ filename: 'disk.qcow2', format: 'qcow2', size: 10 * 1024 ** 3 });
 */
export function createImage(
  image: NewImageOptions,
  openOptions: Omit<OpenImageOptions, 'format'> = {},
): Promise<DiskImage> {
  return createImageOn(nodeBlockHost, image, openOptions);
}

/** An empty graph, whose nodes are files, devices and connections of this host. */
export function createGraph(options: GraphOptions = {}): BlockGraph {
  return new BlockGraph(nodeBlockHost, options);
}

/**
 * Serves nodes over NBD: an image's `node`, any node of a graph, a running machine's disk.
 *
 *     await using server = await serveNbd({ type: 'unix', path: '/run/disk.sock' }, [{ name: 'disk', node: image.node }]);
 */
export function serveNbd(
  address: HostAddress,
  exports: readonly NbdExportOptions[],
  options: Omit<NbdServerOptions, 'host'> = {},
): Promise<NbdServer> {
  return serveNbdOn(address, exports, { host: nodeBlockHost, ...options });
}
