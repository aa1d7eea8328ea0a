/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 3x3 kernel of depthwise_s8.c, explained there: a strip of one channel from its plane, two
 * outputs at a time, in assembly for cores with DSP instructions and in C for others.
 */
#ifndef MCUD_DEPTHWISE_3X3_H
#define MCUD_DEPTHWISE_3X3_H

#include "depthwise_requantize.h"
#include "depthwise_s8.h"

/* A strip of one channel. The assembly knows the order. */
typedef struct {
    int32_t multiplier;
    int32_t addend;         /* exact: (2 * zero point + 1) << (e - 1) */
    int32_t start;
    int32_t pixel_bytes;    /* from an output to its right neighbour */
    const uint32_t *row_end; /* of row 0, behind the last pair of outputs */
    int32_t exponent;
    int32_t rows;
    int32_t out_skip;       /* from behind the last pair of outputs to the next row */
    int32_t plane_skip;     /* the same in the plane */
    int32_t row_step;       /* from an output row's first plane row to the next's */
    int32_t odd;            /* an output is left behind the last pair */
    const uint32_t *row0, *row1, *row2;
    uint32_t weights[6];
    int8_t *out;
    int32_t walked;         /* words of a plane row before row_end */
} strip;

/* Two outputs at a time, all weights in registers. */
static inline int is_3x3(const mcud_depthwise_s8_t *p)
{
    return p->k_h == 3 && p->k_w == 3 && (p->stride_w == 1 || p->stride_w == 2);
}

/* What is the same for all channels of a strip. */
static inline void lay_out_strip(const mcud_depthwise_s8_t *p, strip *s, int32_t out_row_bytes)
{
    const int32_t pairs = is_3x3(p) ? p->out_w / 2 : 0;
    s->odd = p->out_w & 1;
    s->plane_skip = s->row_step - 4 * p->stride_w * (pairs + s->odd);
    s->out_skip = out_row_bytes - (is_3x3(p) ? 2 * pairs : p->out_w) * s->pixel_bytes;
    s->walked = pairs * p->stride_w;
}

static inline int32_t requantize(const strip *s, int32_t sum, int32_t exact)
{
    if (exact) {
        return mcud_requantize(sum, s->multiplier, s->addend, s->exponent);
    }
    return mcud_saturate8(mcud_high_mla(sum, s->multiplier, s->addend) >> SHIFT);
}

#if MCUD_DSP

#define ENTER                                                                                      \
    ".syntax unified\n"                                                                            \
    "push {r4-r11, lr}\n"                                                                          \
    "sub sp, #44\n"                                                                                \
    "ldmia r0!, {r1-r11}\n"                                                                        \
    "stmia sp, {r1-r11}\n"                                                                         \
    "ldmia r0, {r0, r1, r2, r5-r10, lr}\n"

/* r11, r12: two outputs' sums of stride 1; weights (w0, w1), (w1, w2) of each row in r5 to r10. */
#define MACS_1                                                                                     \
    "ldrd r3, r4, [r0], #4\n"                                                                      \
    "ldr r11, [sp, #8]\n"                                                                          \
    "smlatb r12, r3, r5, r11\n"                                                                    \
    "smlad r11, r3, r5, r11\n"                                                                     \
    "smlad r12, r4, r6, r12\n"                                                                     \
    "smlabt r11, r4, r6, r11\n"                                                                    \
    "ldrd r3, r4, [r1], #4\n"                                                                      \
    "smlatb r12, r3, r7, r12\n"                                                                    \
    "smlad r11, r3, r7, r11\n"                                                                     \
    "smlad r12, r4, r8, r12\n"                                                                     \
    "smlabt r11, r4, r8, r11\n"                                                                    \
    "ldrd r3, r4, [r2], #4\n"                                                                      \
    "smlatb r12, r3, r9, r12\n"                                                                    \
    "smlad r11, r3, r9, r11\n"                                                                     \
    "smlad r12, r4, r10, r12\n"                                                                    \
    "smlabt r11, r4, r10, r11\n"

/* Stride 2: (w0, w1) of each row in r5 to r7, the rows' w2 in the halves of r8 and in r9. */
#define MACS_2                                                                                     \
    "ldrd r3, r4, [r0], #8\n"                                                                      \
    "ldr r10, [r0]\n"                                                                              \
    "ldr r11, [sp, #8]\n"                                                                          \
    "smlad r12, r4, r5, r11\n"                                                                     \
    "smlad r11, r3, r5, r11\n"                                                                     \
    "smlabb r12, r10, r8, r12\n"                                                                   \
    "smlabb r11, r4, r8, r11\n"                                                                    \
    "ldrd r3, r4, [r1], #8\n"                                                                      \
    "ldr r10, [r1]\n"                                                                              \
    "smlad r12, r4, r6, r12\n"                                                                     \
    "smlad r11, r3, r6, r11\n"                                                                     \
    "smlabt r12, r10, r8, r12\n"                                                                   \
    "smlabt r11, r4, r8, r11\n"                                                                    \
    "ldrd r3, r4, [r2], #8\n"                                                                      \
    "ldr r10, [r2]\n"                                                                              \
    "smlad r12, r4, r7, r12\n"                                                                     \
    "smlad r11, r3, r7, r11\n"                                                                     \
    "smlabb r12, r10, r9, r12\n"                                                                   \
    "smlabb r11, r4, r9, r11\n"

#define ROWS(macs, requantize)                                                                     \
    "ldr r4, [sp, #16]\n"                                                                          \
    "1:\n"                                                                                         \
    "cmp r0, r4\n"                                                                                 \
    "beq 3f\n"                                                                                     \
    "2:\n" macs requantize                                                                         \
    "ldrd r3, r4, [sp, #12]\n"                                                                     \
    "strb r11, [lr]\n"                                                                             \
    "strb r12, [lr, r3]\n"                                                                         \
    "add lr, lr, r3, lsl #1\n"                                                                     \
    "cmp r0, r4\n"                                                                                 \
    "bne 2b\n"                                                                                     \
    "3:\n"                                                                                         \
    "ldr r3, [sp, #40]\n"                                                                          \
    "cbz r3, 4f\n" macs requantize                                                                 \
    "strb r11, [lr]\n"                                                                             \
    "4:\n"                                                                                         \
    "ldrd r3, r4, [sp, #24]\n"                                                                     \
    "subs r3, #1\n"                                                                                \
    "beq 5f\n"                                                                                     \
    "str r3, [sp, #24]\n"                                                                          \
    "add lr, lr, r4\n"                                                                             \
    "ldrd r3, r4, [sp, #32]\n"                                                                     \
    "add r0, r0, r3\n"                                                                             \
    "add r1, r1, r3\n"                                                                             \
    "add r2, r2, r3\n"                                                                             \
    "ldr r3, [sp, #16]\n"                                                                          \
    "add r4, r4, r3\n"                                                                             \
    "str r4, [sp, #16]\n"                                                                          \
    "b 1b\n"                                                                                       \
    "5:\n"                                                                                         \
    "add sp, #44\n"                                                                                \
    "pop {r4-r11, pc}\n"

#define STRIP_3X3(name, macs, requantize)                                                          \
    __attribute__((naked, noinline)) static void name(__attribute__((unused)) const strip *s)      \
    {                                                                                              \
        __asm__ volatile(ENTER ROWS(macs, requantize));                                            \
    }

STRIP_3X3(strip_stride1_fast, MACS_1, FAST)
STRIP_3X3(strip_stride1_exact, MACS_1, EXACT("20"))
STRIP_3X3(strip_stride2_fast, MACS_2, FAST)
STRIP_3X3(strip_stride2_exact, MACS_2, EXACT("20"))

static void convolve_3x3(const mcud_depthwise_s8_t *p, strip *s, const int8_t *w,
                         const uint32_t *plane, int32_t exact)
{
    const int32_t dilated = p->dilation_h * p->plane_words;
    s->row0 = plane;
    s->row1 = plane + dilated;
    s->row2 = plane + 2 * dilated;
    s->row_end = plane + s->walked;
    if (p->stride_w == 1) {
        for (int32_t ky = 0; ky < 3; ky++, w += 3) {
            s->weights[2 * ky] = mcud_pair(w[0], w[1]);
            s->weights[2 * ky + 1] = mcud_pair(w[1], w[2]);
        }
        (exact ? strip_stride1_exact : strip_stride1_fast)(s);
    } else {
        s->weights[0] = mcud_pair(w[0], w[1]);
        s->weights[1] = mcud_pair(w[3], w[4]);
        s->weights[2] = mcud_pair(w[6], w[7]);
        s->weights[3] = mcud_pair(w[2], w[5]);
        s->weights[4] = (uint32_t)w[8];
        (exact ? strip_stride2_exact : strip_stride2_fast)(s);
    }
}

#else

/* What the assembly computes, reading the same words. */
static void convolve_3x3(const mcud_depthwise_s8_t *p, strip *s, const int8_t *w,
                         const uint32_t *plane, int32_t exact)
{
    for (int32_t row = 0; row < s->rows; row++) {
        const uint32_t *from = plane + row * p->stride_h * p->plane_words;
        for (int32_t x = 0; x < p->out_w; x += 2, from += p->stride_w) {
            int32_t sums[2] = {s->start, s->start};
            for (int32_t ky = 0; ky < 3; ky++) {
                const uint32_t *const words = from + ky * p->dilation_h * p->plane_words;
                uint32_t taps[6] = {0};
                for (int32_t word = 0; word < p->stride_w + 1; word++) {
                    taps[2 * word] = words[word] & 0xFFFF;
                    taps[2 * word + 1] = words[word] >> 16;
                }
                for (int32_t kx = 0; kx < 3; kx++) {
                    sums[0] = mcud_dot2(taps[kx], (uint32_t)w[3 * ky + kx] & 0xFFFF, sums[0]);
                    sums[1] = mcud_dot2(taps[p->stride_w + kx],
                                        (uint32_t)w[3 * ky + kx] & 0xFFFF, sums[1]);
                }
            }
            for (int32_t i = 0; i < 2 && x + i < p->out_w; i++, s->out += s->pixel_bytes) {
                *s->out = (int8_t)requantize(s, sums[i], exact);
            }
        }
        s->out += s->out_skip - s->odd * s->pixel_bytes;
    }
}

#endif

#endif
