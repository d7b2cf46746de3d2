/** The manual's examples do what the manual says. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseNbdArguments } from '../../src/cli/nbd/request.ts';
import { parseRunArguments } from '../../src/cli/run.ts';
import { parseSystemOptions } from '../../src/cli/system/options.ts';
import * as orrery from '../../src/node.ts';
import { Machine, type MachineExit } from '../../src/node.ts';
import { examples, runExample as run } from '../support/manual-examples.ts';
import { guest, withScript } from './guest.ts';

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

describe.skipIf(image === undefined)('docs/manual/library-disks.md', () => {
  it("serves a machine's disk", async () => {
    const folder = await mkdtemp(join(tmpdir(), 'orrery-manual-'));
    const filename = join(folder, 'disk.qcow2');
    await (await orrery.createImage({ filename, format: 'qcow2', size: 1 << 20 })).close();
    const code =
      (await examples('library-disks.md', 'ts'))
        .find((example) => example.includes('Machine.create'))
        ?.replace("'disk.qcow2'", `'${filename}'`) ?? '';
    // INVARIANT: the suite is skipped where there is no guest.
    const { kernel, initrd } = image!;
    const { addresses, size } = (await run(
      code,
      { ...orrery, kernel, initrd },
      `await (async () => {
        machine.start();
        const [address] = server.addresses;
        await using remote = await openImage(\`nbd://127.0.0.1:\${address.port}/disk0\`, { readOnly: true });
        await machine.stop();
        return { addresses: server.addresses, size: remote.size };
      })()`,
    )) as { addresses: { host: string }[]; size: number };
    expect(addresses).toMatchObject([{ host: '127.0.0.1' }]);
    expect(size).toBe(1 << 20);
    await rm(folder, { recursive: true });
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
