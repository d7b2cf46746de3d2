/** Names of images: which protocol they mean, and what a name inside an image is relative to. */
import { ImageError } from './block-error.ts';
import type { BlockDriver, NodeOptions } from './driver.ts';
import type { BlockHost } from './host.ts';
import type { JsonValue } from './node.ts';
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
    if (this.fileOf(image) === '' && !name.startsWith('/') && path === name && !this.hasProtocol(name))
      throw new ImageError(`Cannot use relative backing file names for '${image}'`);
    return path;
  }

  /** A file name in an image: relative to the image's folder, unless it has a protocol or is absolute. */
  relativeTo(image: string, filename: string): string {
    const base = this.fileOf(image);
    if (this.hasProtocol(filename) || filename.startsWith('/') || base === '' || this.host.resolve === undefined)
      return filename;
    return this.host.resolve(base, filename);
  }

  /** The file of a name like "blkdebug:rules:file" or "json:{…}"; empty when it does not say which. */
  private fileOf(name: string): string {
    const json = jsonFilename(name);
    if (json !== undefined) return this.fileOfOptions(json);
    const options = this.protocolOf(name);
    return isObject(options?.['image']) ? this.fileOfOptions(options) : name;
  }

  private fileOfOptions(options: NodeOptions): string {
    const below = options['file'] ?? options['image'];
    if (isObject(below)) return this.fileOfOptions(below);
    return this.fileOf(textOption(options, 'filename') ?? '');
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

function isObject(value: JsonValue | undefined): value is NodeOptions {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A path without the steps that go nowhere, to compare paths by. */
export function plainPath(path: string): string {
  return path.replace(/(^|\/)(?:\.\/)+/g, '$1');
}
