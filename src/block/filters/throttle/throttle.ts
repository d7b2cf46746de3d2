/** `throttle`: requests wait until the limits of a group let them go. */
import { ImageError } from '../../block-error.ts';
import type { BlockDriver } from '../../driver.ts';
import { type IoVector, vectorBytes } from '../../io-vector.ts';
import type { BlockNode, WriteFlags, ZeroFlags } from '../../node.ts';
import { textOption } from '../../options.ts';
import { FilterNode } from '../filter-node.ts';
import type { ThrottleGroup } from './group.ts';

class ThrottleNode extends FilterNode {
  readonly driver = 'throttle';
  private readonly group: ThrottleGroup;

  constructor(name: string, readOnly: boolean, child: BlockNode, group: ThrottleGroup) {
    super(name, readOnly, child);
    this.group = group;
  }

  override async read(offset: number, into: IoVector): Promise<void> {
    await this.group.admit('read', vectorBytes(into));
    await this.child.read(offset, into);
  }

  override async write(offset: number, from: IoVector, flags?: WriteFlags): Promise<void> {
    await this.group.admit('write', vectorBytes(from));
    await this.child.write(offset, from, flags);
  }

  override async writeZeroes(offset: number, bytes: number, flags?: ZeroFlags): Promise<void> {
    await this.group.admit('write', bytes);
    await this.child.writeZeroes(offset, bytes, flags);
  }

  override async discard(offset: number, bytes: number): Promise<void> {
    await this.group.admit('write', bytes);
    await this.child.discard(offset, bytes);
  }
}

export const throttle: BlockDriver = {
  name: 'throttle',
  kind: 'filter',
  options: [{ name: 'throttle-group', type: 'string', help: 'Name of the throttle group' }],
  async open({ name, options, readOnly }, context) {
    const id = textOption(options, 'throttle-group');
    if (id === undefined) throw new ImageError('Please specify a throttle group');
    const group = context.throttleGroup?.(id);
    if (group === undefined) throw new ImageError(`Throttle group '${id}' does not exist`);
    // INVARIANT: openChild throws unless the child may be missing.
    const child = (await context.openChild('file', { probe: true }))!;
    return new ThrottleNode(name, readOnly, child, group);
  },
};
