/** A node in the words of -blockdev, as far as its name says what it is. */
import type { BlockNode, JsonValue } from './node.ts';

/** Options that a file name stands for. */
export function describeNode(node: BlockNode): JsonValue {
  const { filename } = node;
  // INVARIANT: names that begin so are written as JSON by nodes themselves.
  return filename.startsWith('json:')
    ? (JSON.parse(filename.slice(5)) as JsonValue)
    : { driver: node.driver, filename };
}
