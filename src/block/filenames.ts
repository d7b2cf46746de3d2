/** Names of images: which protocol they mean, and what a name inside an image is relative to. */
import { ImageError } from './block-error.ts';
import type { BlockDriver, NodeOptions } from './driver.ts';
import type { BlockHost } from './host.ts';
import { jsonFilename, textOption } from './options.ts';

export class Filenames {
  private readonly drivers: readonly BlockDriver[];
  private readonly host: BlockHost;

  constructor(drivers: readonly BlockDriver[], host: BlockHost) {
    this.drivers = drivers;
    this.host = host;
  }

  /** The options that a file name stands for, below any format. */
  protocolOptions(filename: string): NodeOptions {
    return jsonFilename(filename) ?? this.protocolOf(filename) ?? { driver: 'file', filename };
  }

  /** Path of the backing image that `image` would have with this name in it. */
  backingFilename(image: string, name: string): string {
    const path = this.relativeTo(image, name);
    if (image === '' && !name.startsWith('/') && path === name && !this.hasProtocol(name))
      throw new ImageError(`Cannot use relative backing file names for '${image}'`);
    return path;
  }

  /** A file name in an image: relative to the image's folder, unless it has a protocol or is absolute. */
  relativeTo(image: string, filename: string): string {
    if (this.hasProtocol(filename) || filename.startsWith('/') || image === '' || this.host.resolve === undefined)
      return filename;
    return this.host.resolve(this.underFilters(image), filename);
  }

  /** The file of a name like "blkdebug:rules:file". */
  private underFilters(name: string): string {
    const image = this.protocolOf(name)?.['image'];
    if (typeof image !== 'object' || image === null || Array.isArray(image)) return name;
    // INVARIANT: an object that is no list.
    return this.underFilters(textOption(image as NodeOptions, 'filename') ?? '');
  }

  private hasProtocol(filename: string): boolean {
    return filename.startsWith('json:') || this.protocolOf(filename) !== undefined;
  }

  /** What the one driver that knows such names makes of it. */
  private protocolOf(filename: string): NodeOptions | undefined {
    for (const driver of this.drivers) {
      const options = driver.parseFilename?.(filename);
      if (options !== undefined) return options;
    }
    return undefined;
  }
}

/** A path without the steps that go nowhere, to compare paths by. */
export function plainPath(path: string): string {
  return path.replace(/(^|\/)(?:\.\/)+/g, '$1');
}
