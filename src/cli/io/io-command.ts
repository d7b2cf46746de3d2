/** What a command of `orrery io` is, and how its arguments are taken apart. */
import { UserError } from '../../base/errors.ts';
import type { BlockNode } from '../../block/node.ts';
import { type OptionShape, type ParsedArguments, parseLongOptions } from '../nbd/getopt.ts';
import { parseBytes } from './numbers.ts';
import { CommandFailed, type IoSession, type OpenImage } from './session.ts';

export interface IoCommand {
  readonly name: string;
  readonly shortName?: string;
  /** As `help` shows it: "[-Cq] off len". */
  readonly usage?: string;
  readonly summary: string;
  /** Fewest and most arguments, options counted. */
  readonly minimum?: number;
  readonly maximum?: number;
  /** Letters of options as for getopt(3): a colon behind those with a value. */
  readonly letters?: string;
  /** Works without an image. */
  readonly withoutImage?: boolean;
  /** Needs an image that can be written. */
  readonly writes?: boolean;
  run(session: IoSession, args: IoArguments): Promise<void>;
}

/** Arguments of one command, taken apart. */
export class IoArguments {
  readonly operands: readonly string[];
  /** In the order given. */
  readonly options: readonly { readonly name: string; readonly value: string }[];
  private readonly session: IoSession;
  private readonly command: IoCommand;

  constructor(session: IoSession, command: IoCommand, words: readonly string[]) {
    this.session = session;
    this.command = command;
    const shapes = [...(command.letters ?? '').matchAll(/([A-Za-z])(:?)/g)].map(([, name = '', colon]) => ({
      name,
      short: name,
      value: colon === ':',
    }));
    // Commands without options take words with dashes as they are.
    const parsed = shapes.length === 0 ? { options: [], operands: words } : this.parse(words, shapes);
    this.options = parsed.options;
    this.operands = parsed.operands;
  }

  private parse(words: readonly string[], shapes: readonly OptionShape[]): ParsedArguments {
    try {
      return parseLongOptions(words, shapes, '');
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      this.session.complain(`${this.command.name}: ${error.message.trimEnd()}`);
      return this.misused();
    }
  }

  has(letter: string): boolean {
    return this.options.some(({ name }) => name === letter);
  }

  value(letter: string): string | undefined {
    return this.options.findLast(({ name }) => name === letter)?.value;
  }

  /** An argument as a number of bytes. */
  bytes(text: string | undefined): number {
    const value = parseBytes(text ?? '');
    return typeof value === 'string' ? this.session.fail(value) : value;
  }

  /** Shows how the command is to be called, and gives it up. */
  misused(): never {
    const { name, usage = '', summary } = this.command;
    return this.session.fail(`${name} ${usage} -- ${summary}\n`);
  }
}

/** The image that is open. Commands that need one are only run when there is. */
export function openedImage({ image }: IoSession): OpenImage {
  if (image === undefined) throw new CommandFailed();
  return image;
}

export function openedNode(session: IoSession): BlockNode {
  return openedImage(session).node;
}
