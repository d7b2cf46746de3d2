/**
 * Writes cpio archives in the "new ASCII" format (newc, magic 070701) that the Linux kernel unpacks as its initial file system.
 * Format: Linux Documentation/driver-api/early-userspace/buffer-format.rst. Leaves out checksums (070702) and hard links.
 */

/** One member. Paths are relative, without a leading slash; parents must come before what they hold. */
export interface CpioEntry {
  readonly path: string;
  readonly type: 'directory' | 'file' | 'symlink' | 'character' | 'block';
  /** Permission bits; 0755 for directories, 0644 for files and 0777 for links unless given. */
  readonly mode?: number;
  /** A file's content, or the text of a symbolic link. */
  readonly content?: Uint8Array | string;
  /** Major and minor number of a device. */
  readonly device?: readonly [number, number];
}

const MAGIC = '070701';
const HEADER_BYTES = 110;
const TRAILER = 'TRAILER!!!';
/** The kernel wants archives that follow each other aligned to 4 bytes; whole 512-byte blocks are what cpio writes. */
const BLOCK_BYTES = 512;
const MAX_FIELD = 0xffff_ffff;

const TYPE_BITS: Readonly<Record<CpioEntry['type'], number>> = {
  directory: 0o040000,
  file: 0o100000,
  symlink: 0o120000,
  character: 0o020000,
  block: 0o060000,
};
const DEFAULT_MODE: Readonly<Record<CpioEntry['type'], number>> = {
  directory: 0o755,
  file: 0o644,
  symlink: 0o777,
  character: 0o600,
  block: 0o600,
};

const encoder = new TextEncoder();

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

interface Member {
  readonly name: Uint8Array;
  readonly content: Uint8Array;
  readonly fields: readonly number[];
}

function member(entry: CpioEntry, inode: number): Member {
  const name = encoder.encode(`${entry.path}\0`);
  const content =
    typeof entry.content === 'string' ? encoder.encode(entry.content) : (entry.content ?? new Uint8Array(0));
  if (content.length > MAX_FIELD)
    throw new RangeError(`${entry.path} has ${content.length} bytes, and cpio holds 4 GiB`);
  const mode = TYPE_BITS[entry.type] | (entry.mode ?? DEFAULT_MODE[entry.type]);
  const links = entry.type === 'directory' ? 2 : 1;
  const [major, minor] = entry.device ?? [0, 0];
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  return { name, content, fields: [inode, mode, 0, 0, links, 0, content.length, 0, 0, major, minor, name.length, 0] };
}

function trailer(): Member {
  const name = encoder.encode(`${TRAILER}\0`);
  return { name, content: new Uint8Array(0), fields: [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.length, 0] };
}

/** The archive of `entries`, owned by root and dated 0 so that the same entries give the same bytes. */
export function writeCpio(entries: Iterable<CpioEntry>): Uint8Array<ArrayBuffer> {
  const members: Member[] = [];
  for (const entry of entries) members.push(member(entry, members.length + 1));
  members.push(trailer());

  let size = 0;
  for (const { name, content } of members)
    size = align(align(size + HEADER_BYTES + name.length, 4) + content.length, 4);
  const archive = new Uint8Array(align(size, BLOCK_BYTES));
  let at = 0;
  for (const { name, content, fields } of members) {
    const header = MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join('');
    encoder.encodeInto(header, archive.subarray(at));
    archive.set(name, at + HEADER_BYTES);
    at = align(at + HEADER_BYTES + name.length, 4);
    archive.set(content, at);
    at = align(at + content.length, 4);
  }
  return archive;
}

/** The directories above `path`, outermost first: `a/b/c` gives `a`, `a/b`. */
export function parentDirectories(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}
