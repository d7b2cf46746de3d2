/** Writing what an image has into an image below it: `img commit`. */
import type { BlockNode } from '../node.ts';
import { copyImage } from './copy.ts';
import type { Abortable, JobProgress } from './job.ts';

export interface CommitOptions extends Abortable {
  /** Bytes a second. */
  readonly rateLimit?: number;
  readonly sleep?: (ms: number) => Promise<void>;
}

/** `base` is a node of `top`'s backing chain, open for writing; it becomes as large as `top`, and has its content when this is done. */
export async function* commitImage(
  top: BlockNode,
  base: BlockNode,
  { rateLimit, sleep, signal }: CommitOptions = {},
): AsyncGenerator<JobProgress, void, void> {
  // What is below the base, and longer, must not appear.
  if (top.size > base.size) await base.truncate(top.size, { zero: true });
  yield* copyImage({
    sources: [top],
    target: base,
    targetIsZero: false,
    above: base,
    ...(rateLimit !== undefined && { rateLimit }),
    ...(sleep !== undefined && { sleep }),
    ...(signal !== undefined && { signal }),
  });
  await base.flush();
}
