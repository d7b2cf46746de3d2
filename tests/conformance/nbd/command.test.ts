/** `orrery nbd` as a process of its own: what qemu-nbd's options do, seen by clients of others; TLS; a server that is killed. */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { NbdNode } from '../../../src/block/nbd/client/nbd-node.ts';
import { nodeBlockHost } from '../../../src/host/node/block/host.ts';

const run = promisify(execFile);
const MIB = 1024 ** 2;
const ORRERY = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url));
const missing = ['qemu-nbd', 'qemu-img', 'qemu-io', 'nbdinfo', 'nbdcopy'].filter(
  (program) => spawnSync('which', [program]).status !== 0,
);
if (missing.length > 0) console.warn(`no ${missing.join(', ')} to try orrery nbd with`);

const folder = mkdtempSync(join(tmpdir(), 'orrery-nbd-command-'));
const at = (name: string): string => join(folder, name);
const uri = (socket: string, name = ''): string => `nbd+unix:///${name}?socket=${at(socket)}`;
const children: ChildProcess[] = [];
let count = 0;

afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

interface Served {
  readonly socket: string;
  readonly child: ChildProcess;
  /** Exit status. */
  readonly ended: Promise<number | null>;
}

/** Serves, and resolves when clients can come. */
async function serve(args: readonly string[], socket = `s${count++}`): Promise<Served> {
  const child = spawn(process.execPath, [ORRERY, 'nbd', '-v', '-k', at(socket), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
  let text = '';
  await new Promise<void>((resolve, reject) => {
    for (const output of [child.stdout, child.stderr]) {
      output?.on('data', (piece: Uint8Array) => {
        text += String(piece);
        if (text.includes(' at ')) resolve();
      });
    }
    void ended.then(() => reject(new Error(text)));
  });
  return { socket, child, ended };
}

/** Ends a process that is not our child, and waits until it is gone. */
async function end(pid: number): Promise<void> {
  process.kill(pid);
  for (let tries = 0; tries < 500 && existsSync(`/proc/${pid}`); tries++)
    await new Promise((resolve) => setTimeout(resolve, 20));
}

const orrery = (...args: string[]): Promise<{ stdout: string }> => run(process.execPath, [ORRERY, 'nbd', ...args]);
/** Fails when one of the commands does. */
async function io(target: string, commands: readonly string[], ...options: string[]): Promise<void> {
  const format = options.length > 0 ? options : ['-f', 'raw'];
  const { stdout } = await run('qemu-io', [...format, ...commands.flatMap((command) => ['-c', command]), target]);
  expect(stdout).not.toMatch(/failed|error/i);
}

async function image(name: string, size = '8M'): Promise<string> {
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', at(name), size]);
  await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 1M 1M', '-c', 'write -P 2 4M 64k', at(name)]);
  return at(name);
}

describe.skipIf(missing.length > 0)('orrery nbd', () => {
  it('is listed as qemu-nbd is, each by the other', async () => {
    const file = await image('list.qcow2');
    await run('qemu-img', ['bitmap', '--add', file, 'b']);
    const options = ['-f', 'qcow2', '-t', '-e', '3', '-x', 'disk', '-D', 'a disk', '-A', '-B', 'b', '-r'];
    const ours = await serve([...options, file]);
    const [one, two] = [
      await run('qemu-nbd', ['-L', '-k', at(ours.socket)]),
      await orrery('-L', '-k', at(ours.socket)),
    ];
    ours.child.kill();
    expect(await ours.ended).toBe(0);
    expect(existsSync(at(ours.socket))).toBe(false);
    await run('qemu-nbd', ['--fork', '--pid-file', at('pid'), '-k', at('q'), ...options, file]);
    const theirs = await run('qemu-nbd', ['-L', '-k', at('q')]);
    await end(Number(readFileSync(at('pid'), 'utf8')));
    expect(one.stdout).toBe(theirs.stdout);
    expect(two.stdout).toBe(theirs.stdout);
  });

  it('ends after its client, whose flushed writes are in the image', async () => {
    const file = await image('once.qcow2');
    const { socket, ended } = await serve(['-f', 'qcow2', file]);
    await io(uri(socket), ['write -P 9 2M 1M', 'flush', 'read -P 1 1M 1M']);
    expect(await ended).toBe(0);
    await io(file, ['read -P 9 2M 1M'], '-f', 'qcow2');
    await run('qemu-img', ['check', '-q', file]);
  });

  it('exports a part, a snapshot, an overlay, a bitmap', async () => {
    const file = await image('parts.qcow2');
    await run('qemu-img', ['snapshot', '-c', 'before', file]);
    await run('qemu-img', ['bitmap', '--add', '-g', '64k', file, 'b']);
    await io(file, ['write -P 7 1M 64k'], '-f', 'qcow2');
    const part = await serve(['-f', 'qcow2', '-r', '-o', String(MIB), file]);
    expect((await run('nbdinfo', ['--size', uri(part.socket)])).stdout.trim()).toBe(String(7 * MIB));
    const snapshot = await serve(['-f', 'qcow2', '-l', 'snapshot.name=before', file]);
    await io(uri(snapshot.socket), ['read -P 1 1M 64k'], '-r', '-f', 'raw');
    const overlay = await serve(['-f', 'qcow2', '-s', file]);
    await io(uri(overlay.socket), ['write -P 8 1M 64k', 'read -P 8 1M 64k']);
    expect(await overlay.ended).toBe(0);
    const options = `driver=qcow2,file.driver=file,file.filename=${file}`;
    const bitmap = await serve(['--image-opts', '-r', '-t', '-B', 'b', options]);
    const map = await run('nbdinfo', ['--json', '--map=qemu:dirty-bitmap:b', uri(bitmap.socket)]);
    expect(JSON.parse(map.stdout)).toMatchObject([
      { offset: 0, length: MIB, type: 0 },
      { offset: MIB, length: 65_536, type: 1 },
      { offset: MIB + 65_536, type: 0 },
    ]);
    const dirty = `driver=nbd,server.type=unix,server.path=${at(bitmap.socket)},x-dirty-bitmap=qemu:dirty-bitmap:b`;
    const theirs = await run('qemu-img', ['map', '--output=json', '--image-opts', dirty]);
    const ours = await run(process.execPath, [ORRERY, 'img', 'map', '--output=json', '--image-opts', dirty]);
    expect(ours.stdout).toBe(theirs.stdout);
    bitmap.child.kill();
    await bitmap.ended;
    // The overlay took its write with it.
    await io(file, ['read -P 7 1M 64k'], '-f', 'qcow2');
  });

  it('serves several images to several clients at once, and lists them', async () => {
    const [one, two] = [await image('one.qcow2'), at('two.raw')];
    writeFileSync(two, Buffer.alloc(MIB));
    const files = ['-x', 'one', '-x', 'the second', '-D', 'first', '-D', '', one, two];
    const { socket, child, ended } = await serve(['-e', '2', '-t', '-f', 'raw', ...files]);
    const list = await run('qemu-nbd', ['-L', '-k', at(socket)]);
    expect((await orrery('-L', '-k', at(socket))).stdout).toBe(list.stdout);
    const { stdout } = await run('nbdinfo', ['--json', '--list', uri(socket)]);
    expect(JSON.parse(stdout)).toMatchObject({
      exports: [
        { 'export-name': 'one', description: 'first', 'export-size': statSync(one).size },
        { 'export-name': 'the second', 'export-size': MIB },
      ],
    });
    await Promise.all([
      io(uri(socket, 'the%20second'), ['write -P 3 0 64k', 'flush']),
      run('nbdcopy', [uri(socket, 'one'), at('one.copy')]),
    ]);
    expect(readFileSync(at('one.copy')).equals(readFileSync(one))).toBe(true);
    await expect(run('nbdinfo', [uri(socket)])).rejects.toThrow();
    child.kill();
    expect(await ended).toBe(0);
    expect(readFileSync(two).indexOf(0)).toBe(65_536);
    await expect(orrery('-x', 'a', '-x', 'b', '-k', at('n'), one, at('none'))).rejects.toThrow(/none.*No such file/);
    expect(existsSync(at('n'))).toBe(false);
  });

  it('keeps what is discarded unless told otherwise', async () => {
    writeFileSync(at('d.raw'), Buffer.alloc(2 * MIB, 5));
    const { socket, ended } = await serve(['-f', 'raw', at('d.raw')]);
    await io(uri(socket), ['discard 0 1M', 'read -P 5 0 1M', 'write -z -u 1M 64k', 'read -P 0 1M 64k'], '-d', 'unmap', '-f', 'raw'); // prettier-ignore
    expect(await ended).toBe(0);
  });

  it('finds zeroes in what is written, and gives storage back', async () => {
    writeFileSync(at('z.raw'), Buffer.alloc(2 * MIB, 5));
    const { socket, ended } = await serve(['-f', 'raw', '--discard=unmap', '--detect-zeroes=unmap', at('z.raw')]);
    await io(uri(socket), ['write -P 0 0 1M']);
    expect(await ended).toBe(0);
    const { stdout } = await run('qemu-img', ['map', '-f', 'raw', '--output=json', at('z.raw')]);
    expect(JSON.parse(stdout)).toMatchObject([
      { start: 0, length: MIB, data: false },
      { start: MIB, data: true },
    ]);
  });

  it('serves in the background', async () => {
    const file = await image('fork.qcow2');
    await orrery('--fork', '--pid-file', at('fork.pid'), '-k', at('f'), '-e', '0', '-t', file);
    const pid = Number(readFileSync(at('fork.pid'), 'utf8'));
    await Promise.all([1, 2, 3].map((n) => run('nbdcopy', ['-C', '2', uri('f'), at(`copy${n}.raw`)])));
    await end(pid);
    for (const n of [1, 2, 3]) await run('qemu-img', ['compare', '-q', file, at(`copy${n}.raw`)]);
    await expect(orrery('--fork', '-k', at('f2'), at('none.qcow2'))).rejects.toThrow(
      /Failed to blk_new_open .*No such file or directory/,
    );
  });

  it('a client of ours goes on when the server is killed and comes again', async () => {
    writeFileSync(at('k.raw'), Buffer.alloc(MIB));
    const options = ['-f', 'raw', '-t', '-e', '2', at('k.raw')];
    const first = await serve(options, 'k');
    const address = { type: 'unix', path: at('k') } as const;
    const node = await NbdNode.open('n', false, nodeBlockHost, { address, reconnectDelayMs: 20_000 });
    await node.write(0, [new Uint8Array(4096).fill(1)]);
    first.child.kill('SIGKILL');
    await first.ended;
    const later = Promise.all([
      node.write(4096, [new Uint8Array(4096).fill(2)]),
      node.write(8192, [new Uint8Array(100).fill(3)]),
    ]);
    const second = await serve(options, 'k');
    await later;
    const into = new Uint8Array(12_288);
    await node.read(0, [into]);
    expect([into[4095], into[4096], into[8191], into[8192], into[8292]]).toEqual([1, 2, 2, 3, 0]);
    await node.close();
    second.child.kill();
    expect(await second.ended).toBe(0);
  });
});

describe.skipIf(missing.length > 0 || spawnSync('which', ['certtool']).status !== 0)('orrery nbd with TLS', () => {
  it('keeps out who has no key, with certificates and with pre-shared keys', async () => {
    const keys = at('keys');
    const tool = (...args: string[]): Promise<unknown> => run('certtool', args);
    await run('mkdir', [keys]);
    const templates = {
      ca: 'cn = test\nca\ncert_signing_key\n',
      server:
        'cn = localhost\ndns_name = localhost\nip_address = 127.0.0.1\ntls_www_server\nencryption_key\nsigning_key\n',
      client: 'cn = client\ntls_www_client\nencryption_key\nsigning_key\n',
    };
    for (const [who, template] of Object.entries(templates)) {
      const own = ['--load-privkey', `${keys}/${who}-key.pem`, '--template', `${keys}/${who}.info`];
      const ca = ['--load-ca-certificate', `${keys}/ca-cert.pem`, '--load-ca-privkey', `${keys}/ca-key.pem`];
      writeFileSync(`${keys}/${who}.info`, template);
      await tool('--generate-privkey', '--key-type=ecdsa', '--outfile', `${keys}/${who}-key.pem`);
      await tool(
        ...(who === 'ca' ? ['--generate-self-signed'] : ['--generate-certificate', ...ca]),
        ...own,
        '--outfile',
        `${keys}/${who}-cert.pem`,
      );
    }
    writeFileSync(`${keys}/keys.psk`, `alice:${'0123456789abcdef'.repeat(4)}\n`);
    writeFileSync(at('tls.raw'), Buffer.alloc(MIB, 6));

    for (const [type, more] of [
      ['tls-creds-x509', ''],
      ['tls-creds-psk', ',username=alice'],
    ] as const) {
      const object = (end: string, extra = ''): string => `${type},id=t,dir=${keys},endpoint=${end}${extra}`;
      const options = ['--object', object('server'), '--tls-creds', 't', '-f', 'raw', '-e', '4', '-t', at('tls.raw')];
      const { socket, child } = await serve(options);
      const list = ['-L', '-k', at(socket), '--object', object('client', more), '--tls-creds', 't'];
      const host = ['--tls-hostname', 'localhost'];
      const theirs = await run('qemu-nbd', [...list, ...host]);
      expect(theirs.stdout).toContain(`size:  ${MIB}`);
      expect((await orrery(...list, ...host)).stdout).toBe(theirs.stdout);
      await expect(orrery('-L', '-k', at(socket))).rejects.toThrow(/TLS/);
      if (type === 'tls-creds-x509') {
        await expect(orrery(...list, '--tls-hostname', 'elsewhere')).rejects.toThrow(
          /Certificate does not match the hostname elsewhere$/m,
        );
        expect((await orrery(...list, '--tls-hostname', '127.0.0.1')).stdout).toBe(theirs.stdout);
        await expect(orrery(...list)).rejects.toThrow(/No hostname for certificate validation$/m);
      }
      child.kill();
    }
  });
});
