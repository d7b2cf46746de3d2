/**
 * The load of the kill tests: batches of requests in different places at once, each followed by a flush. Which requests, and what they
 * write, follows from a number, so that whoever comes after the kill knows what may and what must be there.
 *
 * As a program: `node qcow2-load.ts IMAGE SEED`, which writes a line with the number of each batch that is on stable storage.
 */
import { writeSync } from 'node:fs';
import { closeAll, openQcow2 } from './plain-file.ts';

export const ZONES = 8;
export const ZONE_BYTES = 1 << 20;
export const DISK_BYTES: number = ZONES * ZONE_BYTES;
const CLUSTER = 65536;

export interface LoadRequest {
  readonly kind: 'write' | 'zero' | 'discard' | 'compressed';
  readonly offset: number;
  readonly bytes: number;
  readonly fill: number;
}

/** The requests of one batch: one in each zone. */
export function batch(seed: number, number: number): LoadRequest[] {
  let state = Math.imul(seed, 7919) + number * 104729;
  const next = (n: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  for (let warm = 0; warm < 4; warm++) next(2);
  return Array.from({ length: ZONES }, (_, zone) => {
    const kinds = ['write', 'write', 'write', 'write', 'compressed', 'compressed', 'zero', 'discard'] as const;
    const kind = kinds[next(kinds.length)] ?? 'write';
    const unit = kind === 'compressed' || kind === 'discard' ? CLUSTER : 512;
    const bytes = unit * (1 + next(kind === 'compressed' ? 2 : unit === 512 ? 300 : 4));
    const offset = zone * ZONE_BYTES + Math.floor(next(ZONE_BYTES - bytes + 1) / unit) * unit;
    return { kind, offset, bytes, fill: kind === 'write' || kind === 'compressed' ? 1 + next(255) : 0 };
  });
}

async function main(path: string, seed: number): Promise<void> {
  const node = await openQcow2(path, { unmap: true });
  for (let number = 1; ; number++) {
    await Promise.all(
      batch(seed, number).map(({ kind, offset, bytes, fill }) => {
        if (kind === 'zero') return node.writeZeroes(offset, bytes, { unmap: number % 2 === 0 });
        if (kind === 'discard') return node.discard(offset, bytes);
        return node.write(offset, [new Uint8Array(bytes).fill(fill)], { compressed: kind === 'compressed' });
      }),
    );
    await node.flush();
    writeSync(1, `${number}\n`);
    if (number % 5 !== 0) continue;
    // Snapshots come and go beside it; they change no byte of the disk.
    const { snapshots } = node;
    const moment = { vmStateBytes: 0, dateSeconds: number, dateNs: 0, vmClockNs: 0n };
    await snapshots.create({ name: `s${number}`, ...moment });
    const [oldest] = snapshots.list();
    if (snapshots.list().length > 2 && oldest !== undefined) await snapshots.delete(oldest.id);
    if (number >= 100_000) break;
  }
  await closeAll(node);
}

const [, , path, seed] = process.argv;
if (import.meta.main && path !== undefined) await main(path, Number(seed));
