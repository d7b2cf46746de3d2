/** What is done to the dirty bitmaps that an image stores: `img bitmap`. */
import { ImageError } from '../block-error.ts';
import type { BlockNode } from '../node.ts';
import { mergeBitmap } from './copy-bitmaps.ts';

export type BitmapAction =
  | { readonly kind: 'add'; readonly granularity?: number }
  | { readonly kind: 'remove' | 'clear' | 'enable' | 'disable' }
  /** `bitmap` of `source` (by default of the same image) is added to it. */
  | { readonly kind: 'merge'; readonly bitmap: string; readonly source?: BlockNode };

/** Granularity by default: a cluster, within these. */
const [GRANULARITY_MIN, GRANULARITY_MAX] = [4096, 65536];

/** Stored when the image is closed. */
export async function changeBitmap(node: BlockNode, name: string, action: BitmapAction): Promise<void> {
  const { bitmaps } = node;
  if (action.kind === 'add') {
    if (bitmaps === undefined)
      throw new ImageError(`Can't store persistent bitmaps to ${node.name}: Operation not supported`, 'ENOTSUP');
    const cluster = node.imageInfo?.().clusterSize ?? GRANULARITY_MAX;
    const usual = Math.min(GRANULARITY_MAX, Math.max(GRANULARITY_MIN, cluster));
    await bitmaps.add(name, action.granularity ?? usual, true);
    return;
  }
  if (bitmaps === undefined || !bitmaps.list().some((known) => known.name === name)) return notFound(name);
  if (action.kind === 'remove') return bitmaps.remove(name);
  // Throws for those that nobody stored.
  const bitmap = bitmaps.find(name);
  switch (action.kind) {
    case 'clear':
      return bitmap?.clear();
    case 'enable':
    case 'disable':
      return bitmaps.enable(name, action.kind === 'enable');
    case 'merge': {
      const { source = node } = action;
      const other = source.bitmaps?.find(action.bitmap);
      if (other === undefined) return notFound(action.bitmap);
      if (source.size !== node.size) {
        const sizes = `destination size is ${node.size}, source size is ${source.size}`;
        throw new ImageError(`Bitmaps are of different sizes (${sizes}) and can't be merged`);
      }
      if (bitmap !== undefined) mergeBitmap(other, bitmap, node.size);
    }
  }
}

function notFound(name: string): never {
  throw new ImageError(`Dirty bitmap '${name}' not found`, 'ENOENT');
}
