import { describe, expect, it } from 'vitest';
import { ScriptOutput } from './script-output.ts';

const LOG =
  '[    1.0] hello\r\n\x1eorrery: script starts\nline 1\nno newline\x1eorrery: script ended with status 42\n[ 2.0] Power down\n';

function feed(text: string, pieceLength: number): { output: string; started: number; script: ScriptOutput } {
  const result = { output: '', started: 0 };
  const script = new ScriptOutput(
    (piece) => (result.output += piece),
    () => result.started++,
  );
  for (let at = 0; at < text.length; at += pieceLength) script.push(text.slice(at, at + pieceLength));
  script.end();
  return { ...result, script };
}

describe('the output of a script in a guest', () => {
  it.each([1, 2, 3, 7, 1000])('is told from the noise around it in pieces of %i', (pieceLength) => {
    const { output, started, script } = feed(LOG, pieceLength);
    expect(output).toBe('line 1\nno newline');
    expect(started).toBe(1);
    expect(script.status).toBe(42);
    expect(script.before).toBe('[    1.0] hello\r\n');
  });

  it('passes on what only looks like a mark', () => {
    const { output, script } = feed('\x1eorrery: script starts\r\na\x1eorrery: scr', 4);
    expect(output).toBe('a\x1eorrery: scr');
    expect(script.status).toBeUndefined();
  });

  it('keeps the last messages of a guest that never started it', () => {
    const { output, script } = feed('x'.repeat(20_000) + 'Kernel panic', 100);
    expect(output).toBe('');
    expect(script.before.endsWith('Kernel panic')).toBe(true);
    expect(script.before.length).toBe(16 * 1024);
  });
});
