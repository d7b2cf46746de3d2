/** Persistent dirty bitmaps from one image to another of the same size. */
import { ImageError } from '../block-error.ts';
import type { BlockNode, DirtyBitmap } from '../node.ts';

/** Copies all; names of those that were left out because nobody knows what they should say. */
export async function copyBitmaps(
  source: BlockNode | undefined,
  target: BlockNode,
  { skipBroken = false }: { readonly skipBroken?: boolean } = {},
): Promise<readonly string[]> {
  const skipped: string[] = [];
  for (const { name, granularity, flags } of source?.bitmaps?.list() ?? []) {
    if (flags.includes('in-use')) {
      if (!skipBroken) throw new ImageError(`Cannot copy inconsistent bitmap '${name}'`);
      skipped.push(name);
      continue;
    }
    const copy = await target.bitmaps?.add(name, granularity, flags.includes('auto'));
    const bitmap = source?.bitmaps?.find(name);
    if (copy !== undefined && bitmap !== undefined) mergeBitmap(bitmap, copy, source?.size ?? 0);
  }
  return skipped;
}

/** What is dirty in `from` becomes dirty in `into`; both are over `size` bytes. */
export function mergeBitmap(from: DirtyBitmap, into: DirtyBitmap, size: number): void {
  for (let offset = 0; offset < size;) {
    const { dirty, bytes } = from.run(offset, size - offset);
    if (bytes <= 0) break;
    if (dirty) into.set(offset, bytes);
    offset += bytes;
  }
}
