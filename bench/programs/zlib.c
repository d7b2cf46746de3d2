/* zlib at level 6: DEFLATE of 128 KiB of text, or with INFLATE back again. */
#ifdef INFLATE
#define ROUNDS 1600
#else
#define ROUNDS 100
#endif
#include "frame.h"
#include <zlib.h>

#define SIZE (128 << 10)

static unsigned char text[SIZE], packed[SIZE];
#ifdef INFLATE
static unsigned char unpacked[SIZE];
#endif
static uLongf packed_size;

static void pack(void)
{
    packed_size = sizeof packed;
    if (compress2(packed, &packed_size, text, SIZE, 6) != Z_OK) fail("compress2");
}

static void setup(void)
{
    make_text(text, SIZE);
    pack();
}

static uint32_t work(void)
{
#ifdef INFLATE
    uLongf size = sizeof unpacked;
    if (uncompress(unpacked, &size, packed, packed_size) != Z_OK || size != SIZE) fail("uncompress");
    return checksum_bytes(CHECKSUM_START, unpacked + SIZE - 64, 64);
#else
    pack();
    return (uint32_t)packed_size;
#endif
}
