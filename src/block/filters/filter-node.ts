/** A node that passes all requests on to its only child; filters change what they are for. */
import { describeNode } from '../describe-node.ts';
import type { IoVector } from '../io-vector.ts';
import {
  type BlockStatus, BlockNode, type Breakpoints, type Child, type RequestLimits, type TruncateOptions, type WriteFlags,
  type ZeroFlags,
} from '../node.ts'; // prettier-ignore

export abstract class FilterNode extends BlockNode {
  protected readonly child: BlockNode;
  /** What the child is called among the options: "file", "image". */
  private readonly childName: string;

  constructor(name: string, readOnly: boolean, child: BlockNode, childName = 'file') {
    super(name, readOnly);
    this.child = child;
    this.childName = childName;
  }

  get size(): number {
    return this.child.size;
  }

  get children(): readonly Child[] {
    return [{ name: this.childName, role: 'filtered', node: this.child }];
  }

  override get limits(): RequestLimits {
    return this.child.limits;
  }

  get filename(): string {
    return `json:${JSON.stringify({ driver: this.driver, [this.childName]: describeNode(this.child) })}`;
  }

  override get zeroWhenNew(): boolean {
    return this.child.zeroWhenNew;
  }

  read(offset: number, into: IoVector): Promise<void> {
    return this.child.read(offset, into);
  }

  write(offset: number, from: IoVector, flags?: WriteFlags): Promise<void> {
    return this.child.write(offset, from, flags);
  }

  writeZeroes(offset: number, bytes: number, flags?: ZeroFlags): Promise<void> {
    return this.child.writeZeroes(offset, bytes, flags);
  }

  discard(offset: number, bytes: number): Promise<void> {
    return this.child.discard(offset, bytes);
  }

  flush(): Promise<void> {
    return this.child.flush();
  }

  status(offset: number, bytes: number): Promise<BlockStatus> {
    return this.child.status(offset, bytes);
  }

  truncate(size: number, options?: TruncateOptions): Promise<void> {
    return this.child.truncate(size, options);
  }

  async close(): Promise<void> {}

  override get breakpoints(): Breakpoints | undefined {
    return this.child.breakpoints;
  }

  override debugEvent(event: string): Promise<void> | undefined {
    return this.child.debugEvent?.(event);
  }
}
