/**
 * What a block driver is: a protocol (bytes from somewhere), a format (structure over a child called `file`) or a filter. A driver is
 * one folder or file, and one line in drivers.ts.
 */
import type { ThrottleGroup } from './filters/throttle/group.ts';
import type { BlockHost, TlsOptions } from './host.ts';
import type { BlockNode, JsonValue, Preallocation } from './node.ts';

/** Options of one node as nested JSON, in the names of -blockdev: {"driver":"qcow2","file":{"driver":"file","filename":"a"}}. */
export interface NodeOptions {
  readonly [name: string]: JsonValue;
}

export interface OptionDeclaration {
  readonly name: string;
  readonly type: 'string' | 'bool' | 'number' | 'size';
  /** As in the peer's help: "Virtual disk size". */
  readonly help: string;
  readonly default?: string;
  /** Words that the value must be one of. */
  readonly values?: readonly string[];
}

/** What a driver may use while it opens or creates. */
export interface DriverContext {
  readonly host: BlockHost;
  /**
   * Opens what `options[name]` says: a node's name, or options. Throws ImageError when it is missing. `defaultDriver` when it names none;
   * `probe`: then it is told by content.
   */
  openChild(
    name: string,
    how?: {
      readonly defaultDriver?: string;
      readonly readOnly?: boolean;
      readonly optional?: boolean;
      readonly probe?: boolean;
    },
  ): Promise<BlockNode | undefined>;
  /** Opens a file that the image names (backing, data file, extent), relative to the image; probed unless `format` is given. */
  openNamed(
    filename: string,
    how: {
      readonly format?: string;
      readonly readOnly: boolean;
      readonly role: string;
      /** Further options of the node that has the format. */
      readonly options?: NodeOptions;
    },
  ): Promise<BlockNode>;
  /** Value of a secret object (--object secret,id=…). */
  secret(id: string): Promise<Uint8Array>;
  /** Keys of a TLS object (--object tls-creds-x509|tls-creds-psk,id=…) for one side of a connection. */
  tlsCredentials?(id: string, endpoint: 'client' | 'server'): Promise<TlsOptions>;
  /** The nodes that are throttled together under this name (--object throttle-group,id=…). */
  throttleGroup?(id: string): ThrottleGroup | undefined;
  /** What an image that begins like this would be taken for; undefined when for raw. */
  readonly formatOf: (head: Uint8Array) => string | undefined;
  /** One sentence that the user should see; the image is used all the same. */
  warn(sentence: string): void;
}

export interface OpenRequest {
  readonly name: string;
  readonly options: NodeOptions;
  readonly readOnly: boolean;
  /** cache.direct and cache.no-flush. */
  readonly direct: boolean;
  readonly noFlush: boolean;
  /** discard=unmap: discards are passed on. */
  readonly unmap: boolean;
  /** Only its metadata is wanted (`img info -U`, encrypted images without a key, missing backing files). */
  readonly noIo: boolean;
  readonly noBacking: boolean;
  /** For `img check`: images that are marked corrupt or dirty are opened for writing all the same, and not repaired by it. */
  readonly check?: boolean;
  /** Nobody named the format: the image looked like it. */
  readonly probed?: boolean;
}

export interface CreateRequest {
  /** The protocol node to write into: exists, empty or to be overwritten. */
  readonly file: BlockNode;
  readonly size: number;
  /** By name, as text; checked against `createOptions`. */
  readonly options: Readonly<Record<string, string>>;
  readonly preallocation?: Preallocation;
}

export interface MeasureResult {
  readonly required: number;
  readonly fullyAllocated: number;
  readonly bitmaps?: number;
}

export interface BlockDriver {
  readonly name: string;
  readonly kind: 'protocol' | 'format' | 'filter';
  /** Options of -blockdev beyond those that all nodes have. */
  readonly options: readonly OptionDeclaration[];
  /** Groups of options of which one, given when a node is opened otherwise, replaces what was said of the others. */
  readonly replacedTogether?: readonly (readonly string[])[];
  /** Score 0 to 100 that an image is of this format, from its first bytes (at most PROBE_BYTES) and its name. */
  probe?(head: Uint8Array, filename: string): number;
  open(request: OpenRequest, context: DriverContext): Promise<BlockNode>;
  /** In the order that `create -o help` prints. */
  readonly createOptions?: readonly OptionDeclaration[];
  /** Its images can be over a backing image. */
  readonly supportsBacking?: boolean;
  /** Its images take compressed writes. */
  readonly compresses?: boolean;
  /** What `BlockNode.amend` takes, in the order of `amend -o help`. */
  readonly amendOptions?: readonly OptionDeclaration[];
  /** Writes an empty image. Some formats make further files beside the first, through the context. */
  create?(request: CreateRequest, context: DriverContext): Promise<void>;
  /** Bytes that an image of this format would need for `source`, or for `size` bytes that may all be data. */
  measure?(size: number, options: Readonly<Record<string, string>>, source?: BlockNode): Promise<MeasureResult>;
  /** Options from a file name like "nbd://host/export", for protocols that have such names. */
  parseFilename?(filename: string): NodeOptions | undefined;
}

/** Bytes that probing looks at. */
export const PROBE_BYTES = 2048;
