/** The long form of images.test.ts: `node tests/fuzz/images.ts [images = 1000000] [first = 1]`. Tells hangs, slow ones, memory and how many opened. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { makeSeeds, runCase } from '../support/fuzz-images.ts';

const MIB = 2 ** 20;
/** A case takes milliseconds; a checksum or a key a second, on a busy machine several. */
const HANG_MS = 60_000;
/** Of processor time, which others cannot make longer. */
const SLOW_MS = 1000;
const MAX_FAILURES = 20;
/** What cases leave behind is collected as often, so that growth is not only garbage. */
const CASES_A_COLLECTION = 256;

interface Job {
  readonly first: number;
  readonly end: number;
  /** The case under way. */
  readonly at: Int32Array;
}

async function work({ first, end, at }: Job): Promise<void> {
  const seeds = await makeSeeds();
  setFlagsFromString('--expose-gc');
  // INVARIANT: with that flag a new context has it.
  const collect = runInNewContext('gc') as () => void;
  collect();
  const before = process.memoryUsage().rss;
  let [opened, requests, failures, most] = [0, 0, 0, 0];
  for (let number = first; number < end && failures < MAX_FAILURES; number++) {
    Atomics.store(at, 0, number);
    const started = process.cpuUsage();
    try {
      const result = await runCase(seeds, number);
      if (result.opened) opened++;
      requests = Math.max(requests, result.requests);
      const { user, system } = process.cpuUsage(started);
      const ms = (user + system) / 1000;
      if (ms > SLOW_MS) console.log(`${number}: ${result.name} took ${ms.toFixed(0)} ms, ${result.requests} requests`);
    } catch (error) {
      failures++;
      console.log(`${number}: ${error instanceof Error ? error.stack : String(error)}`);
    }
    if (number % CASES_A_COLLECTION === 0) collect();
    if (number % 16 !== 0) continue;
    const { rss } = process.memoryUsage();
    if (rss - before > most + 64 * MIB) {
      most = rss - before;
      console.log(`${number}: ${Math.round(most / MIB)} MiB more than at the beginning`);
    }
    if (number % 20_000 === 0) console.log(`${number}: ${opened} opened`);
  }
  parentPort?.postMessage({ opened, requests, failures });
}

function watch(first: number, end: number): void {
  const at = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL(import.meta.url), { workerData: { first, end, at } satisfies Job });
  let [last, since] = [0, Date.now()];
  const timer = setInterval(() => {
    const now = Atomics.load(at, 0);
    if (now !== last) [last, since] = [now, Date.now()];
    else if (Date.now() - since > HANG_MS) {
      console.log(`${now}: hangs`);
      clearInterval(timer);
      void worker.terminate().then(() => watch(now + 1, end));
    }
  }, 1000);
  worker.on('message', (result) => {
    clearInterval(timer);
    const peak = Math.round(process.resourceUsage().maxRSS / 1024);
    console.log(`images ${first} to ${end - 1}:`, result, `peak ${peak} MiB`);
  });
}

const [, , count = '1000000', begin = '1'] = process.argv;
// INVARIANT: the data is what `watch` gave.
if (!isMainThread) await work(workerData as Job);
else watch(Number(begin), Number(begin) + Number(count));
