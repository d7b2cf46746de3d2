/**
 * The console of a guest that runs a script: what the kernel says before it is kept aside, the script's output goes through,
 * and its exit status is picked up behind it. The marks are /init's (guest-root.ts).
 */
import { GREETING_END, SCRIPT_END_MARK, SCRIPT_START_MARK } from '../../host/node/assets/guest-root.ts';

/** How much of what came before the script is kept for a report. */
const KEPT_CHARACTERS = 16 * 1024;

export class ScriptOutput {
  /** Undefined until the script has ended. */
  status: number | undefined;
  /** What was not passed on: the kernel's messages before the script. */
  before = '';
  private readonly sink: (text: string) => void;
  private readonly onStart: () => void;
  private stage: 'before' | 'script' | 'after' = 'before';
  private pending = '';

  /** Text is bytes as Latin-1 characters, so that any output comes through unharmed. */
  constructor(sink: (text: string) => void, onStart: () => void) {
    this.sink = sink;
    this.onStart = onStart;
  }

  push(text: string): void {
    this.pending += text;
    if (this.stage === 'before') this.lookForStart();
    if (this.stage === 'script') this.lookForEnd();
  }

  /** Nothing more comes: what was held back as the possible beginning of a mark was none. */
  end(): void {
    if (this.stage === 'script') this.sink(this.pending);
    else if (this.stage === 'before') this.before += this.pending;
    this.pending = '';
  }

  private lookForStart(): void {
    // The terminal may turn the mark's line feed into CR LF.
    const mark = SCRIPT_START_MARK.trimEnd();
    const at = this.pending.indexOf(mark);
    const lineEnd = at < 0 ? -1 : this.pending.indexOf('\n', at);
    if (lineEnd < 0) {
      const held = at < 0 ? possiblePrefix(this.pending, mark) : this.pending.length - at;
      this.keep(this.pending.slice(0, this.pending.length - held));
      this.pending = this.pending.slice(this.pending.length - held);
      return;
    }
    this.keep(this.pending.slice(0, at));
    this.pending = this.pending.slice(lineEnd + 1);
    this.stage = 'script';
    this.onStart();
  }

  private keep(text: string): void {
    this.before = (this.before + text).slice(-KEPT_CHARACTERS);
  }

  private lookForEnd(): void {
    const at = this.pending.indexOf(SCRIPT_END_MARK);
    const held = at < 0 ? possiblePrefix(this.pending, SCRIPT_END_MARK) : this.pending.length - at;
    const out = this.pending.slice(0, this.pending.length - held);
    if (out !== '') this.sink(out);
    this.pending = this.pending.slice(this.pending.length - held);
    const match = at < 0 ? null : /^(\d+)\r?\n/.exec(this.pending.slice(SCRIPT_END_MARK.length));
    if (match === null) return;
    this.status = Number(match[1]);
    this.stage = 'after';
    this.pending = '';
  }
}

/** How many characters at the end of `text` could be the beginning of `mark`. */
function possiblePrefix(text: string, mark: string): number {
  for (let length = Math.min(text.length, mark.length - 1); length > 0; length--) {
    if (text.endsWith(mark.slice(0, length))) return length;
  }
  return 0;
}

/** Calls `onReady` once, when the guest's shell has greeted: before that, input would be lost. */
export function watchForShell(onReady: () => void): (text: string) => void {
  let seen = '';
  let ready = false;
  return (text) => {
    if (ready) return;
    seen = (seen + text).slice(-KEPT_CHARACTERS);
    if (!seen.includes(GREETING_END)) return;
    ready = true;
    onReady();
  };
}
