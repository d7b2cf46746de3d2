/** Base of formats that are only read: a map from the disk to pieces of a file. */
import { BlockError } from '../../block-error.ts';
import type { BlockNode, Child } from '../../node.ts';
import { MappedNode } from './mapped-node.ts';
import type { Place } from './mapped-node.ts';

export abstract class ReadOnlyNode extends MappedNode {
  protected readonly file: BlockNode;

  constructor(name: string, file: BlockNode) {
    super(name, true);
    this.file = file;
  }

  override get children(): readonly Child[] {
    return [{ name: 'file', role: 'file', node: this.file }];
  }

  override get filename(): string {
    return this.file.filename;
  }

  protected override reserve(): Promise<Place> {
    return Promise.reject(new BlockError('EPERM', `format '${this.driver}' is read-only`));
  }

  protected override commit(): Promise<void> {
    return Promise.resolve();
  }

  protected override writeBack(): Promise<void> {
    return Promise.resolve();
  }
}
