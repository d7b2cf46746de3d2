/** The human monitor on a character device: a prompt, a line editor, and the commands that steer the machine. */
import { didYouMean } from '../../base/nearest.ts';
import type { QueuedChardev } from '../../chardev/chardev.ts';

/** What the monitor does to the machine. */
export interface MonitorTarget {
  status(): string;
  /** The drives, in lines. */
  blocks(): string;
  /** Statistics about execution and translation, in lines. */
  report(): string;
  pause(): Promise<void>;
  resume(): Promise<void>;
  reset(): Promise<void>;
  powerDown(): void;
  quit(): void;
}

interface MonitorCommand {
  readonly names: readonly string[];
  readonly help: string;
  run(target: MonitorTarget, words: readonly string[]): Promise<string>;
}

/** What `info` shows, by topic. */
const TOPICS: Readonly<Record<string, { readonly help: string; readonly show: (target: MonitorTarget) => string }>> = {
  status: { help: 'whether the guest runs', show: (target) => `VM status: ${target.status()}\n` },
  block: { help: 'the drives', show: (target) => target.blocks() },
  jit: { help: 'instructions and time by tier, translations, exits', show: (target) => target.report() },
};

function info(target: MonitorTarget, topic: string): string {
  const names = Object.keys(TOPICS);
  if (topic === '') return names.map((name) => `info ${name} -- ${TOPICS[name]?.help ?? ''}\n`).join('');
  const found = Object.hasOwn(TOPICS, topic) ? TOPICS[topic] : undefined;
  if (found !== undefined) return found.show(target);
  return `no information '${topic}'${didYouMean(topic, names) || `; there is ${names.map((name) => `info ${name}`).join(', ')}`}\n`;
}

const COMMANDS: readonly MonitorCommand[] = [
  {
    names: ['help', '?'],
    help: 'show the commands',
    run: () => Promise.resolve(COMMANDS.map(({ names, help }) => `${names.join('|')} -- ${help}\n`).join('')),
  },
  {
    names: ['info'],
    help: 'show something: info alone lists what',
    run: (target, [topic = '']) => Promise.resolve(info(target, topic)),
  },
  { names: ['stop', 's'], help: 'stop the guest', run: (target) => target.pause().then(() => '') },
  { names: ['cont', 'c'], help: 'let the guest go on', run: (target) => target.resume().then(() => '') },
  { names: ['system_reset'], help: 'reset the machine', run: (target) => target.reset().then(() => '') },
  {
    names: ['system_powerdown'],
    help: 'press the power button',
    run(target) {
      target.powerDown();
      return Promise.resolve('');
    },
  },
  {
    names: ['quit', 'q'],
    help: 'end the emulator',
    run(target) {
      target.quit();
      return Promise.resolve('');
    },
  },
];

const PROMPT = '(orrery) ';
const BACKSPACE = 0x7f;
/** Longest line that is kept; a terminal has no business sending more. */
const MAX_LINE = 4096;

export class MonitorConsole {
  private readonly chardev: QueuedChardev;
  private readonly target: MonitorTarget;
  private line = '';
  private shown = false;
  private executing = false;
  /** Typed while a command was under way. */
  private readonly ahead: number[] = [];

  constructor(chardev: QueuedChardev, target: MonitorTarget) {
    this.chardev = chardev;
    this.target = target;
    chardev.attach({ canReceive: () => MAX_LINE, receive: (bytes) => this.typed(bytes) });
  }

  /** Shows the prompt, the first time with a greeting: the terminal is the monitor's now. */
  show(): void {
    this.print(this.shown ? `\n${PROMPT}${this.line}` : `\nOrrery monitor - type 'help' for its commands\n${PROMPT}`);
    this.shown = true;
  }

  private print(text: string): void {
    this.chardev.write(new TextEncoder().encode(text.replaceAll('\n', '\r\n')));
  }

  private typed(bytes: Iterable<number>): void {
    for (const byte of bytes) {
      if (this.executing) {
        if (this.ahead.length < MAX_LINE) this.ahead.push(byte);
      } else this.key(byte);
    }
  }

  private key(byte: number): void {
    const character = String.fromCharCode(byte);
    if (character === '\r' || character === '\n') {
      const line = this.line;
      this.line = '';
      this.print('\n');
      this.executing = true;
      void this.execute(line).then((answer) => {
        this.print(`${answer}${PROMPT}`);
        this.executing = false;
        this.typed(this.ahead.splice(0));
      });
    } else if (byte === BACKSPACE || character === '\b') {
      if (this.line === '') return;
      this.line = this.line.slice(0, -1);
      this.print('\b \b');
    } else if (byte >= 0x20 && this.line.length < MAX_LINE) {
      this.line += character;
      this.print(character);
    }
  }

  /** Runs one line; the answer ends in a newline unless it is empty. */
  async execute(line: string): Promise<string> {
    const [name = '', ...words] = line.trim().split(/\s+/);
    if (name === '') return '';
    const command = COMMANDS.find(({ names }) => names.includes(name));
    if (command === undefined) {
      return `unknown command: '${name}'${didYouMean(
        name,
        COMMANDS.flatMap(({ names }) => names),
      )}\n`;
    }
    return command.run(this.target, words);
  }
}
