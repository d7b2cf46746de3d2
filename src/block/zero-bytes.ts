/** Whether bytes are all zero: asked of everything that is copied, so word by word. */

/** True for no bytes, too. */
export function isAllZero(bytes: Uint8Array): boolean {
  const { buffer, byteOffset, length } = bytes;
  const head = Math.min(length, -byteOffset & 3);
  const words = new Uint32Array(buffer, byteOffset + head, (length - head) >> 2);
  for (let at = 0; at < head; at++) if (bytes[at] !== 0) return false;
  for (let at = 0; at < words.length; at++) if (words[at] !== 0) return false;
  for (let at = head + words.length * 4; at < length; at++) if (bytes[at] !== 0) return false;
  return true;
}
