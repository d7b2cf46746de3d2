/**
 * The door for pages and workers. The page must be cross-origin isolated (COOP `same-origin`, COEP `require-corp`), since guest
 * memory is shared memory.
 *
 *     import { Machine } from 'orrery';
 *     const machine = await Machine.create({ kernel, initrd, commandLine: 'console=ttyS0' });
 *     machine.start();
 */
import {
  BlockGraph, createImage as createImageOn, type DiskImage, type GraphOptions, type NewImageOptions, type NodeOptions,
  openImage as openImageOn, type OpenImageOptions,
} from './block/index.ts'; // prettier-ignore
import { browserBlockHost, type NamedFiles } from './host/browser/block/host.ts';
import { browserHostServices } from './host/browser/services.ts';
import { UserError } from './base/errors.ts';
import type { MachineConfig } from './machine/config.ts';
import type { HostServices } from './machine/host-services.ts';
import { Machine as AnyMachine } from './machine/machine.ts';

export * from './index.ts';
export { browserBlockHost, type NamedFiles } from './host/browser/block/host.ts';

/** A virtual PC that runs in this page or worker. */
export class Machine extends AnyMachine {
  /** See the base class; `host` is this page unless given. */
  static override create(config: MachineConfig, host: HostServices = browserHostServices): Promise<Machine> {
    if (!globalThis.crossOriginIsolated) {
      return Promise.reject(
        new UserError(
          'guest memory is shared memory: serve the page with the headers COOP same-origin and COEP require-corp',
        ),
      );
    }
    return AnyMachine.create(config, host);
  }
}

/** What the program calls files that it has, beside the paths of the origin's private file system. */
export interface FilesOfPage {
  readonly files?: NamedFiles;
}

/**
 * Opens a disk image: a path in the origin's private file system, `https://…`, a name of `files` (images on images: give all of
 * them), the options of a node, or a file that the user has picked. In a worker private files are read and written in place; in a page
 * itself writing costs a copy of the file at each flush.
 *
 *     await using image = await openImage(input.files[0]);
 *     const sector = await image.read(0, 512);
 *
 * @throws {ImageError} in one sentence, for what is no image or must not be used.
 */
export function openImage(
  what: string | NodeOptions | Blob | FileSystemFileHandle,
  { files = {}, ...options }: OpenImageOptions & FilesOfPage = {},
): Promise<DiskImage> {
  if (what instanceof Blob) {
    const name = what instanceof File ? what.name : 'image';
    return openImageOn(browserBlockHost({ ...files, [name]: what }), name, { readOnly: true, ...options });
  }
  if (typeof FileSystemFileHandle !== 'undefined' && what instanceof FileSystemFileHandle)
    return openImageOn(browserBlockHost({ ...files, [what.name]: what }), what.name, options);
  // INVARIANT: TypeScript does not see that handles went the other way.
  return openImageOn(browserBlockHost(files), what as string | NodeOptions, options);
}

/** Writes an empty image into the origin's private file system, or a file of `files`, and opens it. */
export function createImage(
  image: NewImageOptions,
  { files = {}, ...openOptions }: Omit<OpenImageOptions, 'format'> & FilesOfPage = {},
): Promise<DiskImage> {
  return createImageOn(browserBlockHost(files), image, openOptions);
}

/** An empty graph, whose files are those of the origin's private file system and of `files`. */
export function createGraph({ files = {}, ...options }: GraphOptions & FilesOfPage = {}): BlockGraph {
  return new BlockGraph(browserBlockHost(files), options);
}
