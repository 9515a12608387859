/* SPDX-License-Identifier: MIT
 *
 * SHA-256 (FIPS 180-4) of a message that fits one block: up to 55 bytes. More is not needed here.
 */
#ifndef MEMLANE_RUNTIME_DIGEST_H
#define MEMLANE_RUNTIME_DIGEST_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t memlane_digest_turn(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

static inline void memlane_digest(const void *message, size_t nbytes, unsigned char digest[32]) {
    static const uint32_t constants[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    const uint32_t begin[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    unsigned char block[64] = {0};
    uint32_t words[64], state[8];
    assert(nbytes <= 55);
    memcpy(block, message, nbytes);
    block[nbytes] = 0x80;
    block[62] = (unsigned char)(nbytes * 8 >> 8);
    block[63] = (unsigned char)(nbytes * 8);
    for (int i = 0; i < 16; i++)
        words[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
                   block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = words[i - 15], b = words[i - 2];
        words[i] = words[i - 16] + (memlane_digest_turn(a, 7) ^ memlane_digest_turn(a, 18) ^ a >> 3) + words[i - 7] +
                   (memlane_digest_turn(b, 17) ^ memlane_digest_turn(b, 19) ^ b >> 10);
    }
    memcpy(state, begin, sizeof state);
    for (int i = 0; i < 64; i++) {
        uint32_t a = state[0], e = state[4];
        uint32_t first = state[7] +
                         (memlane_digest_turn(e, 6) ^ memlane_digest_turn(e, 11) ^ memlane_digest_turn(e, 25)) +
                         ((e & state[5]) ^ (~e & state[6])) + constants[i] + words[i];
        uint32_t second = (memlane_digest_turn(a, 2) ^ memlane_digest_turn(a, 13) ^ memlane_digest_turn(a, 22)) +
                          ((a & state[1]) ^ (a & state[2]) ^ (state[1] & state[2]));
        memmove(state + 1, state, 7 * sizeof *state);
        state[4] += first;
        state[0] = first + second;
    }
    for (int i = 0; i < 8; i++) {
        uint32_t word = begin[i] + state[i];
        for (int j = 0; j < 4; j++)
            digest[4 * i + j] = (unsigned char)(word >> (24 - 8 * j));
    }
}

#endif
