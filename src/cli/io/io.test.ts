/** `orrery io`'s commands, line by line, on an image in memory. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { BlockGraph } from '../../block/graph.ts';
import { nodeBlockHost } from '../../host/node/block/host.ts';
import { runLine } from './interpreter.ts';
import { parseBytes, parsePattern, reportText, sizeText } from './numbers.ts';
import { openImage } from './open.ts';
import { IoSession } from './session.ts';

interface Ran {
  readonly text: string;
  readonly succeeded: readonly boolean[];
}

/** Runs lines on `size` bytes of memory; rates and times are left out of what was printed. */
async function run(size: number, lines: readonly string[], readOnly = false): Promise<Ran> {
  let text = '';
  const write = (more: string): void => {
    text += more;
  };
  const graph = new BlockGraph(nodeBlockHost);
  const session = new IoSession(graph, true, { out: write, error: write, live: true });
  const options = { driver: 'raw', 'file.driver': 'memory', 'file.size': size };
  await openImage(session, {
    options,
    readOnly,
    temporary: false,
    forceShare: false,
    cache: 'writeback',
    unmap: true,
  });
  const succeeded: boolean[] = [];
  for (const line of lines) succeeded.push(await runLine(session, line));
  await session.close();
  return { text: text.replace(/; [^\n]*ops\/sec\)/g, ''), succeeded };
}

describe('an image whose format nobody named and nothing tells', () => {
  it.each([
    [{}, false, true],
    [{}, true, false],
    [{ driver: 'raw' }, false, false],
  ])('options %o, read-only %s: is warned of: %s', async (options, readOnly, warned) => {
    const folder = mkdtempSync(join(tmpdir(), 'orrery-io-'));
    const filename = join(folder, 'a.raw');
    writeFileSync(filename, new Uint8Array(4096));
    let text = '';
    const say = (more: string): void => void (text += more);
    const session = new IoSession(new BlockGraph(nodeBlockHost), false, { out: say, error: say, live: true });
    const how = { temporary: false, forceShare: false, cache: 'writeback', unmap: true };
    await openImage(session, { filename, options, readOnly, ...how });
    await session.close();
    rmSync(folder, { recursive: true });
    expect(text.includes(`WARNING: Image format was not specified for '${filename}'`)).toBe(warned);
  });
});

describe('commands of orrery io', () => {
  it('writes patterns and finds them again', async () => {
    const { text, succeeded } = await run(4096, ['write -P 0x5a 512 1k', 'read -P 0x5a 512 1k', 'read -P 1 512 1k']);
    expect(text).toBe(
      [
        'wrote 1024/1024 bytes at offset 512\n1 KiB, 1 ops\n',
        'read 1024/1024 bytes at offset 512\n1 KiB, 1 ops\n',
        'Pattern verification failed at offset 512, 1024 bytes\n',
        'read 1024/1024 bytes at offset 512\n1 KiB, 1 ops\n',
      ].join(''),
    );
    expect(succeeded).toEqual([true, true, false]);
  });

  it('compares a part of what it read', async () => {
    const { succeeded } = await run(4096, [
      'write -q -P 7 100 50',
      'read -q -P 7 -s 100 -l 50 0 512',
      'read -q -P 7 -s 99 -l 50 0 512',
      'read -q -P 7 -s 500 -l 50 0 512',
    ]);
    expect(succeeded).toEqual([true, true, false, false]);
  });

  it('tells of transfers that nobody waits for when they end', async () => {
    const { text } = await run(4096, ['aio_write -P 1 0 512 512', 'aio_flush', 'aio_read -q -P 1 0 1k', 'aio_flush']);
    expect(text).toBe('wrote 1024/1024 bytes at offset 0\n1 KiB, 1 ops\n');
  });

  it('refuses what lies beyond the end, and what is no number', async () => {
    const { text, succeeded } = await run(512, [
      'read 0 513',
      'write -z 512 1',
      'read 0 1x',
      'write 1',
      'nonsense',
      '',
    ]);
    expect(text).toBe(
      [
        'read failed: Input/output error\nwrite failed: Input/output error\n',
        'Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- 1x\n',
        'bad argument count 1 to write, expected at least 2 arguments\ncommand "nonsense" not found\n',
      ].join(''),
    );
    expect(succeeded).toEqual([false, false, false, false, false, true]);
  });

  it('writes to no image that is read-only, and to none that is closed', async () => {
    const { text } = await run(512, ['write 0 512', 'close', 'length'], true);
    expect(text).toBe("orrery io: Block node is read-only\nno file open, try 'help open'\n");
  });

  it('takes an image of bytes for one of sectors', async () => {
    const { text } = await run(1000, ['length', 'read -v 992 32']);
    expect(text).toBe(
      [
        '1 KiB\n',
        `000003e0:  ${'00 '.repeat(16)} ${'.'.repeat(16)}\n000003f0:  ${'00 '.repeat(16)} ${'.'.repeat(16)}\n`,
        'read 32/32 bytes at offset 992\n32 bytes, 1 ops\n',
      ].join(''),
    );
  });

  it('makes the state of a machine stable at once with cache=writethrough', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'orrery-io-'));
    try {
      const graph = new BlockGraph(nodeBlockHost);
      const filename = join(folder, 'disk');
      await graph.create({ format: 'qcow2', filename, size: 1 << 20 });
      const session = new IoSession(graph, false, { out: () => {}, error: () => {}, live: true });
      const how = { readOnly: false, temporary: false, forceShare: false, unmap: true };
      await openImage(session, { filename, cache: 'writethrough', ...how });
      const flush = vi.spyOn(session.image!.node, 'flush');
      expect(await runLine(session, 'write -b 0 512')).toBe(true);
      expect(flush).toHaveBeenCalledTimes(1);
      await session.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('numbers', () => {
  it('reads sizes with units and fractions', () => {
    expect(['1k', '0x10', '1.5M', '007', '2T', '.5k'].map(parseBytes)).toEqual([
      1024, 16, 1572864, 7, 2199023255552, 512,
    ]);
    expect(parseBytes('8E')).toBe('Parsing error: argument too large -- 8E\n');
    expect(['', '-1', '1.5', '1kk', '0x', '1e3'].map((text) => typeof parseBytes(text))).toEqual(
      Array<string>(6).fill('string'),
    );
  });

  it('reads pattern bytes', () => {
    expect(['255', '0xfF', '017', '0'].map(parsePattern)).toEqual([255, 255, 15, 0]);
    expect(['256', '-1', 'x', '09'].map((text) => typeof parsePattern(text))).toEqual(Array<string>(4).fill('string'));
  });

  it('prints sizes and reports', () => {
    expect([0, 1, 1024, 1536, 1 << 20].map(sizeText)).toEqual(['0 bytes', '1 bytes', '1 KiB', '1.500 KiB', '1 MiB']);
    expect(reportText({ what: 'read', offset: 8, bytes: 512, elapsedMs: 500, commas: false })).toBe(
      'read 512/512 bytes at offset 8\n512 bytes, 1 ops; 00.50 sec (1 KiB/sec and 2.0000 ops/sec)\n',
    );
    expect(reportText({ what: 'read', offset: 8, bytes: 512, elapsedMs: 2000, commas: true })).toBe(
      '512,1,0:00:02.00,256.000,0.500\n',
    );
  });
});
