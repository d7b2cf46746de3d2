/**
 * NBD with others' programs: libnbd's and QEMU's clients at our server, our client at QEMU's server and at nbdkit, in the clear and
 * inside TLS. Programs that are not there skip their tests.
 */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import type { BlockHost, HostAddress, TlsOptions } from '../../../src/block/host.ts';
import { listNbd } from '../../../src/block/nbd/client/connect.ts';
import { NbdNode, type NbdNodeOptions } from '../../../src/block/nbd/client/nbd-node.ts';
import { NbdServer } from '../../../src/block/nbd/server/server.ts';
import { loadTlsCredentials } from '../../../src/block/tls-credentials.ts';
import { connectStream, listenStream } from '../../../src/host/node/block/streams.ts';
import { RamNode } from '../../support/ram-node.ts';

const run = promisify(execFile);
const has = (program: string): boolean => spawnSync('which', [program]).status === 0;
const MIB = 1024 ** 2;
const folder = mkdtempSync(join(tmpdir(), 'orrery-nbd-'));
const children: ChildProcess[] = [];
const servers: NbdServer[] = [];

const host = {
  connect: connectStream,
  listen: listenStream,
  readFile,
  exists: async (path: string) => existsSync(path),
  nowMs: () => Date.now(),
  sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms).unref()),
} as unknown as BlockHost; // INVARIANT: NBD uses no more of it.

afterAll(async () => {
  for (const child of children) child.kill();
  await Promise.all(servers.map((server) => server.close()));
  rmSync(folder, { recursive: true, force: true });
});

function disk(sizeBytes: number): RamNode {
  const data = new Uint8Array(sizeBytes);
  for (let at = 0; at < data.length; at += 3 * 65_536)
    for (let i = 0; i < 65_536; i++) data[at + i] = at / 7 + i * 13 + 1;
  return new RamNode(data);
}

/** Why clients were refused. */
const refusals: string[] = [];

async function serve(node: RamNode, name: string, tls?: TlsOptions): Promise<string> {
  const path = join(folder, `${name}.sock`);
  const onClientRefused = (error: unknown): unknown => refusals.push((error as Error).message);
  const server = new NbdServer({ host, onClientRefused, ...(tls && { tls }) });
  servers.push(server);
  server.add({ name: '', node, allocationDepth: true });
  server.add({ name: 'ro', node, readOnly: true, description: 'read-only' });
  await server.listen({ type: 'unix', path });
  return path;
}

/** A server of somebody else, once its socket is there. */
async function start(program: string, args: readonly string[], socket: string): Promise<HostAddress> {
  children.push(spawn(program, args, { stdio: 'ignore' }));
  for (let tries = 0; tries < 200 && !existsSync(socket); tries++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  return { type: 'unix', path: socket };
}

const open = (address: HostAddress, options: Partial<NbdNodeOptions> = {}, readOnly = false): Promise<NbdNode> =>
  NbdNode.open('n', readOnly, host, { address, openTimeoutMs: 3000, ...options });

describe.skipIf(!has('nbdcopy') || !has('qemu-io'))('our server with clients of others', () => {
  it('copies both ways with libnbd, over several connections', async () => {
    const node = disk(16 * MIB);
    const uri = `nbd+unix:///?socket=${await serve(node, 'copy')}`;
    const file = join(folder, 'copy.raw');
    await run('nbdcopy', [uri, file]);
    expect(readFileSync(file).equals(node.data)).toBe(true);
    writeFileSync(file, Buffer.alloc(16 * MIB, 'orrery'));
    await run('nbdcopy', [file, uri]);
    expect(readFileSync(file).equals(node.data)).toBe(true);
  });

  it('is described by nbdinfo', async () => {
    const path = await serve(disk(MIB), 'info');
    const { stdout } = await run('nbdinfo', ['--json', '--list', `nbd+unix:///?socket=${path}`]);
    expect(JSON.parse(stdout)).toMatchObject({
      protocol: 'newstyle-fixed', TLS: false, structured: true,
      exports: [
        { 'export-name': '', contexts: ['base:allocation', 'qemu:allocation-depth'], is_read_only: false, can_zero: true, 'export-size': MIB },
        { 'export-name': 'ro', description: 'read-only', is_read_only: true, can_zero: false },
      ],
    }); // prettier-ignore
    const map = await run('nbdinfo', ['--json', '--map', `nbd+unix:///?socket=${path}`]);
    expect(JSON.parse(map.stdout).slice(0, 2)).toEqual([
      { offset: 0, length: 65_536, type: 0, description: 'data' },
      { offset: 65_536, length: 131_072, type: 3, description: 'hole,zero' },
    ]);
  });

  it('does what qemu-io asks', async () => {
    const node = disk(4 * MIB);
    const path = await serve(node, 'io');
    const commands = [
      'write -P 3 1000 5000',
      'read -P 3 1000 5000',
      'write -z 1M 64k',
      'write -f -P 9 2M 4k',
      'discard 3M 1M',
      'flush',
      'read -P 0 1M 64k',
    ];
    const args = commands.flatMap((command) => ['-c', command]);
    const { stdout } = await run('qemu-io', ['-f', 'raw', '-d', 'unmap', ...args, `nbd+unix:///?socket=${path}`]);
    expect(stdout).not.toMatch(/failed|error/i);
    expect(node.log).toContain(`write ${2 * MIB} 4096 fua`);
    expect(node.log).toContain(`discard ${3 * MIB} ${MIB}`);
  });
});

describe.skipIf(!has('qemu-nbd') || !has('qemu-img'))('our client with servers of others', () => {
  it('works with qemu-nbd', async () => {
    const [file, socket] = [join(folder, 'q.qcow2'), join(folder, 'q.sock')];
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', file, '8M']);
    await run('qemu-img', ['bitmap', '--add', '--disable', '-g', '64k', file, 'b0']);
    const address = await start(
      'qemu-nbd',
      ['-f', 'qcow2', '-k', socket, '-e', '4', '-t', '-x', 'x', '-A', '-B', 'b0', file],
      socket,
    );
    const node = await open(address, { exportName: 'x' });
    const data = Uint8Array.from({ length: 200_000 }, (_, at) => at * 7 + 1);
    await node.write(MIB + 5, [data], { fua: true });
    await node.writeZeroes(4 * MIB, MIB, { unmap: true });
    await node.discard(5 * MIB, MIB);
    await node.flush();
    const into = new Uint8Array(200_010);
    await node.read(MIB, [into]);
    expect(into.subarray(5, 200_005)).toEqual(data);
    expect(await node.status(0, 8 * MIB)).toMatchObject({ bytes: MIB, data: false, zero: true });
    expect(await node.status(MIB, MIB)).toMatchObject({ data: true });
    await expect(open(address, { exportName: 'y', openTimeoutMs: 0 })).rejects.toThrow(
      'Requested export not available',
    );
    const [info] = await listNbd(host, address);
    expect(info?.contexts).toEqual(['base:allocation', 'qemu:allocation-depth', 'qemu:dirty-bitmap:b0']);
    const bitmap = await open(address, { exportName: 'x', context: 'qemu:dirty-bitmap:b0' });
    expect(await bitmap.status(0, 8 * MIB)).toMatchObject({ bytes: 8 * MIB, data: true });
    await bitmap.close();
    await node.close();
  });

  it.skipIf(!has('nbdkit'))('works with servers of the handshake without options', async () => {
    const socket = join(folder, 'old.sock');
    const address = await start('nbdkit', ['-f', '--oldstyle', '-U', socket, 'memory', '1M'], socket);
    await expect(open(address, { exportName: 'x', openTimeoutMs: 0 })).rejects.toThrow('non-empty export names');
    const node = await open(address, {});
    expect(node.size).toBe(MIB);
    await node.write(512, [new Uint8Array(512).fill(5)]);
    const into = new Uint8Array(1024);
    await node.read(0, [into]);
    expect([into[511], into[512], into[1023]]).toEqual([0, 5, 5]);
    await node.close();
  });

  it.skipIf(!has('nbdkit'))('works with nbdkit: block sizes, a lost server, no structured replies', async () => {
    const socket = join(folder, 'k.sock');
    const kit = (...args: string[]): Promise<HostAddress> => start('nbdkit', ['-f', '-U', socket, ...args], socket);
    const address = await kit(
      '--filter=blocksize-policy',
      'memory',
      '1M',
      'blocksize-minimum=512',
      'blocksize-preferred=4096',
      'blocksize-maximum=64k',
      'blocksize-error-policy=error',
    );
    const node = await open(address, { reconnectDelayMs: 5000 });
    const data = Uint8Array.from({ length: 300_001 }, (_, at) => at * 3 + 1);
    await node.write(700, [data]);
    const into = new Uint8Array(300_001);
    await node.read(700, [into]);
    expect(into).toEqual(data);
    children.at(-1)?.kill();
    rmSync(socket, { force: true });
    const read = node.read(0, [into.subarray(0, 3)]);
    await kit(
      '--filter=blocksize-policy',
      'memory',
      '1M',
      'blocksize-minimum=512',
      'blocksize-preferred=4096',
      'blocksize-maximum=64k',
      'blocksize-error-policy=error',
    );
    await read;
    expect([...into.subarray(0, 3)]).toEqual([0, 0, 0]);
    await node.close();
    children.at(-1)?.kill();
    rmSync(socket, { force: true });
    const plain = await open(await kit('--no-sr', 'pattern', '1M'), {}, true);
    await plain.read(8, [into.subarray(0, 16)]);
    expect([...into.subarray(0, 16)]).toEqual([0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 16]);
    await plain.close();
  });
});

describe.skipIf(!has('certtool') || !has('qemu-nbd') || !has('nbdinfo'))('TLS', () => {
  const keys = join(folder, 'pki');

  async function makeKeys(): Promise<void> {
    const tool = (...args: string[]): unknown => run('certtool', args);
    const at = (name: string): string => join(keys, name);
    await run('mkdir', ['-p', keys]);
    writeFileSync(at('ca.info'), 'cn = test\nca\ncert_signing_key\n');
    writeFileSync(
      at('server.info'),
      'cn = localhost\ndns_name = localhost\ntls_www_server\nencryption_key\nsigning_key\n',
    );
    writeFileSync(at('client.info'), 'cn = client\ntls_www_client\nencryption_key\nsigning_key\n');
    for (const who of ['ca', 'server', 'client']) {
      await tool('--generate-privkey', '--key-type=ecdsa', '--outfile', at(`${who}-key.pem`));
    }
    await tool(
      '--generate-self-signed',
      '--load-privkey',
      at('ca-key.pem'),
      '--template',
      at('ca.info'),
      '--outfile',
      at('ca-cert.pem'),
    );
    for (const who of ['server', 'client']) {
      await tool(
        '--generate-certificate',
        '--load-ca-certificate',
        at('ca-cert.pem'),
        '--load-ca-privkey',
        at('ca-key.pem'),
        '--load-privkey',
        at(`${who}-key.pem`),
        '--template',
        at(`${who}.info`),
        '--outfile',
        at(`${who}-cert.pem`),
      );
    }
    writeFileSync(at('keys.psk'), `alice:${'0123456789abcdef'.repeat(4)}\n`);
  }
  const made = makeKeys();
  const credentials = (
    type: string,
    endpoint: 'client' | 'server',
    more: Record<string, string> = {},
  ): Promise<TlsOptions> => loadTlsCredentials(host, type, { id: 't', dir: keys, endpoint, ...more }, endpoint);

  it('with certificates: qemu-nbd --list and qemu-io at our server, those without are refused', async () => {
    await made;
    const path = await serve(disk(MIB), 'x509', await credentials('tls-creds-x509', 'server'));
    const object = `tls-creds-x509,id=t,dir=${keys},endpoint=client`;
    const { stdout } = await run('qemu-nbd', [
      '--list',
      '--object',
      object,
      '--tls-creds',
      't',
      '--tls-hostname=localhost',
      '-k',
      path,
    ]);
    expect(stdout).toContain("export: 'ro'");
    await expect(run('nbdinfo', [`nbd+unix:///?socket=${path}`])).rejects.toThrow();
    rmSync(join(keys, 'none'), { recursive: true, force: true });
    await run('mkdir', [join(keys, 'none')]);
    await run('cp', [join(keys, 'ca-cert.pem'), join(keys, 'none')]);
    const none = `tls-creds-x509,id=t,dir=${join(keys, 'none')},endpoint=client`;
    await expect(
      run('qemu-nbd', ['--list', '--object', none, '--tls-creds', 't', '--tls-hostname=localhost', '-k', path]),
    ).rejects.toThrow();
    expect(refusals.at(-1)).toBe('No certificate was found');
    const node = await open(
      { type: 'unix', path },
      { tls: { ...(await credentials('tls-creds-x509', 'client')), hostname: 'localhost' } },
    );
    await node.write(0, [new Uint8Array(300_000).fill(7)]);
    const into = new Uint8Array(300_000);
    await node.read(0, [into]);
    expect(into.every((byte) => byte === 7)).toBe(true);
    await node.close();
    const wrong = { ...(await credentials('tls-creds-x509', 'client')), hostname: 'elsewhere' };
    await expect(open({ type: 'unix', path }, { tls: wrong, openTimeoutMs: 0 })).rejects.toThrow();
    await expect(open({ type: 'unix', path }, { openTimeoutMs: 0 })).rejects.toThrow('TLS negotiation required');
  });

  it('with certificates and keys at qemu-nbd', async () => {
    await made;
    for (const type of ['tls-creds-x509', 'tls-creds-psk']) {
      const [file, socket] = [join(folder, `${type}.raw`), join(folder, `${type}.sock`)];
      writeFileSync(file, Buffer.alloc(MIB, 'abc'));
      const address = await start(
        'qemu-nbd',
        ['-f', 'raw', '-k', socket, '--object', `${type},id=t,dir=${keys},endpoint=server`, '--tls-creds', 't', file],
        socket,
      );
      const more: Record<string, string> = type === 'tls-creds-psk' ? { username: 'alice' } : {};
      const tls = { ...(await credentials(type, 'client', more)), hostname: 'localhost' };
      const node = await open(address, { tls });
      const into = new Uint8Array(500_000);
      await node.read(3, [into]);
      expect(Buffer.from(into).toString().startsWith('abcabc')).toBe(true);
      await node.close();
    }
  });

  it('with pre-shared keys at our server', async () => {
    await made;
    const path = await serve(disk(MIB), 'psk', await credentials('tls-creds-psk', 'server'));
    const { stdout } = await run('nbdinfo', [
      '--size',
      `nbds+unix://alice@/?socket=${path}&tls-psk-file=${join(keys, 'keys.psk')}`,
    ]);
    expect(stdout.trim()).toBe(String(MIB));
    writeFileSync(join(folder, 'wrong.psk'), `alice:${'00'.repeat(32)}\n`);
    await expect(
      run('nbdinfo', ['--size', `nbds+unix://alice@/?socket=${path}&tls-psk-file=${join(folder, 'wrong.psk')}`]),
    ).rejects.toThrow();
    expect(refusals.at(-1)).toBe('TLS failed: binder does not verify');
    const other = { server: false, verifyPeer: true, psk: { identity: 'alice', key: new Uint8Array(32) } };
    await expect(open({ type: 'unix', path }, { tls: other, openTimeoutMs: 0 })).rejects.toThrow(
      'TLS failed: tlsv1 alert decrypt error',
    );
    const node = await open(
      { type: 'unix', path },
      { tls: await credentials('tls-creds-psk', 'client', { username: 'alice' }) },
    );
    await node.read(0, [new Uint8Array(100)]);
    await node.close();
  });
});
