/** Work that takes its time, as an async iterator of how far it is; whoever stops asking stops the work. */
import { BlockError } from '../block-error.ts';

export interface JobProgress {
  /** In whatever the job counts; `total` may still grow. */
  readonly done: number;
  readonly total: number;
}

export interface Abortable {
  readonly signal?: AbortSignal | undefined;
}

/** Tells how far the work is; the latest word is what is yielded. */
export type Report = (done: number, total: number) => void;

/** Tells the work that nobody wants it any more. */
export interface Stop {
  /** Throws when that is so. */
  throwIfAborted(): void;
}

/** Runs `work` and yields what it reports; returns what it returns. */
export async function* runJob<Result>(
  work: (report: Report, stop: Stop) => Promise<Result>,
  outer: AbortSignal | undefined,
): AsyncGenerator<JobProgress, Result, void> {
  outer?.throwIfAborted();
  let abandoned = false;
  const stop: Stop = {
    throwIfAborted() {
      outer?.throwIfAborted();
      if (abandoned) throw new BlockError('ECANCELED');
    },
  };
  let latest: JobProgress | undefined;
  let wake = (): void => {};
  let over = false;
  const running = work((done, total) => {
    latest = { done, total };
    wake();
  }, stop).finally(() => {
    over = true;
    wake();
  });
  // Whether it failed is looked at below.
  running.catch(() => {});
  try {
    while (!over || latest !== undefined) {
      if (latest === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const progress = latest;
      latest = undefined;
      yield progress;
    }
    return await running;
  } finally {
    abandoned = true;
    await running.catch(() => {});
  }
}

/** Runs a job to its end, and gives what it returns. */
export async function finish<Result>(
  job: AsyncGenerator<JobProgress, Result, void>,
  onProgress: (progress: JobProgress) => void = () => {},
): Promise<Result> {
  for (;;) {
    const step = await job.next();
    if (step.done === true) return step.value;
    onProgress(step.value);
  }
}
