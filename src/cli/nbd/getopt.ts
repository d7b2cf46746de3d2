/**
 * Options as getopt_long(3) of the GNU C library takes them: short ones in clusters, long ones shortened as far as they stay
 * clear, operands anywhere, `--` before operands that begin with a dash.
 */
import { UserError } from '../../base/errors.ts';

export interface OptionShape {
  /** Long name, which is also what the result is called by. */
  readonly name: string;
  readonly short?: string;
  readonly value: boolean;
}

export interface ParsedOption {
  readonly name: string;
  readonly value: string;
}

export interface ParsedArguments {
  /** In the order given. */
  readonly options: readonly ParsedOption[];
  readonly operands: readonly string[];
}

/** What is wrong with an argument. */
export interface WrongArgument {
  readonly kind: 'missing' | 'unknown';
  readonly argument: string;
}

/** `complain` is the line that tells where help is, for a UserError in getopt's words; or what throws another one. */
export function parseLongOptions(
  args: readonly string[],
  shapes: readonly OptionShape[],
  complain: string | ((wrong: WrongArgument) => never),
): ParsedArguments {
  const options: ParsedOption[] = [];
  const operands: string[] = [];
  const fail = (sentence: string, argument: string, kind: WrongArgument['kind'] = 'unknown'): never => {
    if (typeof complain !== 'string') return complain({ kind, argument });
    throw new UserError(`${sentence}\n${complain}`);
  };
  for (let at = 0; at < args.length; at++) {
    const argument = args[at] ?? '';
    if (argument === '--') {
      operands.push(...args.slice(at + 1));
      break;
    }
    if (argument.startsWith('--')) {
      const equals = argument.indexOf('=');
      const given = equals < 0 ? argument.slice(2) : argument.slice(2, equals);
      const exact = shapes.filter(({ name }) => name === given);
      const matches = exact.length > 0 ? exact : shapes.filter(({ name }) => name.startsWith(given));
      if (matches.length > 1) {
        const names = matches.map(({ name }) => `'--${name}'`).join(' ');
        return fail(`option '--${given}' is ambiguous; possibilities: ${names}`, argument);
      }
      const [shape] = matches;
      if (shape === undefined) return fail(`unrecognized option '--${given}'`, argument);
      if (!shape.value && equals >= 0) return fail(`option '--${shape.name}' doesn't allow an argument`, argument);
      const value = shape.value && equals < 0 ? args[++at] : argument.slice(equals + 1);
      if (value === undefined) return fail(`option '--${shape.name}' requires an argument`, argument, 'missing');
      options.push({ name: shape.name, value: shape.value ? value : '' });
    } else if (argument.startsWith('-') && argument.length > 1) {
      for (let place = 1; place < argument.length; place++) {
        const letter = argument[place] ?? '';
        const shape = shapes.find(({ short }) => short === letter);
        if (shape === undefined) return fail(`invalid option -- '${letter}'`, argument);
        if (!shape.value) {
          options.push({ name: shape.name, value: '' });
          continue;
        }
        const rest = argument.slice(place + 1);
        const value = rest === '' ? args[++at] : rest;
        if (value === undefined) return fail(`option requires an argument -- '${letter}'`, argument, 'missing');
        options.push({ name: shape.name, value });
        break;
      }
    } else operands.push(argument);
  }
  return { options, operands };
}
