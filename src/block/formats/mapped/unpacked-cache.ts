/** The last few unpacked pieces of a compressed image; a piece asked for twice at once is unpacked once. */
export class UnpackedCache {
  private readonly pieces = new Map<number, Promise<Uint8Array>>();
  private readonly limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  get(key: number, unpack: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const known = this.pieces.get(key);
    if (known !== undefined) return known;
    const piece = unpack();
    this.pieces.set(key, piece);
    piece.catch(() => this.pieces.delete(key));
    if (this.pieces.size > this.limit) {
      // INVARIANT: not empty.
      this.pieces.delete(this.pieces.keys().next().value!);
    }
    return piece;
  }
}
