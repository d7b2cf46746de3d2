import { describe, expect, it } from 'vitest';
import type { Vcpu, VcpuPlace } from '../../accel/contract.ts';
import { callIn, StackScan } from './stack-scan.ts';

const call = (...bytes: number[]): ReturnType<typeof callIn> => {
  const code = new Uint8Array(7).fill(0x90);
  code.set(bytes, 7 - bytes.length);
  return callIn(code, new DataView(code.buffer), 0x1000);
};

describe('the call before an address', () => {
  it('is direct, with its target', () => {
    expect(call(0xe8, 0x10, 0, 0, 0)).toEqual({ target: 0x1010 });
    expect(call(0xe8, 0xf0, 0xff, 0xff, 0xff)).toEqual({ target: 0xff0 });
  });

  it.each([
    ['call rax', [0xff, 0xd0]],
    ['call r8', [0x41, 0xff, 0xd0]],
    ['call [rbx]', [0xff, 0x13]],
    ['call [rbx+8]', [0xff, 0x53, 0x08]],
    ['call [rax+rcx*8]', [0xff, 0x14, 0xc8]],
    ['call [rax+rcx*8+8]', [0xff, 0x54, 0xc8, 0x08]],
    ['call [rip+0x1234]', [0xff, 0x15, 0x34, 0x12, 0, 0]],
    ['call [rax*8+0x1234]', [0xff, 0x14, 0xc5, 0x34, 0x12, 0, 0]],
  ])('goes through a pointer: %s', (_, bytes) => {
    expect(call(...bytes)).toEqual({ target: undefined });
  });

  it.each([
    ['jmp rax', [0xff, 0xe0]],
    ['push [rbx+8]', [0xff, 0x73, 0x08]],
    ['nothing known', [0x90, 0x90]],
  ])('is none: %s', (_, bytes) => {
    expect(call(...bytes)).toBeUndefined();
  });
});

const STACK = 0x7000;
const CODE = 0x401000;

/** A guest with a stack of words, and code that is a direct call of 0x401000 before each address that ends in 5. */
function scan(words: readonly number[], framePointer = 0): number[] {
  const stack = new Uint8Array(words.length * 8);
  const view = new DataView(stack.buffer);
  words.forEach((word, i) => view.setBigInt64(i * 8, BigInt(word), true));
  const vcpu = {
    peek(linear: number, into: Uint8Array): number {
      if (linear >= STACK && linear < STACK + stack.length) {
        const part = stack.subarray(linear - STACK, linear - STACK + into.length);
        into.set(part);
        return part.length;
      }
      if (linear < CODE || linear > CODE + 0x1000) return 0;
      into.fill(0x90);
      if ((linear + 7) % 16 === 5) {
        into[2] = 0xe8;
        new DataView(into.buffer).setInt32(3, CODE - (linear + 7), true);
      }
      return into.length;
    },
  };
  const place: VcpuPlace = {
    rip: CODE,
    stackPointer: STACK,
    framePointer,
    privilegeLevel: 3,
    codeBits: 64,
    longMode: true,
    pageTables: 0x1000,
    syscallEntry: 0,
    sysenterEntry: 0,
    interruptTable: 0,
  };
  // INVARIANT: of the vCPU the scan asks for memory alone.
  return [...new StackScan(vcpu as unknown as Vcpu).scan(place).addresses];
}

describe('a stack', () => {
  it('is searched for addresses behind calls', () => {
    expect(scan([1, CODE + 0x15, CODE + 0x16, -5, CODE + 0x25, 0x12345678])).toEqual([CODE + 0x15, CODE + 0x25]);
  });

  it('is followed by frame pointers where there is a chain of them', () => {
    const words = [CODE + 0x35, STACK + 32, CODE + 0x15, 0, STACK + 48, CODE + 0x25, 0, 0];
    expect(scan(words, STACK + 8)).toEqual([CODE + 0x15, CODE + 0x25]);
    expect(scan(words, 0)).toEqual([CODE + 0x35, CODE + 0x15, CODE + 0x25]);
  });

  it('may be nowhere', () => {
    expect(scan([])).toEqual([]);
  });
});
