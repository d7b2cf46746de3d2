/** What is to be copied: runs of the sources, one behind the other, by what is known of them. */
import { type ChainStatus, statusOfChain } from '../chain-status.ts';
import type { BlockNode } from '../node.ts';

/** 'below': the target's backing image has it already. */
export type RunKind = 'data' | 'zero' | 'below';

export interface Run {
  readonly kind: RunKind;
  /** In the target. */
  readonly at: number;
  readonly bytes: number;
}

export interface PlanOptions {
  /** Only what is above this node of the sources' backing chains. */
  readonly above: BlockNode | undefined;
  /** Where the target's backing image ends, with `above`; what is behind it reads as zeroes without being written. */
  readonly backingEnd: number;
  /** Sectors whose status cannot be told are taken for data; called with the place of each, in the target. */
  readonly salvage: ((offset: number, error: unknown) => void) | undefined;
}

/** Questions of status are about so many bytes at most. */
const STEP_BYTES: number = 1024 ** 3;
const SECTOR = 512;

export async function* planCopy(sources: readonly BlockNode[], options: PlanOptions): AsyncGenerator<Run, void, void> {
  let base = 0;
  for (const source of sources) {
    for (let from = 0; from < source.size;) {
      const { kind, bytes } = await runAt(source, from, base, options);
      yield { kind, at: base + from, bytes };
      from += bytes;
    }
    base += source.size;
  }
}

/** Fills `into` with what the sources, one behind the other, have at `at`. */
export async function readSources(sources: readonly BlockNode[], at: number, into: Uint8Array): Promise<void> {
  let [base, done] = [0, 0];
  for (const source of sources) {
    const from = at + done - base;
    if (done === into.length) return;
    if (from < source.size) {
      const part = into.subarray(done, done + Math.min(into.length - done, source.size - from));
      await source.read(from, [part]);
      done += part.length;
    }
    base += source.size;
  }
}

async function runAt(
  source: BlockNode,
  from: number,
  base: number,
  { above, backingEnd, salvage }: PlanOptions,
): Promise<{ readonly kind: RunKind; readonly bytes: number }> {
  let status: ChainStatus | undefined;
  let most = Math.min(source.size - from, STEP_BYTES);
  while (status === undefined) {
    try {
      status = await statusOfChain(source, from, most, above);
    } catch (error) {
      if (salvage === undefined) throw error;
      if (most <= SECTOR) {
        salvage(base + from, error);
        return { kind: 'data', bytes: most };
      }
      // Less may be before the place that fails.
      most = Math.ceil(most / 2 / SECTOR) * SECTOR;
    }
  }
  const { zero, bytes, depth } = status;
  if (above === undefined) return { kind: zero ? 'zero' : 'data', bytes };
  if (depth === 0) return { kind: 'below', bytes };
  if (!zero) return { kind: 'data', bytes };
  const behind = base + from >= backingEnd;
  return { kind: behind ? 'below' : 'zero', bytes: behind ? bytes : Math.min(bytes, backingEnd - base - from) };
}
