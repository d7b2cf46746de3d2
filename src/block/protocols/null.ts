/** Bytes that are not there: writes vanish, reads give zeroes or nothing. For measuring what is above. */
import type { BlockDriver, OpenRequest } from '../driver.ts';
import { fillVector, type IoVector, vectorBytes } from '../io-vector.ts';
import { type BlockStatus, BlockNode, type Child } from '../node.ts';
import { boolOption, sizeOption } from '../options.ts';

const DEFAULT_SIZE = 1 << 30;

class NullNode extends BlockNode {
  readonly driver: string;
  private bytes: number;
  private readonly readZeroes: boolean;

  constructor(driver: string, { name, options, readOnly }: OpenRequest) {
    super(name, readOnly);
    this.driver = driver;
    this.bytes = sizeOption(options, 'size') ?? DEFAULT_SIZE;
    this.readZeroes = boolOption(options, 'read-zeroes', false);
  }

  get size(): number {
    return this.bytes;
  }

  get children(): readonly Child[] {
    return [];
  }

  get filename(): string {
    return `${this.driver}://`;
  }

  async read(offset: number, into: IoVector): Promise<void> {
    this.checkRange(offset, vectorBytes(into));
    if (this.readZeroes) fillVector(into, 0);
  }

  async write(offset: number, from: IoVector): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, vectorBytes(from));
  }

  async writeZeroes(offset: number, bytes: number): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
  }

  async discard(offset: number, bytes: number): Promise<void> {
    this.checkWritable();
    this.checkRange(offset, bytes);
  }

  async flush(): Promise<void> {}

  async status(offset: number, bytes: number): Promise<BlockStatus> {
    this.checkRange(offset, bytes);
    return { bytes, data: false, zero: this.readZeroes, allocated: true, at: { node: this, offset } };
  }

  async truncate(size: number): Promise<void> {
    this.bytes = size;
  }

  async close(): Promise<void> {}
}

function driver(name: string): BlockDriver {
  return {
    name,
    kind: 'protocol',
    options: [
      { name: 'size', type: 'size', help: 'Size of the node' },
      { name: 'latency-ns', type: 'number', help: 'Accepted; requests are done at once' },
      { name: 'read-zeroes', type: 'bool', help: 'Reads give zeroes', default: 'off' },
    ],
    parseFilename: (filename) => (filename.startsWith(`${name}://`) ? { driver: name } : undefined),
    open: async (request) => new NullNode(name, request),
  };
}

export const nullCo: BlockDriver = driver('null-co');
export const nullAio: BlockDriver = driver('null-aio');
