/**
 * NBD without manners: what a client sent in a good session goes to the server with bytes changed, lost and doubled, and what a server
 * sent goes to the client so. Neither may fail in another way than by ending the connection, hang, or take memory without bound.
 * ORRERY_FUZZ_NBD_SESSIONS makes it longer.
 */
import { describe, expect, it } from 'vitest';
import type { HostStream } from '../../src/block/host.ts';
import { BlockError, ImageError } from '../../src/block/block-error.ts';
import { NbdNode } from '../../src/block/nbd/client/nbd-node.ts';
import { NbdServer } from '../../src/block/nbd/server/server.ts';
import { RamNode } from '../support/ram-node.ts';
import { PairHost, streamPair } from '../support/stream-pair.ts';

const SESSIONS = Number(process.env['ORRERY_FUZZ_NBD_SESSIONS'] ?? 1500);
const ADDRESS = { type: 'unix', path: '/sock' } as const;

/** mulberry32: a failure names its seed. */
function makeRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

function mutate(bytes: Uint8Array, random: (below: number) => number): Uint8Array {
  let result = bytes.slice();
  for (let count = 1 + random(4); count > 0; count--) {
    const at = random(result.length);
    switch (random(5)) {
      case 0:
        result[at] = random(256);
        break;
      case 1:
        result[at] = [0, 0x7f, 0x80, 0xff][random(4)]!;
        break;
      case 2:
        result.fill(random(2) * 255, at, at + 1 + random(8));
        break;
      case 3: {
        const length = random(40);
        result = Uint8Array.from([...result.subarray(0, at), ...result.subarray(at + length)]);
        break;
      }
      default:
        result = Uint8Array.from([...result.subarray(0, at + random(64)), ...result.subarray(at)]);
    }
    if (result.length === 0) return Uint8Array.of(random(256));
  }
  return result;
}

/** Copies what goes through a stream's `read`. */
function recorded(stream: HostStream, into: number[]): HostStream {
  return {
    read: async () => {
      const piece = await stream.read();
      if (piece !== undefined) into.push(...piece);
      return piece;
    },
    write: (pieces) => stream.write(pieces),
    close: () => stream.close(),
  };
}

function newServer(pair: PairHost): NbdServer {
  const server = new NbdServer({ host: pair.host });
  server.add({ name: 'disk', node: new RamNode(new Uint8Array(65_536)), allocationDepth: true, description: 'a disk' });
  return server;
}

async function useNode(node: NbdNode): Promise<void> {
  const results = await Promise.allSettled([
    node.write(100, [new Uint8Array(300).fill(3)]),
    node.read(0, [new Uint8Array(2000)]),
    node.status(0, 65_536),
    node.writeZeroes(4096, 8192, { unmap: true }),
    node.discard(0, 4096),
    node.flush(),
  ]);
  for (const result of results) if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(BlockError);
}

async function record(extendedHeaders: boolean): Promise<{ client: Uint8Array; server: Uint8Array }> {
  const pair = new PairHost();
  const [client, server]: [number[], number[]] = [[], []];
  const target = newServer(pair);
  const connect = async (): Promise<HostStream> => {
    const [near, far] = streamPair();
    target.accept(recorded(far, client));
    return recorded(near, server);
  };
  const host = { ...pair.host, connect };
  const options = { address: ADDRESS, exportName: 'disk', extendedHeaders };
  const node = await NbdNode.open('n', false, host, options);
  await useNode(node);
  await node.close();
  return { client: Uint8Array.from(client), server: Uint8Array.from(server) };
}

describe.each([true, false])('NBD with changed bytes, extended headers %s', (extendedHeaders) => {
  it('does not upset the server', async () => {
    const { client } = await record(extendedHeaders);
    for (let seed = 1; seed <= SESSIONS; seed++) {
      const random = makeRandom(seed);
      const server = newServer(new PairHost());
      const [near, far] = streamPair(1 + random(100));
      server.accept(far);
      await near.write([mutate(client, random)]);
      // What it answers is taken until it has answered everything, then the connection ends.
      let answered = 0;
      const reading = (async () => {
        for (let piece; (piece = await near.read()) !== undefined;) answered += piece.length;
      })();
      for (let turns = 0; turns < 4; turns++) await new Promise((resolve) => setImmediate(resolve));
      near.close();
      await reading;
      await server.close();
      expect(server.clientCount, `seed ${seed}`).toBe(0);
      expect(answered, `seed ${seed}`).toBeLessThan(1_000_000);
    }
  });

  it('does not upset the client', async () => {
    const { server } = await record(extendedHeaders);
    for (let seed = 1; seed <= SESSIONS; seed++) {
      const random = makeRandom(seed);
      const pair = new PairHost();
      const connect = async (): Promise<HostStream> => {
        const [near, far] = streamPair(1 + random(100));
        void far.write([mutate(server, random)]).then(async () => {
          for (let turns = 0; turns < 6; turns++) await new Promise((resolve) => setImmediate(resolve));
          far.close();
        });
        return near;
      };
      const host = { ...pair.host, connect };
      const options = { address: ADDRESS, exportName: 'disk', extendedHeaders };
      try {
        const node = await NbdNode.open('n', false, host, options);
        await useNode(node);
        await node.close();
      } catch (error) {
        const told = error instanceof BlockError || error instanceof ImageError;
        expect(told, `seed ${seed}: ${String(error)}`).toBe(true);
      }
    }
  });
});
