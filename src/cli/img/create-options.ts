/** `-o` lists of formats: their help, and their values checked, in the order in which they are told. */
import type { BlockDriver, OptionDeclaration } from '../../block/driver.ts';
import type { BlockGraph } from '../../block/graph.ts';
import { parseOptionList } from '../system/option-text.ts';
import { ImgFailure } from './arguments.ts';
import { digitsOf, sizeOf } from './sizes.ts';

export type TextOptions = Readonly<Record<string, string>>;

/** Where a format's options are told in another order than they are declared. */
const TOLD_ORDER: Readonly<Record<string, readonly string[]>> = {
  qcow2: [
    'encryption', 'encrypt.format', 'encrypt.key-secret', 'encrypt.cipher-alg', 'encrypt.cipher-mode', 'encrypt.ivgen-alg',
    'encrypt.ivgen-hash-alg', 'encrypt.hash-alg', 'encrypt.iter-time', 'cluster_size', 'extended_l2', 'preallocation',
    'compression_type', 'size', 'compat', 'backing_file', 'backing_fmt', 'data_file', 'data_file_raw', 'lazy_refcounts',
    'refcount_bits',
  ],
}; // prettier-ignore

const TYPES: Readonly<Record<OptionDeclaration['type'], string>> = {
  string: 'str',
  bool: 'bool (on/off)',
  number: 'num',
  size: 'size',
};

/** Where names of options end and help begins. */
const HELP_COLUMN = 24;

export function wantsHelp(list: string): boolean {
  // Doubled commas belong to a value.
  return list
    .replaceAll(',,', '')
    .split(',')
    .some((item) => item === 'help' || item === '?');
}

export function describeOptions(declarations: readonly OptionDeclaration[]): string {
  return declarations
    .map(({ name, type, help }) => `  ${`${name}=<${TYPES[type]}>`.padEnd(HELP_COLUMN - 2)} - ${help}\n`)
    .sort()
    .join('');
}

/** In the order in which they are told when the image is no more than its file. */
const RAW_ORDER: readonly string[] = ['size', 'nocow', 'preallocation', 'extent_size_hint'];

/** A driver's options, and those of the file below. */
export function createOptionsOf(graph: BlockGraph, driver: BlockDriver): readonly OptionDeclaration[] {
  const own = driver.createOptions ?? [];
  const protocol = graph.driver('file')?.createOptions ?? [];
  const all = [...own, ...protocol.filter(({ name }) => own.every((option) => option.name !== name))];
  if (driver.name !== 'raw') return all;
  return RAW_ORDER.flatMap((name) => all.filter((option) => option.name === name));
}

/** Help on `-o` as `create`, `convert` and `measure` give it. */
export function optionHelp(graph: BlockGraph, format: string, filename: string | undefined): string {
  const driver = graph.driver(format);
  if (driver === undefined) throw new ImgFailure(`Unknown file format '${format}'`);
  if (driver.create === undefined) throw new ImgFailure(`Format driver '${format}' does not support image creation`);
  if (filename !== undefined) return `Supported options:\n${describeOptions(createOptionsOf(graph, driver))}`;
  const own = (driver.createOptions ?? []).filter(({ name }) => driver.name !== 'raw' || name === 'size');
  return (
    `Supported ${format} options:\n${describeOptions(own)}\n` +
    'The protocol level may support further options.\nSpecify the target filename to include those options.\n'
  );
}

/** The options of a list, checked against what there is and written as the format takes them. */
export function parseOptions(
  list: string | undefined,
  declarations: readonly OptionDeclaration[],
): Record<string, string> {
  if (list === undefined) return {};
  const { name, properties } = parseOptionList('o', list);
  const given = name === undefined ? properties : { [name]: 'on', ...properties };
  const checked: Record<string, string> = {};
  for (const [option, text] of Object.entries(given)) {
    const declaration = declarations.find((candidate) => candidate.name === option);
    if (declaration === undefined) throw new ImgFailure(`Invalid parameter '${option}'`);
    checked[option] = valueOf(declaration, text);
  }
  return checked;
}

const SWITCHES: Readonly<Record<string, string>> = {
  on: 'on', yes: 'on', true: 'on', y: 'on', off: 'off', no: 'off', false: 'off', n: 'off',
}; // prettier-ignore

function valueOf({ name, type }: OptionDeclaration, text: string): string {
  switch (type) {
    case 'string':
      return text;
    case 'bool': {
      const value = Object.hasOwn(SWITCHES, text) ? SWITCHES[text] : undefined;
      if (value === undefined) throw new ImgFailure(`Parameter '${name}' expects 'on' or 'off'`);
      return value;
    }
    case 'number':
      if (!/^-?(0x[0-9a-f]+|\d+)$/i.test(text)) throw new ImgFailure(`Parameter '${name}' expects a number`);
      return text.startsWith('-') ? text : String(Number(text));
    case 'size': {
      const bytes = sizeOf(text);
      if (bytes === undefined) {
        throw new ImgFailure(
          `Parameter '${name}' expects a non-negative number below 2^64\n` +
            'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.',
        );
      }
      if (!Number.isFinite(bytes)) throw new ImgFailure(`Value '${text}' is too large for parameter '${name}'`);
      return digitsOf(bytes);
    }
  }
}

/** "size=1048576 lazy_refcounts=off": what is given, and what stands for itself. */
export function tellOptions(format: string, options: TextOptions, declarations: readonly OptionDeclaration[]): string {
  const order = TOLD_ORDER[format];
  const first = (order ?? []).flatMap((name) => declarations.filter((option) => option.name === name));
  const sorted = [...first, ...declarations.filter((option) => !first.includes(option))];
  return sorted
    .map((declaration): [OptionDeclaration, string | undefined] => [
      declaration,
      options[declaration.name] ?? (isTold(format, declaration) ? declaration.default : undefined),
    ])
    .filter(([, value]) => value !== undefined)
    .map(([{ name, type }, value = '']) => `${name}=${type === 'string' ? escaped(value) : value}`)
    .join(' ');
}

/** Preallocation is off without having to be told. */
function isTold(format: string, { name }: OptionDeclaration): boolean {
  return name !== 'preallocation' && !(format === 'luks' && name !== 'size');
}

/** Commas are doubled, as whoever types it again must. */
function escaped(value: string): string {
  return value.replaceAll(',', ',,');
}

/** Without what is the protocol's business only, and empty names of backing images. */
export function forDriver(
  declarations: readonly { readonly name: string }[],
  options: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(options).filter(
      ([name, value]) =>
        declarations.some((option) => option.name === name) && !(name === 'backing_file' && value === ''),
    ),
  );
}
