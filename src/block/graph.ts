/**
 * The block graph: nodes by name, opened from options or file names, closed with what they were opened on.
 *
 * A node owns the children that it opened itself; a child that was named belongs to whoever opened it. Formats are told by content
 * when nobody names one.
 */
import { BlockError, ImageError } from './block-error.ts';
import {
  type BlockDriver, type CreateRequest, type DriverContext, type NodeOptions, type OpenRequest, PROBE_BYTES,
} from './driver.ts'; // prettier-ignore
import { DRIVERS } from './drivers.ts';
import { Filenames, plainPath } from './filenames.ts';
import { detectZeroes } from './filters/detect-zeroes.ts';
import { ThrottleGroup } from './filters/throttle/group.ts';
import type { BlockHost, TlsOptions } from './host.ts';
import type { BlockNode, JsonValue, TruncateOptions } from './node.ts';
import { type OpenFlags, type Settings, settingsOf, settle } from './open-settings.ts';
import { childOption, jsonFilename, nestOptions, textOption } from './options.ts';

export type { OpenFlags } from './open-settings.ts';

/** Images on images: each costs files and tables, and the names are in the images, which a guest may have written. */
export const MAX_CHAIN_DEPTH = 200;

export interface GraphOptions {
  readonly drivers?: readonly BlockDriver[];
  readonly warn?: (sentence: string) => void;
  readonly secret?: (id: string) => Promise<Uint8Array>;
  readonly tlsCredentials?: (id: string, endpoint: 'client' | 'server') => Promise<TlsOptions>;
  /** Limits of a throttle group; undefined: there is no such group. */
  readonly throttleGroup?: (id: string) => Readonly<Record<string, number>> | undefined;
}

export interface CreateImageOptions {
  readonly format: string;
  readonly filename: string;
  readonly size: number;
  /** As text, in the names of `createOptions`. */
  readonly options?: Readonly<Record<string, string>>;
  /** It need not be on stable storage when it is done: more will be written to it. */
  readonly noFlush?: boolean;
}

/** Options that every node has. */
const COMMON = [
  'driver',
  'node-name',
  'read-only',
  'auto-read-only',
  'cache',
  'discard',
  'detect-zeroes',
  'force-share',
];
const CHILDREN = ['file', 'backing', 'data-file', 'extents', 'image', 'top', 'bottom', 'target', 'source'];

/** How a node was opened, so that it can be opened again. */
interface OpenRecord {
  readonly options: NodeOptions;
  readonly settings: Settings;
  readonly filename: string;
  readonly probed: boolean;
}

export class BlockGraph {
  readonly host: BlockHost;
  readonly drivers: readonly BlockDriver[];
  readonly filenames: Filenames;
  private readonly options: GraphOptions;
  private readonly byName = new Map<string, BlockNode>();
  private readonly owned = new Map<BlockNode, BlockNode[]>();
  private readonly users = new Map<BlockNode, number>();
  private readonly records = new Map<BlockNode, OpenRecord>();
  private readonly throttleGroups = new Map<string, ThrottleGroup>();
  private count = 0;

  constructor(host: BlockHost, options: GraphOptions = {}) {
    this.host = host;
    this.options = options;
    this.drivers = options.drivers ?? DRIVERS;
    this.filenames = new Filenames(this.drivers, host);
  }

  driver(name: string): BlockDriver | undefined {
    return this.drivers.find((driver) => driver.name === name);
  }

  node(name: string): BlockNode | undefined {
    return this.byName.get(name);
  }

  nodes(): readonly BlockNode[] {
    return [...this.byName.values()];
  }

  /** Opens a tree: a file name ("a.qcow2", "nbd://host/x", "json:{…}") or options (nested, or with dotted keys). */
  async open(what: string | NodeOptions, flags: OpenFlags = {}): Promise<BlockNode> {
    const settings = settingsOf(flags);
    if (typeof what !== 'string') {
      const options = nestOptions(what);
      const withFormat =
        flags.format === undefined || 'driver' in options ? options : { ...options, driver: flags.format };
      return this.openOptions(withFormat, settings);
    }
    return this.openFilename(what, flags.format, settings);
  }

  /** Closes a node that `open` gave, and what it was opened on, when nothing else uses it. */
  async close(node: BlockNode): Promise<void> {
    const left = (this.users.get(node) ?? 1) - 1;
    if (left > 0) {
      this.users.set(node, left);
      return;
    }
    this.users.delete(node);
    this.records.delete(node);
    this.byName.delete(node.name);
    const children = this.owned.get(node) ?? [];
    this.owned.delete(node);
    try {
      await node.close();
    } finally {
      for (const child of children) await this.close(child);
    }
  }

  /**
   * Opens a node again with some options changed: read-only, the cache, what its format has. It is the caller's to see that no request is
   * under way. What is below stays open, unless it has to be opened otherwise too. Gives the node that is there then under the old name;
   * when the new options will not do, it is opened as before, and the error is theirs.
   */
  async reopen(
    node: BlockNode,
    changes: NodeOptions,
    flags: Pick<OpenFlags, 'readOnly' | 'direct' | 'noFlush'> = {},
  ): Promise<BlockNode> {
    const record = this.records.get(node);
    if (record === undefined || this.users.get(node) !== 1 || [...this.owned.values()].flat().includes(node))
      throw new ImageError(`Node '${node.name}' is in use and cannot be opened otherwise`, 'EBUSY');
    const nested = nestOptions(changes);
    this.checkUnchanged(node, nested);
    const settings: Settings = { ...record.settings, ...flags };
    const before = settle(record.options, record.settings);
    const after = settle({ ...record.options, ...nested }, settings);
    const same = (['readOnly', 'direct', 'noFlush', 'forceShare'] as const).every(
      (name) => before[name] === after[name],
    );
    const kept = same ? (this.owned.get(node) ?? []) : [];
    const children = node.children.filter(({ node: child }) => kept.includes(child));
    const below: NodeOptions = same
      ? Object.fromEntries(children.map(({ name, node: child }) => [name, child.name]))
      : this.spelledOut(node);
    const old: OpenRecord = { ...record, options: { ...record.options, ...below, 'node-name': node.name } };
    // What stays open is held while the node above it is closed.
    for (const child of kept) this.use(child.name);
    await this.close(node);
    const own = Object.fromEntries(Object.entries(nested).filter(([name]) => !CHILDREN.includes(name)));
    try {
      const replaced = (this.driver(node.driver)?.replacedTogether ?? []).filter((group) => group.some((name) => name in own)).flat(); // prettier-ignore
      const others = Object.fromEntries(Object.entries(old.options).filter(([name]) => !replaced.includes(name)));
      return await this.openOptions({ ...others, ...own }, settings, old.filename, old.probed);
    } catch (error) {
      await this.openOptions(old.options, old.settings, old.filename, old.probed);
      throw error;
    } finally {
      for (const child of kept) this.release(child);
    }
  }

  /** Drivers and names cannot be changed, nor anything of the nodes below; saying what is so already does no harm. */
  private checkUnchanged(node: BlockNode, changes: NodeOptions): void {
    for (const [name, value] of Object.entries(changes)) {
      const child = node.children.find((each) => each.name === name)?.node;
      const wrong = (name === 'driver' && value !== node.driver) || (name === 'node-name' && value !== node.name);
      if (wrong) throw new ImageError(`Cannot change the option '${name}'`);
      if (!CHILDREN.includes(name) || typeof value !== 'object' || value === null || Array.isArray(value)) continue;
      for (const [inner, given] of Object.entries(value)) {
        const present = inner === 'driver' ? child?.driver : inner === 'node-name' ? child?.name : undefined;
        if (present === undefined || present !== given) throw new ImageError(`Cannot change the option '${inner}'`);
      }
    }
  }

  /** Options by which a node, and what it opened itself, can be opened again elsewhere; its backing node is not among them. */
  optionsOf(node: BlockNode): NodeOptions {
    const { backing: _, ...options } = { ...this.records.get(node)?.options, ...this.spelledOut(node) };
    return withoutNames(options);
  }

  /** Options of the nodes below, in the place of their names, for those that go with this one. */
  private spelledOut(node: BlockNode): NodeOptions {
    const { options = {} } = this.records.get(node) ?? {};
    const entries = Object.entries(options).flatMap(([name, value]): [string, JsonValue][] => {
      const child = typeof value === 'string' && CHILDREN.includes(name) ? this.byName.get(value) : undefined;
      if (child === undefined || this.owned.get(node)?.includes(child) !== true || this.users.get(child) !== 1)
        return [];
      if (child.driver === 'memory')
        throw new ImageError(`Node '${child.name}' is in memory alone and cannot be opened otherwise`, 'ENOTSUP');
      const record = this.records.get(child);
      return [[name, { ...record?.options, ...this.spelledOut(child), 'node-name': child.name }]];
    });
    return Object.fromEntries(entries);
  }

  /** Closes all nodes, those too that come after one that fails to; then fails with the first error. */
  async closeAll(): Promise<void> {
    const errors: unknown[] = [];
    // A node that somebody opened and others were built on is closed once for each.
    for (let nodes = this.nodes(); nodes.length > 0; nodes = this.nodes()) {
      const inside = new Set([...this.owned.values()].flat());
      for (const node of nodes) {
        if (inside.has(node) || !this.byName.has(node.name)) continue;
        await this.close(node).catch((error: unknown) => errors.push(error));
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  /** Puts a node made elsewhere (a filter, a job's) into the graph; it owns `children`. */
  add(node: BlockNode, children: readonly BlockNode[] = []): void {
    if (this.byName.has(node.name)) throw new ImageError(`Duplicate nodes with node-name='${node.name}'`);
    this.byName.set(node.name, node);
    this.owned.set(node, [...children]);
    this.users.set(node, 1);
  }

  /** The group of that name, made from its limits when it is first asked for. */
  throttleGroup(id: string): ThrottleGroup | undefined {
    const known = this.throttleGroups.get(id);
    if (known !== undefined) return known;
    const limits = this.options.throttleGroup?.(id);
    if (limits === undefined) return undefined;
    const group = new ThrottleGroup(this.host, limits);
    this.throttleGroups.set(id, group);
    return group;
  }

  /** A name for a node that nobody named. */
  freshName(): string {
    let name: string;
    do name = `#block${String(this.count++).padStart(3, '0')}`;
    while (this.byName.has(name));
    return name;
  }

  /** Writes an empty image; an existing file is overwritten. */
  async create({ format, filename, size, options = {}, noFlush = false }: CreateImageOptions): Promise<void> {
    const driver = this.driver(format);
    if (driver === undefined) throw new ImageError(`Unknown file format '${format}'`);
    if (driver.create === undefined) throw new ImageError(`Format driver '${format}' does not support image creation`);
    for (const name of Object.keys(options)) {
      if (driver.createOptions?.every((option) => option.name !== name))
        throw new ImageError(`Invalid parameter '${name}'`);
    }
    if (!Number.isSafeInteger(size)) {
      const hint = driver.createOptions?.some((option) => option.name === 'cluster_size') === true;
      throw new ImageError(
        `The image size is too large for file format '${format}'${hint ? ' (try using a larger cluster size)' : ''}`,
        'EFBIG',
      );
    }
    // An image that is not whole is worth nothing: it is made without waiting for the disk, and flushed once.
    const fresh = await this.newFile(filename);
    const file = await this.createProtocol(filename, true);
    const made: BlockNode[] = [];
    const written: string[] = [];
    let complete = false;
    try {
      const preallocation = preallocationOf(options['preallocation']);
      const request: CreateRequest = { file, size, options, ...(preallocation !== undefined && { preallocation }) };
      await driver.create(request, this.context({}, settingsOf({ noFlush: true }), made, filename));
      if (!noFlush) for (const node of [...made, file]) written.push(...(await flushAll(node)));
      complete = true;
    } finally {
      for (const node of made) await this.close(node);
      await this.close(file);
      // Nobody takes half an image for one, nor does the next try find something in its way.
      if (!complete && fresh !== undefined) await this.host.removeFile?.(fresh).catch(() => {});
    }
    for (const path of new Set(written)) await this.syncFile(path);
  }

  /** The path of a file that is not there yet. */
  private async newFile(filename: string): Promise<string | undefined> {
    const protocol = this.filenames.protocolOptions(filename);
    const path = protocol['driver'] === 'file' ? textOption(protocol, 'filename') : undefined;
    if (path === undefined || this.host.exists === undefined) return undefined;
    return (await this.host.exists(path)) ? undefined : path;
  }

  /** The node below a new image: an empty file, or whatever the name says and exists. */
  async createProtocol(filename: string, noFlush = false): Promise<BlockNode> {
    const protocol = this.filenames.protocolOptions(filename);
    const path = protocol['driver'] === 'file' ? textOption(protocol, 'filename') : undefined;
    if (path !== undefined && this.host.openFile !== undefined) {
      try {
        await (await this.host.openFile(path, { write: true, create: true })).close();
      } catch (error) {
        const text = (error as Error).message;
        const code = (error as { code?: string }).code;
        const why =
          code === 'ENOENT'
            ? 'No such file or directory'
            : code === 'EACCES'
              ? 'Permission denied'
              : code === 'EISDIR'
                ? 'Is a directory'
                : text;
        throw new ImageError(`Could not create '${path}': ${why}`, code === 'ENOENT' ? 'ENOENT' : 'EACCES');
      }
    }
    try {
      return await this.openOptions(protocol, settingsOf({ noFlush }));
    } catch (error) {
      const driver = textOption(protocol, 'driver');
      if (path !== undefined || driver === undefined || !(error instanceof Error)) throw error;
      throw new ImageError(
        `Protocol driver '${driver}' does not support image creation, and opening the image failed: ${error.message}`,
      );
    }
  }

  /** What was written through a node that does not flush reaches stable storage: flushing is a file's, whoever opened it. */
  private async syncFile(path: string): Promise<void> {
    if (this.host.openFile === undefined) return;
    const file = await this.host.openFile(path, { write: true });
    try {
      await file.flush();
    } finally {
      await file.close();
    }
  }

  /** What an image that begins with these bytes is taken for; undefined: for raw. */
  formatOf(head: Uint8Array, filename = ''): string | undefined {
    const found = this.probe(head, filename);
    return found === 'raw' ? undefined : found;
  }

  // ---- opening ----

  private async openFilename(filename: string, format: string | undefined, settings: Settings): Promise<BlockNode> {
    const json = jsonFilename(filename);
    if (json !== undefined)
      return this.openOptions(format === undefined ? json : { driver: format, ...json }, settings);
    const file = this.filenames.protocolOptions(filename);
    if (format === undefined) return this.openProbed({}, file, filename, settings);
    const driver = this.driver(format);
    if (driver === undefined) throw new ImageError(`Unknown driver '${format}'`);
    if (driver.kind === 'protocol') return this.openOptions({ ...file, driver: format }, settings);
    return this.openOptions({ driver: format, file }, settings, filename);
  }

  private async openProbed(
    options: NodeOptions,
    file: NodeOptions | string,
    filename: string,
    settings: Settings,
  ): Promise<BlockNode> {
    const below = typeof file === 'string' ? this.use(file) : await this.openOptions(file, settings);
    try {
      const head = new Uint8Array(Math.min(PROBE_BYTES, below.size));
      await below.read(0, [head]);
      const driver = this.probe(head, filename);
      const nested = { ...options, driver, file: below.name };
      const node = await this.openOptions(nested, settings, filename, driver === 'raw');
      // It is used by the format alone now.
      this.release(below);
      return node;
    } catch (error) {
      await this.close(below);
      throw error;
    }
  }

  private probe(head: Uint8Array, filename: string): string {
    let best = { name: 'raw', score: 0 };
    for (const driver of this.drivers) {
      const score = driver.probe?.(head, filename) ?? 0;
      if (score > best.score) best = { name: driver.name, score };
    }
    return best.name;
  }

  private async openOptions(
    options: NodeOptions,
    inherited: Settings,
    filename?: string,
    probed = false,
  ): Promise<BlockNode> {
    const name = textOption(options, 'driver');
    if (name === undefined) {
      const { file, ...others } = options;
      if (typeof file === 'string') return this.openProbed(others, file, '', inherited);
      if (typeof file === 'object' && file !== null && !Array.isArray(file)) {
        // INVARIANT: an object that is no list.
        const below = file as NodeOptions;
        return this.openProbed(others, this.withDriver(below), textOption(below, 'filename') ?? '', inherited);
      }
      const path = textOption(options, 'filename');
      if (path === undefined) throw new ImageError("Parameter 'driver' is missing");
      const { filename: _, ...rest } = options;
      return this.openProbed(rest, this.filenames.protocolOptions(path), path, inherited);
    }
    const driver = this.driver(name);
    if (driver === undefined) throw new ImageError(`Unknown driver '${name}'`);
    const completed = this.withFile(driver, options);
    for (const option of Object.keys(completed)) {
      if (!COMMON.includes(option) && !CHILDREN.includes(option) && !declares(driver, option))
        throw new ImageError(`Block format '${name}' does not support the option '${option}'`);
    }
    if ((completed['backing'] ?? null) !== null && driver.supportsBacking !== true)
      throw new ImageError("Driver doesn't support backing files", 'ENOTSUP');
    const nodeName = textOption(completed, 'node-name') ?? this.freshName();
    if (this.byName.has(nodeName)) throw new ImageError(`Duplicate nodes with node-name='${nodeName}'`);
    const settings = settle(completed, inherited);
    const zeroes = textOption(completed, 'detect-zeroes') ?? 'off';
    if (!['off', 'on', 'unmap'].includes(zeroes)) throw new ImageError(`Invalid parameter '${zeroes}'`);
    const opened: BlockNode[] = [];
    const request: OpenRequest = {
      name: nodeName,
      options: settings.forceShare && driver.kind === 'protocol' ? { ...completed, 'force-share': true } : completed,
      readOnly: settings.readOnly,
      direct: settings.direct,
      noFlush: settings.noFlush,
      unmap: settings.unmap,
      noIo: settings.noIo,
      noBacking: settings.noBacking,
      check: settings.check,
      probed,
    };
    try {
      const image = filename ?? this.imageName(completed);
      const node = await driver.open(request, this.context(completed, settings, opened, image));
      if (zeroes !== 'off') detectZeroes(node, zeroes === 'unmap');
      this.add(node, opened);
      this.records.set(node, { options: completed, settings: inherited, filename: image, probed });
      return node;
    } catch (error) {
      for (const child of opened) await this.close(child);
      throw error;
    }
  }

  /** "driver=qcow2,filename=a" means a file below. */
  private withFile(driver: BlockDriver, options: NodeOptions): NodeOptions {
    const { filename, ...others } = options;
    if (driver.kind === 'protocol' || typeof filename !== 'string' || 'file' in options) return options;
    return { ...others, file: this.filenames.protocolOptions(filename) };
  }

  /** Options of a protocol node; without a driver, of the one that its file name says. */
  private withDriver(options: NodeOptions): NodeOptions {
    if ('driver' in options) return options;
    const filename = textOption(options, 'filename');
    if (filename === undefined) throw new ImageError("Parameter 'driver' is missing");
    const { filename: _, ...others } = options;
    return { ...others, ...this.filenames.protocolOptions(filename) };
  }

  /** What names in an image are relative to. */
  private imageName(options: NodeOptions): string {
    const file = options['file'] ?? options['image'];
    if (typeof file === 'string') return this.byName.get(file)?.filename ?? '';
    if (typeof file !== 'object' || file === null || Array.isArray(file)) return textOption(options, 'filename') ?? '';
    // INVARIANT: an object that is no list.
    return this.imageName(file as NodeOptions);
  }

  private use(name: string): BlockNode {
    const node = this.byName.get(name);
    if (node === undefined) throw new ImageError(`Cannot find device='' nor node-name='${name}'`, 'ENOENT');
    this.users.set(node, (this.users.get(node) ?? 0) + 1);
    return node;
  }

  private release(node: BlockNode): void {
    this.users.set(node, (this.users.get(node) ?? 1) - 1);
  }

  private context(options: NodeOptions, settings: Settings, opened: BlockNode[], image: string): DriverContext {
    const { warn, secret, tlsCredentials } = this.options;
    const keep = (node: BlockNode): BlockNode => {
      opened.push(node);
      return node;
    };
    const below = (readOnly: boolean): Settings => ({ ...settings, readOnly });
    return {
      host: this.host,
      openChild: async (name, how = {}) => {
        const value = childOption(options, name);
        if (value === undefined || value === null) {
          if (how.optional === true) return undefined;
          throw new ImageError(`A block device must be specified for "${name}"`);
        }
        if (typeof value === 'string') return keep(this.use(value));
        if (typeof value !== 'object' || Array.isArray(value))
          throw new ImageError(`Invalid parameter type for '${name}', expected: node name or options`);
        // INVARIANT: an object that is no list.
        const nested = value as NodeOptions;
        const isBacking = name === 'backing';
        const child = !isBacking && how.probe !== true && !('driver' in nested) ? this.withDriver({ ...(how.defaultDriver !== undefined && { driver: how.defaultDriver }), ...nested }) : nested; // prettier-ignore
        const readOnly = how.readOnly ?? (isBacking || settings.readOnly);
        // Who reads raw bytes does not mind a writer.
        const forceShare = settings.forceShare || (readOnly && options['driver'] === 'raw');
        return keep(await this.openOptions(child, { ...settings, readOnly, forceShare }));
      },
      openNamed: async (filename, { format, readOnly, role, options: more }) => {
        const path = this.filenames.relativeTo(image, filename);
        const chain = [...settings.chain, image];
        if (role === 'backing') {
          if (chain.some((name) => plainPath(name) === plainPath(path)))
            throw new ImageError(`Backing file '${filename}' creates an infinite loop.`);
          if (chain.length > MAX_CHAIN_DEPTH)
            throw new ImageError(`Backing chain is longer than ${MAX_CHAIN_DEPTH} images at '${filename}'`);
        }
        try {
          const inherited = { ...below(readOnly), chain };
          if (more === undefined) return keep(await this.openFilename(path, format, inherited));
          const named = {
            ...(format !== undefined && { driver: format }),
            file: this.filenames.protocolOptions(path),
            ...more,
          };
          return keep(await this.openOptions(named, inherited, path));
        } catch (error) {
          if (role !== 'backing' || !(error instanceof ImageError)) throw error;
          throw new ImageError(`Could not open backing file: ${error.message}`, error.code);
        }
      },
      secret: async (id) => {
        if (secret === undefined) throw new ImageError(`No secret with id '${id}'`, 'ENOENT');
        return secret(id);
      },
      ...(tlsCredentials !== undefined && { tlsCredentials }),
      throttleGroup: (id) => this.throttleGroup(id),
      formatOf: (head) => this.formatOf(head, image),
      warn: (sentence) => warn?.(sentence),
    };
  }
}

/** Whether a driver has this option, a part of it (`server.host` of `server`), or several that begin with it (`encrypt` of `encrypt.format`). */
function declares({ options }: BlockDriver, option: string): boolean {
  return options.some(({ name }) => option === name || option.startsWith(`${name}.`) || name.startsWith(`${option}.`));
}

function withoutNames(options: NodeOptions): NodeOptions {
  const entries = Object.entries(options).flatMap(([name, value]): [string, JsonValue][] => {
    if (name === 'node-name') return [];
    const nested = CHILDREN.includes(name) && typeof value === 'object' && value !== null && !Array.isArray(value);
    // INVARIANT: an object that is no list.
    return [[name, nested ? withoutNames(value as NodeOptions) : value]];
  });
  return Object.fromEntries(entries);
}

function preallocationOf(text: string | undefined): TruncateOptions['preallocation'] {
  if (text === undefined) return undefined;
  if (text === 'off' || text === 'metadata' || text === 'falloc' || text === 'full') return text;
  throw new BlockError('EINVAL', `Parameter 'preallocation' does not accept value '${text}'`);
}

/** Nodes write back what they hold; gives the files below them. */
async function flushAll(node: BlockNode): Promise<string[]> {
  await node.flush();
  const below: string[] = node.driver === 'file' ? [node.filename] : [];
  for (const { role, node: child } of node.children) if (role !== 'backing') below.push(...(await flushAll(child)));
  return below;
}
