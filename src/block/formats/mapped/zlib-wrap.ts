/** RFC 1950 around raw deflate data. */

/** `packed` is `plain` deflated with a window of 4 KiB. */
export function zlibWrap(packed: Uint8Array, plain: Uint8Array): Uint8Array {
  const whole = new Uint8Array(packed.length + 6);
  whole[0] = 0x48; // deflate, window of 2^(4 + 8) bytes
  whole[1] = 0x0d; // makes the first 16 bits a multiple of 31
  whole.set(packed, 2);
  new DataView(whole.buffer).setUint32(packed.length + 2, adler32(plain));
  return whole;
}

function adler32(bytes: Uint8Array): number {
  let [a, b] = [1, 0];
  // The sums stay below 2^32 for 3800 bytes (RFC 1950's NMAX is 5552 for unsigned ones).
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 3800);
    for (; at < end; at++) {
      a += bytes[at]!; // INVARIANT: below the length
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return ((b << 16) | a) >>> 0;
}
