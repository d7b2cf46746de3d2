/*
 * A compressor of the LZ77 family and its decompressor, on 256 KiB of text. A sequence is a token (literal count and match length
 * minus 4, 4 bits each, 15 meaning that bytes of 255 and a last smaller one follow), the literals, and the match's distance in 16 bits.
 */
#define ROUNDS 400
#include "frame.h"

#define SIZE (256 << 10)
#define HASH_BITS 13
#define MIN_MATCH 4

static unsigned char text[SIZE], packed[SIZE + SIZE / 128 + 64], unpacked[SIZE + 64];
static uint32_t table[1 << HASH_BITS];

static inline uint32_t read32(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

static unsigned char *put_length(unsigned char *out, size_t length)
{
    for (; length >= 255; length -= 255) *out++ = 255;
    *out++ = (unsigned char)length;
    return out;
}

static unsigned char *put_sequence(unsigned char *out, const unsigned char *literals, size_t count, size_t match, size_t distance)
{
    unsigned char *token = out++;
    *token = (unsigned char)((count < 15 ? count : 15) << 4 | (match < 15 ? match : 15));
    if (count >= 15) out = put_length(out, count - 15);
    memcpy(out, literals, count);
    out += count;
    *out++ = (unsigned char)distance, *out++ = (unsigned char)(distance >> 8);
    if (match >= 15) out = put_length(out, match - 15);
    return out;
}

static size_t compress(const unsigned char *in, size_t size, unsigned char *out)
{
    const unsigned char *const start = in, *const end = in + size, *literals = in;
    unsigned char *const out_start = out;
    memset(table, 0, sizeof table);
    in++;
    while (in + 12 < end) {
        uint32_t hash = read32(in) * 2654435761u >> (32 - HASH_BITS);
        const unsigned char *candidate = start + table[hash];
        table[hash] = (uint32_t)(in - start);
        if (in - candidate > 65535 || read32(candidate) != read32(in)) {
            in += 1 + ((in - literals) >> 6);
            continue;
        }
        const unsigned char *match = in + MIN_MATCH, *from = candidate + MIN_MATCH;
        while (match < end - 8 && *match == *from) match++, from++;
        out = put_sequence(out, literals, (size_t)(in - literals), (size_t)(match - in) - MIN_MATCH, (size_t)(in - candidate));
        literals = in = match;
    }
    /* The rest are literals, told from a match by the distance 0. */
    return (size_t)(put_sequence(out, literals, (size_t)(end - literals), 0, 0) - out_start);
}

static const unsigned char *get_length(const unsigned char *in, size_t *length)
{
    unsigned char byte;
    do *length += byte = *in++;
    while (byte == 255);
    return in;
}

static size_t decompress(const unsigned char *in, unsigned char *out)
{
    unsigned char *const start = out;
    for (;;) {
        size_t count = *in >> 4, match = *in & 15;
        in++;
        if (count == 15) in = get_length(in, &count);
        memcpy(out, in, count);
        out += count, in += count;
        size_t distance = in[0] | (size_t)in[1] << 8;
        in += 2;
        if (distance == 0) return (size_t)(out - start);
        if (match == 15) in = get_length(in, &match);
        match += MIN_MATCH;
        const unsigned char *from = out - distance;
        while (match--) *out++ = *from++;
    }
}

static void setup(void) { make_text(text, SIZE); }

static uint32_t work(void)
{
    size_t size = compress(text, SIZE, packed);
    if (decompress(packed, unpacked) != SIZE || memcmp(text, unpacked, SIZE)) fail("what was unpacked is not what was packed");
    return (uint32_t)size;
}
