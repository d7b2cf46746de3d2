/**
 * Rules of `blkdebug` as they are written: a file of sections
 *
 *     [inject-error]
 *     event = "l2_update"
 *     errno = "28"
 *
 * and the same among a node's options, `inject-error.0.event=l2_update`.
 */
import { ImageError } from '../../block-error.ts';
import type { NodeOptions } from '../../driver.ts';
import type { JsonValue } from '../../node.ts';
import { boolOption, textOption } from '../../options.ts';
import { errnoOfNumber, EVENTS, FAULTS, IO_TYPES } from './events.ts';
import type { InjectRule, Rule, StateRule } from './rules.ts';

/** Longer files than this are none of rules. */
export const MAX_CONFIG_BYTES: number = 1 << 20;
const SECTOR = 512;
/** Rules that name no kind of request are for all that change something or read. */
const DEFAULT_IO_TYPES = IO_TYPES.filter((type) => type !== 'block-status');
const INJECT_KEYS = ['event', 'state', 'iotype', 'errno', 'sector', 'once', 'immediately', 'fault', 'delay-ms', 'nth'];
const STATE_KEYS = ['event', 'state', 'new_state'];

/** Rules of a file, in its order. `filename` is for complaints. */
export function rulesOfFile(text: string, filename: string): Rule[] {
  const sections: { name: string; options: Record<string, JsonValue> }[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    const complain = (sentence: string): never => {
      throw new ImageError(`${filename}:${index + 1}: ${sentence}`);
    };
    if (line === '' || line.startsWith('#')) continue;
    const section = /^\[([\w-]+)\]$/.exec(line)?.[1];
    if (section !== undefined) {
      if (section !== 'inject-error' && section !== 'set-state') complain(`there is no section '${section}'`);
      sections.push({ name: section, options: {} });
      continue;
    }
    const [, key, value] = /^([\w-]+)\s*=\s*"([^"]*)"$/.exec(line) ?? complain('parse error');
    const current = sections.at(-1);
    if (current === undefined) complain('no group defined');
    else if (key !== undefined) current.options[key] = value ?? '';
  }
  const rules = sections.map(({ name, options }) =>
    name === 'inject-error' ? injectRule(options) : stateRule(options),
  );
  return [...rules.filter(({ action }) => action === 'inject'), ...rules.filter(({ action }) => action === 'state')];
}

/** Rules among a node's options. */
export function rulesOfOptions(options: NodeOptions): Rule[] {
  return [
    ...groups(options, 'inject-error').map((group) => injectRule(group)),
    ...groups(options, 'set-state').map((group) => stateRule(group)),
  ];
}

function groups(options: NodeOptions, name: string): NodeOptions[] {
  const value = options[name];
  if (value === undefined) return [];
  const list: readonly JsonValue[] = Array.isArray(value)
    ? value
    : typeof value === 'object' && value !== null
      ? Object.values(value as NodeOptions)
      : [value];
  return list.map((group) => {
    if (typeof group !== 'object' || group === null || Array.isArray(group))
      throw new ImageError(`Invalid parameter type for '${name}', expected: a list of objects`);
    // INVARIANT: an object that is no list.
    return group as NodeOptions;
  });
}

function checked(options: NodeOptions, known: readonly string[]): string {
  for (const name of Object.keys(options))
    if (!known.includes(name)) throw new ImageError(`Invalid parameter '${name}'`);
  const event = textOption(options, 'event');
  if (event === undefined) throw new ImageError('Missing event name for rule');
  if (!EVENTS.has(event)) throw new ImageError(`Invalid parameter '${event}'`);
  return event;
}

function numberOf(options: NodeOptions, name: string, otherwise: number): number {
  const text = textOption(options, name);
  if (text === undefined) return otherwise;
  if (!/^\d{1,15}$/.test(text)) throw new ImageError(`Parameter '${name}' expects a number`);
  return Number(text);
}

function oneOf<T extends string>(options: NodeOptions, name: string, words: readonly T[]): T | undefined {
  const text = textOption(options, name);
  const found = words.find((word) => word === text);
  if (text !== undefined && found === undefined) throw new ImageError(`Invalid parameter '${text}'`);
  return found;
}

function injectRule(options: NodeOptions): InjectRule {
  const event = checked(options, INJECT_KEYS);
  const iotype = oneOf(options, 'iotype', IO_TYPES);
  const sector = textOption(options, 'sector') === '-1' ? -1 : numberOf(options, 'sector', -1);
  const errno = numberOf(options, 'errno', 5);
  return {
    action: 'inject',
    event,
    state: numberOf(options, 'state', 0),
    ioTypes: iotype === undefined ? DEFAULT_IO_TYPES : [iotype],
    error: errno === 0 ? undefined : errnoOfNumber(errno),
    offset: sector < 0 ? undefined : sector * SECTOR,
    once: boolOption(options, 'once', false),
    fault: oneOf(options, 'fault', FAULTS) ?? 'error',
    delayMs: numberOf(options, 'delay-ms', 0),
    passing: numberOf(options, 'nth', 1) - 1,
  };
}

function stateRule(options: NodeOptions): StateRule {
  const event = checked(options, STATE_KEYS);
  return { action: 'state', event, state: numberOf(options, 'state', 0), newState: numberOf(options, 'new_state', 0) };
}
