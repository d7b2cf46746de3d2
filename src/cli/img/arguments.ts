/** Options and operands of a subcommand, as qemu-img takes and refuses them. */
import { UserError } from '../../base/errors.ts';
import { type OptionShape, type ParsedOption, parseLongOptions } from '../nbd/getopt.ts';
import { calledAs } from '../called-as.ts';

/** What ends a subcommand: a sentence (or none, when all was said already) and the exit status. */
export class ImgFailure extends UserError {
  override readonly name: string = 'ImgFailure';
  readonly status: number;

  constructor(message: string, status = 1) {
    super(message);
    this.status = status;
  }
}

/** The line after a sentence about wrong usage. */
function hint(): string {
  return `Try '${calledAs('img')} --help' for more information`;
}

export function usageError(sentence: string): ImgFailure {
  return new ImgFailure(`${sentence}\n${hint()}`);
}

/** A subcommand asked for help. */
export class HelpWanted extends Error {}

const OBJECT: OptionShape = { name: 'object', value: true };
const HELP: OptionShape = { name: 'help', short: 'h', value: false };

/** Options that many subcommands have, by name. */
export const SHAPES = {
  imageOpts: { name: 'image-opts', value: false },
  quiet: { name: 'quiet', short: 'q', value: false },
  format: { name: 'format', short: 'f', value: true },
  output: { name: 'output', value: true },
  cache: { name: 'cache', short: 't', value: true },
  sourceCache: { name: 'source-cache', short: 'T', value: true },
  progress: { name: 'progress', short: 'p', value: false },
  forceShare: { name: 'force-share', short: 'U', value: false },
  options: { name: 'options', short: 'o', value: true },
  backingFormat: { name: 'backing-format', short: 'F', value: true },
} as const satisfies Readonly<Record<string, OptionShape>>;

export class Arguments {
  private readonly options: readonly ParsedOption[];
  readonly operands: readonly string[];

  constructor(args: readonly string[], shapes: readonly OptionShape[]) {
    const parsed = parseLongOptions(args, [...shapes, OBJECT, HELP], ({ kind, argument }) => {
      throw usageError(
        kind === 'missing' ? `missing argument for option '${argument}'` : `unrecognized option '${argument}'`,
      );
    });
    this.options = parsed.options;
    this.operands = parsed.operands;
    if (this.has(HELP)) throw new HelpWanted();
  }

  /** In the order given. */
  get all(): readonly ParsedOption[] {
    return this.options;
  }

  has({ name }: OptionShape): boolean {
    return this.options.some((option) => option.name === name);
  }

  /** The last one given. */
  get({ name }: OptionShape): string | undefined {
    return this.options.findLast((option) => option.name === name)?.value;
  }

  values({ name }: OptionShape): readonly string[] {
    return this.options.filter((option) => option.name === name).map(({ value }) => value);
  }

  get objects(): readonly string[] {
    return this.values(OBJECT);
  }

  get quiet(): boolean {
    return this.has(SHAPES.quiet);
  }

  /** `--output`. */
  get output(): 'human' | 'json' {
    const text = this.get(SHAPES.output) ?? 'human';
    if (text !== 'human' && text !== 'json')
      throw new ImgFailure('--output must be used with human or json as argument.');
    return text;
  }

  /** All `-o` lists as one. */
  get optionList(): string | undefined {
    const lists = this.values(SHAPES.options);
    for (const list of lists) if (!isOptionList(list)) throw new ImgFailure(`Invalid option list: ${list}`);
    return lists.length === 0 ? undefined : lists.join(',');
  }

  /** The only operand. */
  only(complaint: string): string {
    const [operand] = this.operands;
    if (operand === undefined || this.operands.length !== 1) throw usageError(complaint);
    return operand;
  }
}

/** Lists that are put together must not begin or end with a single comma, nor be made of commas. */
function isOptionList(text: string): boolean {
  const commas = (match: RegExpExecArray | null): number => match?.[0].length ?? 0;
  return !/^,*$/.test(text) && commas(/^,+/.exec(text)) % 2 === 0 && commas(/,+$/.exec(text)) % 2 === 0;
}
