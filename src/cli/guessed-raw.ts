/** What the tools say of an image that is going to be written and whose content looks like no format at all. */
import type { BlockNode } from '../block/node.ts';

export function warnOfGuessedRaw(
  node: BlockNode,
  say: (text: string) => void = (text) => process.stderr.write(`${text}\n`),
): void {
  if (node.driver !== 'raw' || node.readOnly) return;
  say(
    `WARNING: Image format was not specified for '${node.filename}' and probing guessed raw.\n` +
      '         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n' +
      "         Specify the 'raw' format explicitly to remove the restrictions.",
  );
}
