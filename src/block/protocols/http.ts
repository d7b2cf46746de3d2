/** Read-only nodes over HTTP ranges, with a cache that reads ahead: a request to a server costs more than the bytes it brings. */
import { BlockError, ImageError } from '../block-error.ts';
import type { BlockDriver, DriverContext, OpenRequest } from '../driver.ts';
import { type IoVector, scatter, vectorBytes } from '../io-vector.ts';
import { type BlockStatus, BlockNode, type Child } from '../node.ts';
import { sizeOption, textOption } from '../options.ts';

const DEFAULT_READ_AHEAD = 256 << 10;
/** A larger one would let an option make a single read take all memory. */
const MAX_READ_AHEAD = 64 << 20;
const CACHED_WINDOWS = 32;

class HttpNode extends BlockNode {
  readonly driver: string;
  readonly filename: string;
  readonly size: number;
  private readonly fetchRange: (from: number, bytes: number) => Promise<Uint8Array>;
  private readonly windowBytes: number;
  /** Windows of `windowBytes` by number, those used last behind. */
  private readonly windows = new Map<number, Promise<Uint8Array>>();

  constructor(
    name: string,
    driver: string,
    url: string,
    size: number,
    windowBytes: number,
    fetchRange: HttpNode['fetchRange'],
  ) {
    super(name, true);
    this.driver = driver;
    this.filename = url;
    this.size = size;
    this.windowBytes = windowBytes;
    this.fetchRange = fetchRange;
  }

  get children(): readonly Child[] {
    return [];
  }

  async read(offset: number, into: IoVector): Promise<void> {
    const bytes = vectorBytes(into);
    this.checkRange(offset, bytes);
    for (let done = 0; done < bytes;) {
      const at = offset + done;
      const from = at % this.windowBytes;
      const window = await this.window((at - from) / this.windowBytes);
      const part = window.subarray(from, Math.min(window.length, from + bytes - done));
      if (part.length === 0) throw new BlockError('EIO', `'${this.filename}' gave less than it said it has`);
      scatter(part, into, done);
      done += part.length;
    }
  }

  private window(number: number): Promise<Uint8Array> {
    const start = number * this.windowBytes;
    const found = this.windows.get(number) ?? this.fetchRange(start, Math.min(this.windowBytes, this.size - start));
    this.windows.delete(number);
    this.windows.set(number, found);
    found.catch(() => this.windows.delete(number));
    if (this.windows.size > CACHED_WINDOWS) {
      const [oldest] = this.windows.keys();
      if (oldest !== undefined) this.windows.delete(oldest);
    }
    return found;
  }

  private refuse(): never {
    throw new BlockError('EPERM', `node '${this.name}' is read-only`);
  }

  async write(): Promise<void> {
    this.refuse();
  }

  async writeZeroes(): Promise<void> {
    this.refuse();
  }

  async discard(): Promise<void> {
    this.refuse();
  }

  async truncate(): Promise<void> {
    this.refuse();
  }

  async flush(): Promise<void> {}

  async status(offset: number, bytes: number): Promise<BlockStatus> {
    this.checkRange(offset, bytes);
    return { bytes, data: true, zero: false, allocated: true, at: { node: this, offset } };
  }

  async close(): Promise<void> {
    this.windows.clear();
  }
}

async function open(driver: string, request: OpenRequest, { host }: DriverContext): Promise<BlockNode> {
  const url = textOption(request.options, 'url') ?? textOption(request.options, 'filename');
  if (url === undefined) throw new ImageError(`${driver} block driver requires an 'url' option`);
  if (!request.readOnly) throw new ImageError(`${driver} nodes are read-only: '${url}'`, 'EROFS');
  if (host.fetchRange === undefined) throw new ImageError(`Nothing can be fetched here: '${url}'`, 'ENOTSUP');
  const readAhead = sizeOption(request.options, 'readahead') ?? DEFAULT_READ_AHEAD;
  if (readAhead < 512 || readAhead > MAX_READ_AHEAD || readAhead % 512 !== 0)
    throw new ImageError(`readahead is ${readAhead}, not a multiple of 512 up to ${MAX_READ_AHEAD}`);
  const cookie = textOption(request.options, 'cookie');
  const headers = cookie === undefined ? {} : { cookie };
  const { size } = await host.fetchRange(url, 0, 1, headers);
  if (size === undefined) throw new ImageError(`Server of '${url}' does not tell its size`, 'EIO');
  const fetch = async (from: number, bytes: number): Promise<Uint8Array> => {
    const part = await host.fetchRange?.(url, from, bytes, headers);
    return part?.data ?? new Uint8Array(0);
  };
  return new HttpNode(request.name, driver, url, size, readAhead, fetch);
}

function driver(name: 'http' | 'https'): BlockDriver {
  return {
    name,
    kind: 'protocol',
    options: [
      { name: 'url', type: 'string', help: 'URL of the image' },
      { name: 'readahead', type: 'size', help: 'Bytes that are fetched at once', default: '256k' },
      { name: 'cookie', type: 'string', help: 'Cookies to send' },
    ],
    parseFilename: (filename) => (filename.startsWith(`${name}://`) ? { driver: name, url: filename } : undefined),
    open: (request, context) => open(name, request, context),
  };
}

export const http: BlockDriver = driver('http');
export const https: BlockDriver = driver('https');
