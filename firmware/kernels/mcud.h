/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all kernels share: the view of a feature map, loads of packed bytes, and the arithmetic of
 * requantization.
 *
 * Feature maps are NHWC int8. A kernel over feature maps computes the output rows
 * [row_begin, row_end); it asks a map for the address of a row and never wraps by itself, so a map
 * may be a rolling buffer that keeps its last `ring` rows: row r lies at base + (r mod ring) *
 * row_bytes. A whole map has ring >= its height. Where rows lie apart, ring is -n, and base points
 * to n addresses: row r lies at that of number r mod n. Rows outside the map are padding and have
 * no address.
 *
 * Requantization is TFLite's double rounding (gemmlowp's fixed point): with a multiplier m in
 * [2^30, 2^31) and a right shift e,
 *     y = floor((x * m + 2^30) / 2^31)                  SaturatingRoundingDoublingHighMul
 *     r = (y + 2^(e-1) - (y < 0)) >> e                  RoundingDivideByPOT, ties away from zero
 * The first line is one SMMLAR with the multiplier n = 2m - 2^32:
 *     (x * 2^32 + x * n + 2^31) >> 32.
 */
#ifndef MCUD_H
#define MCUD_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_DSP) && defined(__thumb__)
#define MCUD_DSP 1
#else
#define MCUD_DSP 0
#endif

typedef struct {
    int8_t *base;
    int32_t row_bytes;
    int32_t ring;
} mcud_map;

/* The address of row r; r is inside the map. */
static inline int8_t *mcud_row(const mcud_map *map, int32_t r)
{
    if (r >= map->ring) {
        if (map->ring < 0) {
            return ((int8_t *const *)(const void *)map->base)[r % -map->ring];
        }
        r %= map->ring;
    }
    return map->base + r * map->row_bytes;
}

static inline int32_t mcud_min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static inline int32_t mcud_max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* Four bytes from any address. */
static inline uint32_t mcud_load4(const void *from)
{
    uint32_t word;
    memcpy(&word, from, 4);
    return word;
}

static inline void mcud_store4(void *to, uint32_t word)
{
    memcpy(to, &word, 4);
}

/* (b | a << 16): two int16 in one word. */
static inline uint32_t mcud_pair(int32_t low, int32_t high)
{
    return ((uint32_t)low & 0xFFFFu) | ((uint32_t)high << 16);
}

static inline int32_t mcud_clamp(int32_t value, int32_t low, int32_t high)
{
    return mcud_max(low, mcud_min(high, value));
}

/* Applies an activation range that saturation does not. */
static inline void mcud_clamp_row(int8_t *row, int32_t bytes, int32_t low, int32_t high)
{
    for (int32_t i = 0; i < bytes; i++) {
        row[i] = (int8_t)mcud_clamp(row[i], low, high);
    }
}

#if MCUD_DSP

/* Bytes 0 and 2, sign-extended to two int16. */
static inline uint32_t mcud_bytes02(uint32_t word)
{
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
    return pair;
}

/* Bytes 1 and 3, sign-extended to two int16. */
static inline uint32_t mcud_bytes13(uint32_t word)
{
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return pair;
}

/* sum + low(a) * low(b) + high(a) * high(b) */
static inline int32_t mcud_dot2(uint32_t a, uint32_t b, int32_t sum)
{
    int32_t result;
    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* (add * 2^32 + a * b) >> 32 */
static inline int32_t mcud_high_mla(int32_t a, int32_t b, int32_t add)
{
    int32_t result;
    __asm__("smmla %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(add));
    return result;
}

/* (add * 2^32 + a * b + 2^31) >> 32 */
static inline int32_t mcud_high_mla_rounded(int32_t a, int32_t b, int32_t add)
{
    int32_t result;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(add));
    return result;
}

static inline int32_t mcud_saturate8(int32_t value)
{
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(value));
    return result;
}

#else

static inline uint32_t mcud_bytes02(uint32_t word)
{
    return mcud_pair((int8_t)word, (int8_t)(word >> 16));
}

static inline uint32_t mcud_bytes13(uint32_t word)
{
    return mcud_pair((int8_t)(word >> 8), (int8_t)(word >> 24));
}

static inline int32_t mcud_dot2(uint32_t a, uint32_t b, int32_t sum)
{
    const int32_t low = (int16_t)a * (int16_t)b;
    const int32_t high = (int16_t)(a >> 16) * (int16_t)(b >> 16);
    return (int32_t)((uint32_t)sum + (uint32_t)low + (uint32_t)high);
}

#if defined(__ARM_ARCH_6M__)

/* a * b in two words without a long multiplication: of halves, the middle ones added up. */
typedef struct {
    int32_t high;
    int32_t middle; /* its upper half belongs to `high`, its lower one lies below */
} mcud_product;

static inline mcud_product mcud_multiply_halves(int32_t a, int32_t b)
{
    const int32_t a_low = a & 0xFFFF;
    const int32_t b_low = b & 0xFFFF;
    const int32_t a_high = a >> 16;
    const int32_t b_high = b >> 16;
    const uint32_t low = (uint32_t)a_low * (uint32_t)b_low;
    const int32_t first = a_high * b_low + (int32_t)(low >> 16);
    const mcud_product product = {a_high * b_high + (first >> 16),
                                  a_low * b_high + (first & 0xFFFF)};
    return product;
}

static inline int32_t mcud_high_mla(int32_t a, int32_t b, int32_t add)
{
    const mcud_product product = mcud_multiply_halves(a, b);
    return add + product.high + (product.middle >> 16);
}

static inline int32_t mcud_high_mla_rounded(int32_t a, int32_t b, int32_t add)
{
    const mcud_product product = mcud_multiply_halves(a, b);
    return add + product.high + (((product.middle >> 15) + 1) >> 1);
}

#else

static inline int32_t mcud_high_mla(int32_t a, int32_t b, int32_t add)
{
    return add + (int32_t)(((int64_t)a * b) >> 32);
}

static inline int32_t mcud_high_mla_rounded(int32_t a, int32_t b, int32_t add)
{
    return add + (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
}

#endif

static inline int32_t mcud_saturate8(int32_t value)
{
#if defined(__ARM_FEATURE_SAT)
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(value));
    return result;
#else
    return (uint32_t)value + 128u > 255u ? (value >> 31) ^ 127 : value;
#endif
}

#endif

/* sums + bytes 0 and 2 of word, as two int16. */
static inline uint32_t mcud_add_bytes02(uint32_t sums, uint32_t word)
{
#if MCUD_DSP
    uint32_t result;
    __asm__("sxtab16 %0, %1, %2" : "=r"(result) : "r"(sums), "r"(word));
    return result;
#else
    return mcud_pair((int16_t)sums + (int8_t)word, (int16_t)(sums >> 16) + (int8_t)(word >> 16));
#endif
}

static inline uint32_t mcud_add_bytes13(uint32_t sums, uint32_t word)
{
#if MCUD_DSP
    uint32_t result;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(sums), "r"(word));
    return result;
#else
    return mcud_add_bytes02(sums, word >> 8);
#endif
}

/*
 * The exact requantization of x for 1 <= e <= 20. `doubled` is 2m - 2^32 and `offset` is
 * (2 * zero point + 1) << (e - 1): the rounding and the zero point in one. Saturates to int8.
 */
static inline int32_t mcud_requantize(int32_t x, int32_t doubled, int32_t offset, int32_t e)
{
    int32_t y = mcud_high_mla_rounded(x, doubled, x);
    y += y >> 31;
    return mcud_saturate8((y + offset) >> e);
}

/* (2 * zero point + 1) << (e - 1) */
static inline int32_t mcud_requantize_offset(int32_t zero_point, int32_t e)
{
    return (2 * zero_point + 1) * (1 << e) >> 1;
}

#endif
