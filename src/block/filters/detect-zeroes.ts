/** `detect-zeroes`: what is written and is all zeroes is written as zeroes, so that it takes no room. */
import type { BlockNode } from '../node.ts';
import { isAllZero } from '../zero-bytes.ts';

/** Changes the node's `write`. `unmap`: storage may be given back for it. */
export function detectZeroes(node: BlockNode, unmap: boolean): void {
  const write = node.write.bind(node);
  node.write = async (offset, from, flags = {}) => {
    const bytes = from.reduce((sum, piece) => sum + piece.length, 0);
    if (bytes === 0 || flags.compressed === true || !from.every((piece) => isAllZero(piece)))
      return write(offset, from, flags);
    return node.writeZeroes(offset, bytes, { unmap, ...(flags.fua !== undefined && { fua: flags.fua }) });
  };
}
