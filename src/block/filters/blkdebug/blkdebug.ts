/**
 * `blkdebug`: makes requests fail, fall short or wait by rules, so that what is above can be tested. Rules and their files are those of
 * QEMU's driver of that name; `fault`, `delay-ms` and `nth` of a rule are ours.
 */
import { BlockError, ImageError } from '../../block-error.ts';
import type { BlockDriver } from '../../driver.ts';
import type { BlockHost } from '../../host.ts';
import { type IoVector, sliceVector, vectorBytes } from '../../io-vector.ts';
import type { BlockNode, BlockStatus, Breakpoints, RequestLimits, WriteFlags, ZeroFlags } from '../../node.ts';
import { sizeOption, textOption } from '../../options.ts';
import { FilterNode } from '../filter-node.ts';
import { MAX_CONFIG_BYTES, rulesOfFile, rulesOfOptions } from './config.ts';
import type { IoType } from './events.ts';
import { DebugRules, type InjectRule } from './rules.ts';

const SECTOR = 512;

class BlkdebugNode extends FilterNode {
  readonly driver = 'blkdebug';
  private readonly host: BlockHost;
  private readonly rules: DebugRules;
  private readonly config: string;
  /** Nothing but rules of a file: a short name says it all. */
  private readonly hasName: boolean;
  private readonly requestLimits: RequestLimits;
  /** What requests for zeroes must be multiples of, and no larger than. */
  private readonly zeroUnit: number;
  private readonly mostZeroes: number;
  /** Something was written since the last flush that succeeded: without, there is nothing that flushing could lose. */
  private unflushed = false;

  constructor(
    base: { readonly name: string; readonly readOnly: boolean; readonly child: BlockNode; readonly host: BlockHost },
    rules: DebugRules,
    how: {
      readonly config: string;
      readonly hasName: boolean;
      readonly limits: Partial<RequestLimits>;
      readonly mostZeroes: number;
    },
  ) {
    super(base.name, base.readOnly, base.child, 'image');
    this.host = base.host;
    this.rules = rules;
    this.config = how.config;
    this.hasName = how.hasName;
    this.requestLimits = { ...base.child.limits, ...how.limits };
    this.zeroUnit = how.limits.zeroAlignment ?? 1;
    this.mostZeroes = how.mostZeroes - (how.mostZeroes % this.zeroUnit) || Infinity;
  }

  override get limits(): RequestLimits {
    return this.requestLimits;
  }

  override get filename(): string {
    return this.hasName ? `blkdebug:${this.config}:${this.child.filename}` : super.filename;
  }

  override get breakpoints(): Breakpoints {
    return this.rules;
  }

  override debugEvent(event: string): Promise<void> | undefined {
    return this.rules.event(event);
  }

  override async read(offset: number, into: IoVector): Promise<void> {
    const bytes = vectorBytes(into);
    const { maxTransfer } = this.requestLimits;
    if (bytes > maxTransfer) {
      for (let at = 0; at < bytes; at += maxTransfer)
        await this.read(offset + at, sliceVector(into, at, Math.min(maxTransfer, bytes - at)));
      return;
    }
    await this.inject('read', offset, bytes);
    await this.child.read(offset, into);
  }

  override async write(offset: number, from: IoVector, flags?: WriteFlags): Promise<void> {
    const bytes = vectorBytes(from);
    const { maxTransfer } = this.requestLimits;
    if (bytes > maxTransfer) {
      for (let at = 0; at < bytes; at += maxTransfer)
        await this.write(offset + at, sliceVector(from, at, Math.min(maxTransfer, bytes - at)), flags);
      return;
    }
    this.unflushed = true;
    await this.rules.event('pwritev');
    const partial = await this.inject('write', offset, bytes);
    if (partial !== undefined) return this.writePartly(partial, offset, from);
    await this.child.write(offset, from, flags);
    await this.rules.event('pwritev_done');
  }

  /** Some of it, and then the error. */
  private async writePartly({ fault, error = 'EIO' }: InjectRule, offset: number, from: IoVector): Promise<never> {
    const bytes = vectorBytes(from);
    if (fault === 'short-write') {
      const half = Math.floor(bytes / 2 / SECTOR) * SECTOR;
      if (half > 0) await this.child.write(offset, sliceVector(from, 0, half));
    } else {
      for (let at = 0; at < bytes; at += 2 * SECTOR)
        await this.child.write(offset + at, sliceVector(from, at, Math.min(SECTOR, bytes - at)));
    }
    throw new BlockError(error);
  }

  override async writeZeroes(offset: number, bytes: number, flags: ZeroFlags = {}): Promise<void> {
    const unit = this.zeroUnit;
    for (let done = 0; done < bytes;) {
      const at = offset + done;
      const left = bytes - done;
      const toUnit = (unit - (at % unit)) % unit;
      const part = Math.min(left, toUnit > 0 ? toUnit : left < unit ? left : left - (left % unit), this.mostZeroes);
      if (part >= unit) await this.zeroUnits(at, part, flags);
      else if (flags.noFallback === true) throw new BlockError('ENOTSUP');
      else await this.write(at, [new Uint8Array(part)], { fua: flags.fua === true });
      done += part;
    }
  }

  private async zeroUnits(offset: number, bytes: number, flags: ZeroFlags): Promise<void> {
    this.unflushed = true;
    await this.rules.event('pwritev_zero');
    await this.inject('write-zeroes', offset, bytes);
    await this.child.writeZeroes(offset, bytes, flags);
    await this.rules.event('pwritev_done');
  }

  override async discard(offset: number, bytes: number): Promise<void> {
    this.unflushed = true;
    await this.inject('discard', offset, bytes);
    await this.child.discard(offset, bytes);
  }

  override async flush(): Promise<void> {
    if (this.unflushed) await this.inject('flush', 0, 0);
    await this.child.flush();
    this.unflushed = false;
  }

  override async status(offset: number, bytes: number): Promise<BlockStatus> {
    await this.inject('block-status', offset, bytes);
    return this.child.status(offset, bytes);
  }

  override async close(): Promise<void> {
    this.rules.release();
  }

  /** Waits and fails as rules say. What it gives is a rule by which part of a write is to be done. */
  private async inject(type: IoType, offset: number, bytes: number): Promise<InjectRule | undefined> {
    const rule = this.rules.match(type, offset, bytes);
    if (rule === undefined) return undefined;
    if (rule.delayMs > 0) await this.host.sleep(rule.delayMs);
    if (rule.fault === 'delay') return undefined;
    if (rule.fault !== 'error' && type === 'write') return rule;
    if (rule.error !== undefined) throw new BlockError(rule.error);
    return undefined;
  }
}

export const blkdebug: BlockDriver = {
  name: 'blkdebug',
  kind: 'filter',
  options: [
    { name: 'config', type: 'string', help: 'Path to the configuration file' },
    { name: 'align', type: 'size', help: 'Required alignment in bytes' },
    { name: 'max-transfer', type: 'size', help: 'Maximum transfer size in bytes' },
    { name: 'opt-write-zero', type: 'size', help: 'Optimum write zero alignment in bytes' },
    { name: 'max-write-zero', type: 'size', help: 'Maximum write zero size in bytes' },
    { name: 'opt-discard', type: 'size', help: 'Optimum discard alignment in bytes' },
    { name: 'max-discard', type: 'size', help: 'Maximum discard size in bytes' },
    { name: 'inject-error', type: 'string', help: 'Rules that make requests fail' },
    { name: 'set-state', type: 'string', help: 'Rules that change the state' },
  ],
  /** `blkdebug:CONFIG:FILE`; no rules from a file when CONFIG is empty. */
  parseFilename(filename) {
    if (!filename.startsWith('blkdebug:')) return undefined;
    const colon = filename.indexOf(':', 'blkdebug:'.length);
    if (colon < 0) throw new ImageError('blkdebug requires both config file and image path');
    const config = filename.slice('blkdebug:'.length, colon);
    return {
      driver: 'blkdebug',
      ...(config !== '' && { config }),
      image: { filename: filename.slice(colon + 1) },
    };
  },
  async open(request, context) {
    const { name, options, readOnly } = request;
    const config = textOption(options, 'config') ?? '';
    const rules = [...(config === '' ? [] : await rulesOf(context.host, config)), ...rulesOfOptions(options)];
    // INVARIANT: openChild throws unless the child may be missing.
    const child = (await context.openChild('image'))!;
    const { mostZeroes, ...limits } = limitsOf(options, child.limits.alignment);
    const hasName = Object.keys(options).every((key) => ['driver', 'config', 'image', 'node-name'].includes(key));
    const base = { name, readOnly, child, host: context.host };
    return new BlkdebugNode(base, new DebugRules(rules), { config, hasName, limits, mostZeroes });
  },
};

async function rulesOf(host: BlockHost, config: string): Promise<ReturnType<typeof rulesOfFile>> {
  let content: Uint8Array;
  try {
    if (host.readFile === undefined) throw new Error('There are no files here');
    content = await host.readFile(config);
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw new ImageError(
      `Could not read blkdebug config file: ${code === 'ENOENT' ? 'No such file or directory' : message}`,
    );
  }
  if (content.length > MAX_CONFIG_BYTES)
    throw new ImageError(`blkdebug config file '${config}' of ${content.length} bytes is too long`);
  return rulesOfFile(new TextDecoder().decode(content), config);
}

function limitsOf(
  options: Parameters<typeof sizeOption>[0],
  least: number,
): Partial<RequestLimits> & { readonly mostZeroes: number } {
  const checked = (name: string, multiple: number): number => {
    const value = sizeOption(options, name) ?? 0;
    if (value >= 2 ** 31 || value % multiple !== 0)
      throw new ImageError(`Cannot meet constraints with ${name} ${value}`);
    return value;
  };
  const align = checked('align', 1);
  if (align > 0 && !Number.isInteger(Math.log2(align)))
    throw new ImageError(`Cannot meet constraints with align ${align}`);
  const alignment = Math.max(align, least);
  const maxTransfer = checked('max-transfer', alignment);
  const zeroAlignment = checked('opt-write-zero', alignment);
  const mostZeroes = checked('max-write-zero', Math.max(zeroAlignment, alignment));
  checked('max-discard', Math.max(checked('opt-discard', alignment), alignment));
  return {
    mostZeroes,
    ...(align > 0 && { alignment: align }),
    ...(maxTransfer > 0 && { maxTransfer }),
    ...(zeroAlignment > 0 && { zeroAlignment }),
  };
}
