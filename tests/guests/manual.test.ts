/** The manual's examples do what the manual says. */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { parseNbdArguments } from '../../src/cli/nbd/request.ts';
import { parseRunArguments } from '../../src/cli/run.ts';
import { parseSystemOptions } from '../../src/cli/system/options.ts';
import { Machine, type MachineExit } from '../../src/node.ts';
import { guest, withScript } from './guest.ts';

async function examples(page: string, language: string): Promise<string[]> {
  const text = await readFile(new URL(`../../docs/manual/${page}`, import.meta.url), 'utf8');
  return [...text.matchAll(new RegExp('```' + language + '\n([\\s\\S]*?)```', 'g'))].map((match) => match[1] ?? '');
}

/** Runs an example as the body of a function that has `kernel`, `initrd`, `process` and, from the example before, `machine`. */
function run(code: string, names: Readonly<Record<string, unknown>>, result: string): Promise<unknown> {
  const body = code.replace(/^import .*$/m, '');
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (
    ...args: string[]
  ) => (...values: unknown[]) => Promise<unknown>;
  return new AsyncFunction(...Object.keys(names), `${body}\nreturn ${result};`)(...Object.values(names));
}

const image = await guest();

describe.skipIf(image === undefined)('docs/manual/library.md', () => {
  // INVARIANT: the suite is skipped where there is no guest.
  const { kernel, initrd } = image!;

  it('boots a guest and ends when it powers off', async () => {
    const [boot = ''] = await examples('library.md', 'ts');
    const printed: Uint8Array[] = [];
    const process = { stdout: { write: (bytes: Uint8Array) => printed.push(bytes) } };
    const names = { Machine, kernel, initrd: withScript(initrd, 'echo hello from the guest'), process };
    const exit = (await run(boot, names, 'exit')) as MachineExit;
    expect(exit).toEqual({ reason: 'poweroff', status: 0 });
    expect(Buffer.concat(printed).toString()).toContain('hello from the guest');
  });

  it('writes to a serial port and makes a repeatable machine', async () => {
    const [, write = '', repeat = ''] = await examples('library.md', 'ts');
    const machine = await Machine.create({ kernel, initrd });
    await run(write, { machine }, 'undefined');
    expect(machine.serial[0]?.pendingBytes).toBeGreaterThan(0);
    await machine.stop();
    const made = (await run(repeat, { Machine, kernel, initrd }, 'repeatable')) as Machine;
    expect(made.config.nsPerInstruction).toBe(2);
    await made.stop();
  });

  it('profiles a boot and tells what was executed', async () => {
    const [profiling = ''] = (await examples('library.md', 'ts')).filter((code) => code.includes('machine.profile('));
    const machine = await Machine.create({ kernel, initrd: withScript(initrd, 'true'), noReboot: true });
    const lines: string[] = [];
    const process = { stdout: { write: (line: string) => lines.push(line) } };
    expect(await run(profiling, { machine, process }, 'svg')).toContain('<title>start_kernel (kernel)');
    expect(lines).toHaveLength(6);
  });
});

describe.each([
  ['commands.md', 7],
  ['profiling.md', 3],
  ['nbd.md', 6],
] as const)('docs/manual/%s', (page, least) => {
  it('shows command lines that are understood', async () => {
    const lines = (await examples(page, 'sh')).join('').split('\n');
    const commands = lines
      .map((line) => line.replace(/\s+#.*$/, '').replace(/^.*\| /, ''))
      .filter((line) => line !== '');
    expect(commands.length).toBeGreaterThanOrEqual(least);
    for (const command of commands) {
      const [orrery, name, ...args] = (command.match(/'[^']*'|\S+/g) ?? []).map((word) => word.replaceAll("'", ''));
      expect(orrery).toBe('orrery');
      if (name === 'nbd') expect(() => parseNbdArguments(args)).not.toThrow();
      else if (name === 'run') expect(() => parseRunArguments(args)).not.toThrow();
      else expect(() => parseSystemOptions(args)).not.toThrow();
    }
  });
});
