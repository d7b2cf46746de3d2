import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BufferNode } from '../../../../tests/support/buffer-node.ts';
import { Drive } from '../drive.ts';
import { ScsiBus } from './scsi-bus.ts';
import { ScsiDisk } from './scsi-disk.ts';
import type { ScsiResult } from './scsi-target.ts';

type Run = (cdb: readonly number[], into?: Uint8Array, out?: Uint8Array) => Promise<ScsiResult>;

const HOST = { pending: 0, stopForError: (): Promise<boolean> => Promise.resolve(false) };

function unit(cdrom = false, empty = false): { node: BufferNode; disk: ScsiDisk; run: Run } {
  const node = new BufferNode(
    Uint8Array.from({ length: 64 << 10 }, (_, i) => i >> 9),
    cdrom,
  );
  const drive = new Drive({ id: 'd', node: empty ? undefined : node }, HOST);
  const disk = new ScsiDisk({
    drive, cdrom, blockBytes: 512, physicalBlockBytes: 4096, serial: 'S42', vendor: 'V', product: 'P', version: '1',
  }); // prettier-ignore
  const run = async (
    cdb: readonly number[],
    into: Uint8Array = new Uint8Array(0),
    out: Uint8Array = new Uint8Array(0),
  ): Promise<ScsiResult> => {
    const whole = new Uint8Array(16);
    whole.set(cdb);
    return disk.execute({ cdb: whole, into: [into], out: [out] });
  };
  return { node, disk, run };
}

/** Key, code and qualifier. */
const sense = (result: ScsiResult): number[] => [result.sense[2] ?? -1, result.sense[12] ?? -1, result.sense[13] ?? -1];

async function ready(cdrom = false, empty = false): Promise<ReturnType<typeof unit>> {
  const made = unit(cdrom, empty);
  await made.run([0x00]);
  return made;
}

describe('a SCSI disk', () => {
  it('tells once that it was switched on', async () => {
    const { run } = unit();
    expect((await run([0x12, 0, 0, 0, 36], new Uint8Array(36))).status).toBe(0);
    expect(sense(await run([0x00]))).toEqual([6, 0x29, 0]);
    expect((await run([0x00])).status).toBe(0);
  });

  it('reads and writes by every width of command, and flushes', async () => {
    const { run, node } = await ready();
    const block = new Uint8Array(512);
    for (const cdb of [
      [0x08, 0, 0, 9, 1],
      [0x28, 0, 0, 0, 0, 9, 0, 0, 1],
      [0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 1],
      [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1],
    ]) {
      block.fill(0);
      expect(await run(cdb, block)).toMatchObject({ status: 0, transferred: 512 });
      expect(block[511]).toBe(9);
    }
    await run([0x2a, 8, 0, 0, 0, 3, 0, 0, 1], undefined, new Uint8Array(512).fill(0xaa));
    await run([0x35]);
    expect(node.bytes[3 * 512]).toBe(0xaa);
    expect(node.operations.slice(-2)).toEqual(['write-fua 1536+512', 'flush']);
  });

  it('names its size, and what is beyond it', async () => {
    const { run } = await ready();
    const capacity = new Uint8Array(8);
    await run([0x25], capacity);
    expect([...capacity]).toEqual([0, 0, 0, 127, 0, 0, 2, 0]);
    const long = new Uint8Array(32);
    await run([0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32], long);
    expect([long[7], long[10], long[13], long[14]]).toEqual([127, 2, 3, 0x80]);
    expect(sense(await run([0x28, 0, 0, 0, 0, 127, 0, 0, 2], new Uint8Array(1024)))).toEqual([5, 0x21, 0]);
    expect(sense(await run([0x88, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 1]))).toEqual([5, 0x21, 0]);
  });

  it('gives ranges back and clears them', async () => {
    const { run, node } = await ready();
    const list = Uint8Array.of(0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0, 0);
    await run([0x42, 0, 0, 0, 0, 0, 0, 0, 24], undefined, list);
    await run([0x93, 0x09, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 2]);
    await run([0x41, 0, 0, 0, 0, 32, 0, 0, 2], undefined, new Uint8Array(512).fill(1));
    expect(node.operations).toEqual([
      'discard 4096+2048',
      'zeroes-unmap 8192+1024',
      'write 16384+512',
      'write 16896+512',
    ]);
  });

  it('lets the write cache be switched off, and shows it', async () => {
    const { run, disk, node } = await ready();
    await run([0x15, 0x10, 0, 0, 24], undefined, Uint8Array.from([0, 0, 0, 0, 0x08, 18, ...new Uint8Array(18)]));
    expect(disk.writeCache).toBe(false);
    const page = new Uint8Array(24);
    await run([0x1a, 8, 0x08, 0, 24], page);
    expect([page[4], (page[6] ?? 0) & 4]).toEqual([8, 0]);
    await run([0x2a, 0, 0, 0, 0, 0, 0, 0, 1], undefined, new Uint8Array(512));
    expect(node.operations).toEqual(['write-fua 0+512']);
  });

  it('tells media errors and full hosts by sense data', async () => {
    const { run, node } = await ready();
    node.failures.push('EIO');
    expect(sense(await run([0x28, 0, 0, 0, 0, 0, 0, 0, 1], new Uint8Array(512)))).toEqual([3, 0x11, 0]);
  });

  it('survives any command', async () => {
    const { disk } = await ready();
    const { disk: cdrom } = await ready(true);
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.uint8Array({ maxLength: 64 }),
        async (cdb, out) => {
          for (const unit of [disk, cdrom]) {
            const { status } = await unit.execute({ cdb, out: [out], into: [new Uint8Array(64)] });
            expect([0, 2]).toContain(status);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('a CD-ROM drive', () => {
  it('has blocks of 2048 bytes, a table of contents, and refuses writes', async () => {
    const { run } = await ready(true);
    const capacity = new Uint8Array(8);
    await run([0x25], capacity);
    expect([...capacity]).toEqual([0, 0, 0, 31, 0, 0, 8, 0]);
    const toc = new Uint8Array(20);
    await run([0x43, 0, 0, 0, 0, 0, 0, 0, 20], toc);
    expect([...toc]).toEqual([0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 0, 32]);
    expect(sense(await run([0x2a, 0, 0, 0, 0, 0, 0, 0, 1], undefined, new Uint8Array(2048)))).toEqual([7, 0x27, 0]);
  });

  it('says so when there is no disc', async () => {
    const { run } = await ready(true, true);
    expect(sense(await run([0x00]))).toEqual([2, 0x3a, 0]);
    const event = new Uint8Array(8);
    await run([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8], event);
    expect(event[5]).toBe(0);
  });
});

describe('a SCSI bus', () => {
  it('answers for units that are not there', async () => {
    const bus = new ScsiBus('b');
    bus.attach('scsi-hd', unit().disk, 2, 1);
    const cdb = (opcode: number, at: number): Uint8Array => {
      const bytes = new Uint8Array(16);
      bytes[0] = opcode;
      bytes[at] = 64;
      return bytes;
    };
    const into = new Uint8Array(64);
    expect(bus.execute(0, 0, { cdb: cdb(0, 4), out: [], into: [] })).toBeUndefined();
    expect((await bus.execute(2, 0, { cdb: cdb(0, 4), out: [], into: [] }))?.status).toBe(2);
    await bus.execute(2, 0, { cdb: cdb(0x12, 4), out: [], into: [into] });
    expect(into[0]).toBe(0x7f);
    await bus.execute(2, 0, { cdb: cdb(0xa0, 9), out: [], into: [into] });
    expect([into[3], into[9]]).toEqual([8, 1]);
    expect(() => bus.attach('scsi-hd', unit().disk, 2, 1)).toThrow('scsi-id 2, lun 1 on bus b is taken');
  });
});
