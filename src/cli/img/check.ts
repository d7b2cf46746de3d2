/** `orrery img check`: whether an image is consistent, and repairing it. */
import { ERRNO_TEXT, errnoOf } from '../../block/block-error.ts';
import type { BlockNode, CheckResult, JsonValue } from '../../block/node.ts';
import { Arguments, ImgFailure, SHAPES, usageError } from './arguments.ts';
import { complain } from './complain.ts';
import { jsonText, knownMembers } from './json.ts';
import { cacheMode, messageOf, newGraph, openImage } from './open.ts';

const { format: FORMAT, imageOpts, output: OUTPUT, forceShare, quiet, sourceCache } = SHAPES;
const REPAIR = { name: 'repair', short: 'r', value: true };

/** Exit statuses. */
const CORRUPT = 2;
const LEAKS = 3;
const UNSUPPORTED = 63;

/** Counts that are told when they are not 0. */
type Counts = Omit<CheckResult, 'messages'>;

export async function check(words: readonly string[]): Promise<number> {
  const args = new Arguments(words, [FORMAT, imageOpts, OUTPUT, forceShare, quiet, sourceCache, REPAIR]);
  const repair = args.get(REPAIR) ?? 'none';
  if (repair !== 'none' && repair !== 'leaks' && repair !== 'all')
    throw usageError(`Unknown option value for -r (expecting 'leaks' or 'all'): ${repair}`);
  const filename = args.only('Expecting one image file name');
  const { output } = args;
  const cache = cacheMode(args.get(sourceCache) ?? 'writeback', 'source cache');
  const format = args.get(FORMAT);
  const graph = newGraph(args);
  const node = await openImage(graph, filename, {
    imageOpts: args.has(imageOpts),
    readOnly: repair === 'none',
    check: true,
    direct: cache.direct,
    noFlush: cache.noFlush,
    forceShare: args.has(forceShare),
    ...(format !== undefined && { format }),
  });
  try {
    const say = (text: string): void => {
      if (!args.quiet) process.stdout.write(text);
    };
    let result: Counts = await run(node, repair);
    const { corruptionsFixed, leaksFixed } = result;
    if (corruptionsFixed + leaksFixed > 0) {
      if (output === 'human') say(describeRepairs(result));
      result = { ...(await run(node, 'none')), corruptionsFixed, leaksFixed };
    }
    say(output === 'human' ? describe(result) : `${jsonText(asJson(result, filename, node.driver))}\n`);
    if (result.checkErrors > 0) throw new ImgFailure('Check failed');
    return result.corruptions > 0 ? CORRUPT : result.leaks > 0 ? LEAKS : 0;
  } finally {
    await graph.closeAll();
  }
}

async function run(node: BlockNode, repair: 'none' | 'leaks' | 'all'): Promise<CheckResult> {
  if (node.check === undefined) throw new ImgFailure('This image format does not support checks', UNSUPPORTED);
  const result = await node.check(repair).catch((error: unknown) => {
    const code = errnoOf(error);
    if (code === 'ENOTSUP') throw new ImgFailure('This image format does not support checks', UNSUPPORTED);
    if (messageOf(error) !== ERRNO_TEXT[code]) complain(messageOf(error));
    throw new ImgFailure(`Check failed: ${ERRNO_TEXT[code]}`);
  });
  for (const sentence of result.messages) process.stderr.write(`${sentence}\n`);
  return result;
}

function describeRepairs({ leaksFixed, corruptionsFixed }: Counts): string {
  return (
    'The following inconsistencies were found and repaired:\n\n' +
    `    ${leaksFixed} leaked clusters\n    ${corruptionsFixed} corruptions\n\n` +
    'Double checking the fixed image now...\n'
  );
}

function describe(result: Counts): string {
  const { corruptions, leaks, checkErrors } = result;
  const { totalClusters = 0, allocatedClusters = 0, imageEndOffset = 0 } = result;
  let text = '';
  if (corruptions + leaks + checkErrors === 0) text += 'No errors were found on the image.\n';
  if (corruptions > 0) {
    text +=
      `\n${corruptions} errors were found on the image.\n` +
      'Data may be corrupted, or further writes to the image may corrupt it.\n';
  }
  if (leaks > 0) {
    text +=
      `\n${leaks} leaked clusters were found on the image.\n` +
      'This means waste of disk space, but no harm to data.\n';
  }
  if (checkErrors > 0) text += `\n${checkErrors} internal errors have occurred during the check.\n`;
  if (totalClusters > 0 && allocatedClusters > 0) {
    const share = (part: number, whole: number): string => `${((part * 100) / whole).toFixed(2)}%`;
    const { fragmentedClusters = 0, compressedClusters = 0 } = result;
    text +=
      `${allocatedClusters}/${totalClusters} = ${share(allocatedClusters, totalClusters)} allocated, ` +
      `${share(fragmentedClusters, allocatedClusters)} fragmented, ` +
      `${share(compressedClusters, allocatedClusters)} compressed clusters\n`;
  }
  if (imageEndOffset > 0) text += `Image end offset: ${imageEndOffset}\n`;
  return text;
}

function asJson(result: Counts, filename: string, format: string): Record<string, JsonValue> {
  const some = (count: number | undefined): number | undefined => (count === 0 ? undefined : count);
  return knownMembers({
    filename,
    format,
    'check-errors': result.checkErrors,
    'image-end-offset': some(result.imageEndOffset),
    corruptions: some(result.corruptions),
    leaks: some(result.leaks),
    'corruptions-fixed': some(result.corruptionsFixed),
    'leaks-fixed': some(result.leaksFixed),
    'total-clusters': some(result.totalClusters),
    'allocated-clusters': some(result.allocatedClusters),
    'fragmented-clusters': some(result.fragmentedClusters),
    'compressed-clusters': some(result.compressedClusters),
  });
}
