/**
 * What the commands of `orrery io` work on: the image that is open, requests that are under way, and where text goes.
 *
 * Standard output is kept until there is a buffer full of it or somebody waits for it, as the C library does for pipes and files:
 * scripts that join both outputs expect complaints to come first.
 */
import { ERRNO_TEXT, errnoOf } from '../../block/block-error.ts';
import type { BlockGraph } from '../../block/graph.ts';
import type { BlockNode } from '../../block/node.ts';
import { calledAs } from '../called-as.ts';

/** Where text goes. */
export interface TextSinks {
  out(text: string): void;
  error(text: string): void;
  /** Somebody looks at standard output: nothing is held back. */
  readonly live: boolean;
}

const PROCESS: TextSinks = {
  out: (text) => process.stdout.write(text),
  error: (text) => process.stderr.write(text),
  live: process.stdout.isTTY,
};

const BUFFER_CHARACTERS = 4096;

/** A command that ends without success, having said why. */
export class CommandFailed extends Error {}

export interface OpenImage {
  readonly node: BlockNode;
  /** Every write is on stable storage when it is done. */
  writethrough: boolean;
  /** Under which cache mode it was opened. */
  cache: string;
}

export class IoSession {
  readonly graph: BlockGraph;
  /** `--image-opts`: what `open` is given is a list of options too. */
  readonly imageOpts: boolean;
  image: OpenImage | undefined;
  ended = false;
  private readonly pending = new Set<Promise<void>>();
  private readonly sinks: TextSinks;
  private buffered = '';

  constructor(graph: BlockGraph, imageOpts: boolean, sinks: TextSinks = PROCESS) {
    this.graph = graph;
    this.imageOpts = imageOpts;
    this.sinks = sinks;
  }

  print(text: string): void {
    this.buffered += text;
    if (this.sinks.live || this.buffered.length >= BUFFER_CHARACTERS) this.flushOutput();
  }

  flushOutput(): void {
    if (this.buffered !== '') this.sinks.out(this.buffered);
    this.buffered = '';
  }

  /** A sentence on standard error, without the program's name. */
  complain(text: string): void {
    this.sinks.error(`${text}\n`);
  }

  /** Prints what is wrong and gives up the command. */
  fail(text: string): never {
    this.print(text);
    throw new CommandFailed();
  }

  /** The same on standard error, behind the program's name. */
  refuse(sentence: string): never {
    this.sinks.error(`${calledAs('io')}: ${sentence}\n`);
    throw new CommandFailed();
  }

  /** A request that nobody waits for; it tells its end itself. */
  start(request: Promise<void>): void {
    const kept = request.finally(() => this.pending.delete(kept));
    this.pending.add(kept);
  }

  /** Until every request that was started has ended. */
  async drain(): Promise<void> {
    while (this.pending.size > 0) await Promise.all(this.pending);
  }

  /** Lets requests that have nothing to wait for come to their end. */
  async settle(): Promise<void> {
    await new Promise((done) => setImmediate(done));
  }

  async close(): Promise<void> {
    const { image } = this;
    this.image = undefined;
    await this.drain();
    if (image !== undefined) await this.graph.close(image.node);
  }
}

/** What strerror(3) says of anything caught. */
export function errnoText(error: unknown): string {
  return ERRNO_TEXT[errnoOf(error)];
}
