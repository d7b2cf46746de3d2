/** SHA-1 and SHA-256 instructions: FIPS 180-4 cut into rounds. Intel SDM volume 2. Operands are at host addresses. */

@inline function word(at: u32, lane: u32): u32 { return load<u32>(at + (lane << 2)); }
@inline function put4(dst: u32, w0: u32, w1: u32, w2: u32, w3: u32): void {
  store<u32>(dst, w0);
  store<u32>(dst, w1, 4);
  store<u32>(dst, w2, 8);
  store<u32>(dst, w3, 12);
}

@inline function choice(x: u32, y: u32, z: u32): u32 { return z ^ (x & (y ^ z)); }
@inline function majority(x: u32, y: u32, z: u32): u32 { return (x & y) | (z & (x | y)); }

const SHA1_K: usize = memory.data<u32>([0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6]);

/** Four rounds with function and constant `which`; lane 3 holds A and the first word. */
export function sseSha1Rounds(cpu: u32, dst: u32, state: u32, words: u32, which: u32): void {
  const k = load<u32>(SHA1_K + ((which & 3) << 2));
  let a = word(state, 3), b = word(state, 2), c = word(state, 1), d = word(state, 0), e: u32 = 0;
  for (let i: u32 = 0; i < 4; i++) {
    const f = (which & 3) == 0 ? choice(b, c, d) : (which & 3) == 2 ? majority(b, c, d) : b ^ c ^ d;
    const next = f + rotl<u32>(a, 5) + word(words, 3 - i) + e + k;
    e = d;
    d = c;
    c = rotl<u32>(b, 30);
    b = a;
    a = next;
  }
  put4(dst, d, c, b, a);
}

export function sseSha1NextE(cpu: u32, dst: u32, a: u32, b: u32): void {
  const e = word(b, 3) + rotl<u32>(word(a, 3), 30);
  put4(dst, word(b, 0), word(b, 1), word(b, 2), e);
}

export function sseSha1Message1(cpu: u32, dst: u32, a: u32, b: u32): void {
  const w0 = word(a, 3), w1 = word(a, 2), w2 = word(a, 1), w3 = word(a, 0), w4 = word(b, 3), w5 = word(b, 2);
  put4(dst, w5 ^ w3, w4 ^ w2, w3 ^ w1, w2 ^ w0);
}

export function sseSha1Message2(cpu: u32, dst: u32, a: u32, b: u32): void {
  const w16 = rotl<u32>(word(a, 3) ^ word(b, 2), 1);
  const w17 = rotl<u32>(word(a, 2) ^ word(b, 1), 1);
  const w18 = rotl<u32>(word(a, 1) ^ word(b, 0), 1);
  const w19 = rotl<u32>(word(a, 0) ^ w16, 1);
  put4(dst, w19, w18, w17, w16);
}

/** Two rounds; `cdgh` is replaced by ABEF of the result, `sums` holds word plus constant in its lanes 0 and 1. */
export function sseSha256Rounds(cpu: u32, dst: u32, cdgh: u32, abef: u32, sums: u32): void {
  let a = word(abef, 3), b = word(abef, 2), e = word(abef, 1), f = word(abef, 0);
  let c = word(cdgh, 3), d = word(cdgh, 2), g = word(cdgh, 1), h = word(cdgh, 0);
  for (let i: u32 = 0; i < 2; i++) {
    const s1 = rotr<u32>(e, 6) ^ rotr<u32>(e, 11) ^ rotr<u32>(e, 25);
    const s0 = rotr<u32>(a, 2) ^ rotr<u32>(a, 13) ^ rotr<u32>(a, 22);
    const t = h + s1 + choice(e, f, g) + word(sums, i);
    h = g;
    g = f;
    f = e;
    e = d + t;
    d = c;
    c = b;
    b = a;
    a = t + s0 + majority(b, c, d);
  }
  put4(dst, f, e, b, a);
}

@inline function sigma0(w: u32): u32 { return rotr<u32>(w, 7) ^ rotr<u32>(w, 18) ^ (w >> 3); }
@inline function sigma1(w: u32): u32 { return rotr<u32>(w, 17) ^ rotr<u32>(w, 19) ^ (w >> 10); }

export function sseSha256Message1(cpu: u32, dst: u32, a: u32, b: u32): void {
  const w1 = word(a, 1), w2 = word(a, 2), w3 = word(a, 3), w4 = word(b, 0);
  put4(dst, word(a, 0) + sigma0(w1), w1 + sigma0(w2), w2 + sigma0(w3), w3 + sigma0(w4));
}

export function sseSha256Message2(cpu: u32, dst: u32, a: u32, b: u32): void {
  const w16 = word(a, 0) + sigma1(word(b, 2)), w17 = word(a, 1) + sigma1(word(b, 3));
  const w18 = word(a, 2) + sigma1(w16), w19 = word(a, 3) + sigma1(w17);
  put4(dst, w16, w17, w18, w19);
}
