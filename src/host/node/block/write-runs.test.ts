import { expect, it } from 'vitest';
import { WriteRuns } from './write-runs.ts';

/** What was written, in order, each when it is let go. */
function rig(): { runs: WriteRuns; log: string[]; go: (error?: Error) => Promise<void> } {
  const log: string[] = [];
  const gates: ((error?: Error) => void)[] = [];
  const runs = new WriteRuns((offset, pieces) => {
    log.push(`${offset}: ${pieces.map((piece) => piece.length).join('+')}`);
    return new Promise((resolve, reject) => gates.push((error) => (error === undefined ? resolve() : reject(error))));
  });
  const go = async (error?: Error): Promise<void> => {
    gates.shift()?.(error);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { runs, log, go };
}

const add = (runs: WriteRuns, offset: number, bytes: number): Promise<void> =>
  runs.add(offset, [new Uint8Array(bytes)], bytes);

it('writes that continue one that is under way wait for it and go together', async () => {
  const { runs, log, go } = rig();
  const all = [add(runs, 0, 10), add(runs, 10, 20), add(runs, 30, 5), add(runs, 100, 7), add(runs, 35, 1)];
  expect(log).toEqual(['0: 10', '100: 7']);
  await go();
  expect(log).toEqual(['0: 10', '100: 7', '10: 20+5+1']);
  all.push(add(runs, 36, 3), add(runs, 107, 2));
  expect(log).toHaveLength(3);
  for (let i = 0; i < 5; i++) await go();
  expect(log.slice(3).toSorted()).toEqual(['107: 2', '36: 3']);
  await Promise.all(all);
});

it('a failure is that of its run, and the next is written all the same', async () => {
  const { runs, log, go } = rig();
  const results = Promise.allSettled([add(runs, 0, 1), add(runs, 1, 1), add(runs, 2, 1)]);
  await go(new Error('no'));
  const last = add(runs, 3, 1);
  await go(new Error('neither'));
  await go();
  await last;
  expect((await results).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect(log).toEqual(['0: 1', '1: 1+1', '3: 1']);
});

it('long writes take their turns, also behind one that failed', async () => {
  const { runs, log, go } = rig();
  const [first, second, short] = [add(runs, 0, 1 << 20), add(runs, 1 << 20, 1 << 20), add(runs, 5 << 20, 10)];
  const failed = first.catch((error: Error) => error.message);
  expect(log).toEqual(['0: 1048576', '5242880: 10']);
  await go(new Error('no'));
  expect(await failed).toBe('no');
  expect(log).toHaveLength(3);
  await go();
  await go();
  await short;
  await second;
});

it('long writes go by themselves, and runs end at 4 MiB', async () => {
  const { runs, log, go } = rig();
  const big = add(runs, 0, 1 << 20);
  const next = add(runs, 1 << 20, 10);
  expect(log).toHaveLength(2);
  await go();
  await go();
  await Promise.all([big, next]);
  const many = Array.from({ length: 12 }, (_, i) => add(runs, i << 19, 1 << 19));
  for (let i = 0; i < 6; i++) await go();
  await Promise.all(many);
  expect(log.slice(2).map((line) => line.split('+').length)).toEqual([1, 8, 3]);
});
