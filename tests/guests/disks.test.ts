/** Linux works with its disks: every transport and ring format, SCSI, errors by policy; and what it wrote is what is there. */
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { BlockGraph } from '../../src/block/graph.ts';
import type { BlockNode } from '../../src/block/node.ts';
import { nodeBlockHost } from '../../src/host/node/block/host.ts';
import { writeCpio } from '../../src/machine/cpio.ts';
import type { DeviceConfig, DriveConfig } from '../../src/machine/config.ts';
import { Machine } from '../../src/node.ts';
import { FaultNode } from '../support/fault-node.ts';
import { guest, withScript } from './guest.ts';

const MEBIBYTE = 1 << 20;
const DISK_BYTES = 5 * MEBIBYTE;
const WRITE_AT = MEBIBYTE;
const DISCARD_AT = 2 * MEBIBYTE;
const ZERO_AT = 3 * MEBIBYTE;

const amd64 = await guest('amd64');
const folder = mkdtempSync(join(tmpdir(), 'orrery-disks-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Linux for x86-64: ioctl(0, BLKZEROOUT, {ZERO_AT, 1 MiB}), and ends with its errno. */
function zeroOutProgram(): Uint8Array {
  const code = [
    ...[0x31, 0xff, 0xbe, 0x7f, 0x12, 0, 0], // xor edi, edi; mov esi, BLKZEROOUT
    ...[0x48, 0x8d, 0x15, 18, 0, 0, 0], // lea rdx, [rip + 18]
    ...[0xb8, 16, 0, 0, 0, 0x0f, 0x05], // mov eax, ioctl; syscall
    ...[0x89, 0xc7, 0xf7, 0xdf, 0xb8, 60, 0, 0, 0, 0x0f, 0x05], // mov edi, eax; neg edi; mov eax, exit; syscall
  ];
  const file = new Uint8Array(120 + 64);
  const view = new DataView(file.buffer);
  const base = 0x400000;
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  [2, 62].forEach((value, i) => view.setUint16(16 + i * 2, value, true)); // executable, x86-64
  view.setUint32(20, 1, true);
  view.setUint32(24, base + 120, true); // entry
  view.setUint32(32, 64, true); // program headers
  [64, 56, 1].forEach((value, i) => view.setUint16(52 + i * 2, value, true));
  view.setUint32(64, 1, true); // load
  view.setUint32(68, 5, true); // readable, executable
  view.setUint32(80, base, true);
  view.setUint32(88, base, true);
  view.setUint32(96, file.length, true);
  view.setUint32(104, file.length, true);
  view.setUint32(112, 0x1000, true);
  file.set(code, 120);
  const range = 120 + 14 + 18;
  view.setUint32(range, ZERO_AT, true);
  view.setUint32(range + 8, MEBIBYTE, true);
  return file;
}

const CHECKED = ['vda', 'vdb', 'vdc', 'vdd', 'sda', 'vdi'];
const SCRIPT = `
dmesg -n 1
pattern() { seq 1000 60000 | head -c 131072; }
for disk in vda vdb vdc vdd vdi; do
  features=$(cat /sys/block/$disk/device/features)
  echo "$disk version1=$(echo $features | cut -c33) packed=$(echo $features | cut -c35) serial=$(cat /sys/block/$disk/serial)"
done
for disk in ${CHECKED.join(' ')}; do
  echo "$disk before $(dd if=/dev/$disk bs=64k count=16 2>/dev/null | md5sum)"
  pattern | dd of=/dev/$disk bs=4096 seek=256 conv=notrunc,fsync 2>/dev/null || echo "$disk write failed"
  blkdiscard -o ${DISCARD_AT} -l ${MEBIBYTE} /dev/$disk || echo "$disk discard failed"
  /zeroout 0<>/dev/$disk || echo "$disk write zeroes failed $?"
done
echo 3 >/proc/sys/vm/drop_caches
for disk in ${CHECKED.join(' ')}; do
  echo "$disk after $(dd if=/dev/$disk bs=1M iflag=direct 2>/dev/null | md5sum)"
done
echo "pattern $(pattern | md5sum)"
echo "sr0 $(md5sum </dev/sr0) $(cat /sys/block/sr0/size)"
for disk in vde vdf vdg; do
  if dd if=/dev/zero of=/dev/$disk bs=4096 count=4 conv=fsync 2>/dev/null; then echo "$disk written"; else echo "$disk error"; fi
done
if dd if=/dev/vdh of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null; then echo "vdh read"; else echo "vdh error"; fi
`;

async function contents(node: BlockNode): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.size);
  await node.read(0, [bytes]);
  return bytes;
}

const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');
const filled = (bytes: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => ((i * 31) ^ (i >> 9) ^ (seed << 1)) | 1);

/** What the script leaves of a disk that was `filled` with `seed`. */
function expected(seed: number): Uint8Array {
  const bytes = filled(DISK_BYTES, seed);
  let text = '';
  for (let i = 1000; text.length < 131072; i++) text += `${i}\n`;
  bytes.set(new TextEncoder().encode(text.slice(0, 131072)), WRITE_AT);
  bytes.fill(0, DISCARD_AT, DISCARD_AT + MEBIBYTE);
  bytes.fill(0, ZERO_AT, ZERO_AT + MEBIBYTE);
  return bytes;
}

describe.skipIf(amd64 === undefined)('disks of amd64 Linux', () => {
  it('are read, written, flushed, discarded and zeroed on every transport, and fail by their policies', async () => {
    // INVARIANT: the suite is skipped where there is no guest.
    const image = amd64!;
    const graph = new BlockGraph(nodeBlockHost);
    const qcow2 = join(folder, 'vdd.qcow2');
    await graph.create({ format: 'qcow2', filename: qcow2, size: DISK_BYTES });

    const drives: DriveConfig[] = [];
    const devices: DeviceConfig[] = [{ driver: 'virtio-scsi-pci', properties: {} }];
    const faults = new Map<string, FaultNode>();
    const add = (
      driver: string,
      node: BlockNode,
      properties: Record<string, string>,
      more: Partial<DriveConfig> = {},
    ) => {
      const id = `d${drives.length}`;
      drives.push({ id, node, interface: 'none', ...more });
      devices.push({ driver, properties: { drive: id, ...properties } });
    };
    const fault = (name: string, more: Partial<DriveConfig>): void => {
      const node = new FaultNode(name, MEBIBYTE);
      faults.set(name, node);
      add('virtio-blk-pci', node, {}, more);
    };
    const nodes = [new FaultNode('a', DISK_BYTES), new FaultNode('b', DISK_BYTES), new FaultNode('c', DISK_BYTES)];
    const disks: BlockNode[] = [
      ...nodes,
      await graph.open(qcow2, { unmap: true }),
      new FaultNode('s', DISK_BYTES),
      new FaultNode('m', DISK_BYTES),
    ];
    for (const [seed, node] of disks.entries()) await node.write(0, [filled(DISK_BYTES, seed)]);
    // INVARIANT: six.
    const [a, b, c, d, s, m] = disks as [BlockNode, BlockNode, BlockNode, BlockNode, BlockNode, BlockNode];
    add('virtio-blk-pci', a, { 'disable-legacy': 'on', packed: 'on', serial: 'packed' });
    add('virtio-blk-pci', b, { 'disable-modern': 'on', serial: 'legacy' });
    add('virtio-blk-pci', c, { 'num-queues': '4', serial: 'queues' });
    add('virtio-blk-pci', d, { event_idx: 'off', indirect_desc: 'off', serial: 'plain' });
    add('scsi-hd', s, { serial: 'scsi' });
    const disc = filled(3 * MEBIBYTE + 2048, 99);
    const cd = new FaultNode('cd', disc.length);
    await cd.write(0, [disc]);
    add('scsi-cd', cd, {}, { readOnly: true });
    fault('stop', { werror: 'enospc' });
    fault('report', { werror: 'report' });
    fault('ignore', { werror: 'ignore' });
    fault('read', { rerror: 'report' });
    // INVARIANT: made right above.
    const [stop, report, ignore, read] = ['stop', 'report', 'ignore', 'read'].map((name) => faults.get(name)!);
    stop!.writeFault = 'ENOSPC';
    report!.writeFault = 'ENOSPC';
    ignore!.writeFault = 'EIO';
    read!.readFault = 'EIO';

    add('virtio-blk-device', m, { packed: 'on', serial: 'mmio' });

    const archive = writeCpio([{ path: 'zeroout', type: 'file', mode: 0o755, content: zeroOutProgram() }]);
    const scripted = withScript(image.initrd, SCRIPT);
    const initrd = Buffer.concat([scripted, Buffer.alloc(-scripted.length & 3), archive]);
    const machine = await Machine.create({
      ...{ kernel: image.kernel, initrd, commandLine: 'console=ttyS0 quiet cryptomgr.notests', noReboot: true },
      ...{ drives, devices },
    });
    let text = '';
    machine.serial[0]?.onOutput((bytes) => (text += new TextDecoder().decode(bytes)));
    const stops: string[] = [];
    machine.onIoError((message) => {
      stops.push(message);
      expect(text).not.toContain('vde written');
      // There is space again.
      stop!.writeFault = undefined;
      expect(machine.running).toBe(false);
      machine.resume();
    });
    machine.start();
    expect(await machine.exited).toEqual({ reason: 'poweroff', status: 0 });
    const output = text.replaceAll('\r', '');

    expect(output).toContain('vda version1=1 packed=1 serial=packed');
    expect(output).toContain('vdb version1=0 packed=0 serial=legacy');
    expect(output).toContain('vdc version1=1 packed=0 serial=queues');
    expect(output).toContain('vdd version1=1 packed=0 serial=plain');
    expect(output).toContain('vdi version1=1 packed=1 serial=mmio');
    for (const [seed, node] of disks.entries()) {
      const name = CHECKED[seed] ?? '';
      const wanted = expected(seed);
      expect(output).toContain(`${name} before ${md5(filled(MEBIBYTE, seed))}`);
      expect(output).toContain(`${name} after ${md5(wanted)}`);
      expect(md5(await contents(node)), name).toBe(md5(wanted));
      for (const at of [DISCARD_AT, ZERO_AT])
        expect(await node.status(at, MEBIBYTE), name).toMatchObject({ zero: true, bytes: MEBIBYTE });
    }
    expect(output).not.toMatch(/(discard|write|zeroes) failed/);
    for (const node of nodes) expect(node.flushes).toBeGreaterThan(0);
    expect(output).toContain(`sr0 ${md5(disc)}  - ${disc.length / 512}`);
    expect(output).toMatch(/vde written\nvdf error\nvdg written\nvdh error/);
    expect(stops).toHaveLength(1);
    expect(stops[0]).toContain("drive 'd6': No space left on device");
    expect(await stop!.status(0, MEBIBYTE)).toMatchObject({ data: true });
    expect(await ignore!.status(0, MEBIBYTE)).toMatchObject({ data: false });

    await d.flush();
    await graph.close(d);
    const check = spawnSync('qemu-img', ['check', '-f', 'qcow2', qcow2], { encoding: 'utf8' });
    if (check.error !== undefined) console.warn('qemu-img is not there to judge the image');
    else expect(check.stdout).toContain('No errors were found');
  });
});
