/* SPDX-License-Identifier: Apache-2.0 */
#include "selftest_run.h"

#include <string.h>

#include "crc32.h"
#include "model.h"
#include "selftest.h"

#if MODEL_SELFTEST

selftest_result_t selftest_run(void)
{
    for (uint32_t i = 0; i < MODEL_INPUT_COUNT; i++)
    {
        memcpy(model_inputs[i].data, model_selftest_inputs[i], model_inputs[i].bytes);
    }
    model_invoke();
    for (uint32_t i = 0; i < MODEL_OUTPUT_COUNT; i++)
    {
        if (crc32_update(0, model_outputs[i].data, model_outputs[i].bytes) != model_selftest_output_crcs[i])
        {
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
