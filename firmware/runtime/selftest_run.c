/* SPDX-License-Identifier: Apache-2.0 */
#include "selftest_run.h"

#include <stddef.h>
#include <string.h>

#include "crc32.h"
#include "model.h"
#include "selftest.h"

#if MODEL_SELFTEST

/* Fills an input with the bytes of Marsaglia's xorshift32, so that none have to lie in flash. */
static uint32_t draw(uint32_t state, uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bytes[i] = (uint8_t)(state >> 24);
    }
    return state;
}

#ifdef MODEL_INPUT_ROWS

static void run_network(void)
{
    const uint8_t *const stored = model_selftest_inputs[0];
    uint32_t state = MODEL_SELFTEST_SEED;

    for (uint32_t row = 0; row < MODEL_INPUT_ROWS; row++) {
        uint8_t *const to = model_input_row();
        if (stored != NULL) {
            memcpy(to, stored + row * MODEL_INPUT_ROW_BYTES, MODEL_INPUT_ROW_BYTES);
        } else {
            state = draw(state, to, MODEL_INPUT_ROW_BYTES);
        }
        (void)model_feed_rows(to, 1);
    }
}

#else

static void run_network(void)
{
    uint32_t state = MODEL_SELFTEST_SEED;

    for (uint32_t i = 0; i < MODEL_INPUT_COUNT; i++) {
        if (model_selftest_inputs[i] != NULL) {
            memcpy(model_inputs[i].data, model_selftest_inputs[i], model_inputs[i].bytes);
        } else {
            state = draw(state, model_inputs[i].data, model_inputs[i].bytes);
        }
    }
    model_invoke();
}

#endif

selftest_result_t selftest_run(void)
{
    run_network();
    for (uint32_t i = 0; i < MODEL_OUTPUT_COUNT; i++) {
        if (crc32_update(0, model_outputs[i].data, model_outputs[i].bytes) != model_selftest_output_crcs[i]) {
            return SELFTEST_FAILED;
        }
    }
    return SELFTEST_PASSED;
}

#else

selftest_result_t selftest_run(void)
{
    return SELFTEST_ABSENT;
}

#endif
