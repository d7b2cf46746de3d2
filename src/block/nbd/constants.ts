/**
 * The numbers of the NBD protocol (the "NBD protocol" document of the network block device project: handshake, transmission,
 * structured replies, extended headers), and the bounds that we set where it sets none. All numbers on the wire are big-endian.
 */

// ---- handshake ----
/** "NBDMAGIC". */
export const NBDMAGIC_HIGH = 0x4e42444d;
export const NBDMAGIC_LOW = 0x41474943;
/** "IHAVEOPT": the newstyle handshake. */
export const IHAVEOPT_HIGH = 0x49484156;
export const IHAVEOPT_LOW = 0x454f5054;
/** The handshake before it: magic, then size (64 bits), flags (32 bits) and zeroes. */
export const OLDSTYLE_MAGIC_HIGH = 0x00004202;
export const OLDSTYLE_MAGIC_LOW = 0x81861253;
export const OLDSTYLE_BYTES = 136;
export const REPLY_MAGIC_HIGH = 0x0003e889;
export const REPLY_MAGIC_LOW = 0x045565a9;

export const NBD_FLAG_FIXED_NEWSTYLE: number = 1 << 0;
export const NBD_FLAG_NO_ZEROES: number = 1 << 1;

export const NBD_OPT_EXPORT_NAME = 1;
export const NBD_OPT_ABORT = 2;
export const NBD_OPT_LIST = 3;
export const NBD_OPT_STARTTLS = 5;
export const NBD_OPT_INFO = 6;
export const NBD_OPT_GO = 7;
export const NBD_OPT_STRUCTURED_REPLY = 8;
export const NBD_OPT_LIST_META_CONTEXT = 9;
export const NBD_OPT_SET_META_CONTEXT = 10;
export const NBD_OPT_EXTENDED_HEADERS = 11;

export const NBD_REP_ACK = 1;
export const NBD_REP_SERVER = 2;
export const NBD_REP_INFO = 3;
export const NBD_REP_META_CONTEXT = 4;
/** Replies from here on are errors. */
export const NBD_REP_ERR = 0x8000_0000;
export const NBD_REP_ERR_UNSUP: number = NBD_REP_ERR + 1;
export const NBD_REP_ERR_POLICY: number = NBD_REP_ERR + 2;
export const NBD_REP_ERR_INVALID: number = NBD_REP_ERR + 3;
export const NBD_REP_ERR_TLS_REQD: number = NBD_REP_ERR + 5;
export const NBD_REP_ERR_UNKNOWN: number = NBD_REP_ERR + 6;
export const NBD_REP_ERR_SHUTDOWN: number = NBD_REP_ERR + 7;
export const NBD_REP_ERR_TOO_BIG: number = NBD_REP_ERR + 9;
export const NBD_REP_ERR_EXT_HEADER_REQD: number = NBD_REP_ERR + 10;

export const NBD_INFO_EXPORT = 0;
export const NBD_INFO_NAME = 1;
export const NBD_INFO_DESCRIPTION = 2;
export const NBD_INFO_BLOCK_SIZE = 3;

// ---- transmission flags of an export ----
export const NBD_FLAG_HAS_FLAGS: number = 1 << 0;
export const NBD_FLAG_READ_ONLY: number = 1 << 1;
export const NBD_FLAG_SEND_FLUSH: number = 1 << 2;
export const NBD_FLAG_SEND_FUA: number = 1 << 3;
export const NBD_FLAG_ROTATIONAL: number = 1 << 4;
export const NBD_FLAG_SEND_TRIM: number = 1 << 5;
export const NBD_FLAG_SEND_WRITE_ZEROES: number = 1 << 6;
export const NBD_FLAG_SEND_DF: number = 1 << 7;
export const NBD_FLAG_CAN_MULTI_CONN: number = 1 << 8;
export const NBD_FLAG_SEND_RESIZE: number = 1 << 9;
export const NBD_FLAG_SEND_CACHE: number = 1 << 10;
export const NBD_FLAG_SEND_FAST_ZERO: number = 1 << 11;
export const NBD_FLAG_BLOCK_STAT_PAYLOAD: number = 1 << 12;

// ---- requests ----
export const NBD_REQUEST_MAGIC = 0x25609513;
export const NBD_EXTENDED_REQUEST_MAGIC = 0x21e41c71;
export const REQUEST_BYTES = 28;
export const EXTENDED_REQUEST_BYTES = 32;

export const NBD_CMD_READ = 0;
export const NBD_CMD_WRITE = 1;
export const NBD_CMD_DISC = 2;
export const NBD_CMD_FLUSH = 3;
export const NBD_CMD_TRIM = 4;
export const NBD_CMD_CACHE = 5;
export const NBD_CMD_WRITE_ZEROES = 6;
export const NBD_CMD_BLOCK_STATUS = 7;

export const NBD_CMD_FLAG_FUA: number = 1 << 0;
export const NBD_CMD_FLAG_NO_HOLE: number = 1 << 1;
export const NBD_CMD_FLAG_DF: number = 1 << 2;
export const NBD_CMD_FLAG_REQ_ONE: number = 1 << 3;
export const NBD_CMD_FLAG_FAST_ZERO: number = 1 << 4;
export const NBD_CMD_FLAG_PAYLOAD_LEN: number = 1 << 5;

// ---- replies ----
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698;
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef;
export const NBD_EXTENDED_REPLY_MAGIC = 0x6e8a278c;
export const SIMPLE_REPLY_BYTES = 16;
export const STRUCTURED_REPLY_BYTES = 20;
export const EXTENDED_REPLY_BYTES = 32;

export const NBD_REPLY_FLAG_DONE: number = 1 << 0;

export const NBD_REPLY_TYPE_NONE = 0;
export const NBD_REPLY_TYPE_OFFSET_DATA = 1;
export const NBD_REPLY_TYPE_OFFSET_HOLE = 2;
export const NBD_REPLY_TYPE_BLOCK_STATUS = 5;
export const NBD_REPLY_TYPE_BLOCK_STATUS_EXT = 6;
export const NBD_REPLY_TYPE_ERROR = 0x8001;
export const NBD_REPLY_TYPE_ERROR_OFFSET = 0x8002;

// ---- block status ----
export const CONTEXT_BASE_ALLOCATION = 'base:allocation';
export const CONTEXT_ALLOCATION_DEPTH = 'qemu:allocation-depth';
export const CONTEXT_DIRTY_BITMAP = 'qemu:dirty-bitmap:';

export const NBD_STATE_HOLE: number = 1 << 0;
export const NBD_STATE_ZERO: number = 1 << 1;
export const NBD_STATE_DIRTY: number = 1 << 0;

export const NBD_DEFAULT_PORT = 10809;

// ---- bounds ----
/** Names and messages, bytes: the protocol's own limit. */
export const MAX_STRING_BYTES = 4096;
/** Data of one request or reply. Without it a header of 28 bytes makes us allocate 4 GiB; clients may count on 32 MiB. */
export const MAX_PAYLOAD_BYTES: number = 32 * 1024 ** 2;
/** Data of one option. A client that asks for all bitmaps by name needs some; more is only there to fill memory. */
export const MAX_OPTION_BYTES: number = 256 * 1024;
/** Options of one client before it gets to an export: an endless list of them would keep its place taken. */
export const MAX_OPTIONS = 1024;
/** Meta contexts of an export: each costs a reply for every block status request. */
export const MAX_CONTEXTS = 1024;
/** Extents in one block status reply: a request of 28 bytes should not be worth megabytes of answer. */
export const MAX_EXTENTS = 16_384;
/** Exports that a client takes from a server's list. */
export const MAX_LISTED_EXPORTS = 10_000;
