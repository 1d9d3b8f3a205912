/* hash.h - 64 bits that tell bytes apart: to notice damage and to know a file again, not to
 * withstand an attacker. Every step is one to one, so a change within one of the eight-byte words
 * always shows. Little-endian, as all that is hashed here.
 */
#ifndef VOXTRAL_HASH_H
#define VOXTRAL_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Of bytes [n], going on from h; at first any number. */
static inline uint64_t hash_bytes(uint64_t h, const void *bytes, size_t n) {
    const unsigned char *at = bytes;
    for (size_t left = n; left > 0;) {
        size_t part = left < 8 ? left : 8;
        uint64_t word = 0;
        memcpy(&word, at, part);
        h = (h ^ word) * 0x9E3779B97F4A7C15u; /* odd: 2^64 over the golden ratio */
        h ^= h >> 32;
        at += part;
        left -= part;
    }
    return h ^ n;
}

#endif
