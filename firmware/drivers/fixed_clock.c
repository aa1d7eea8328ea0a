/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts whose clock runs as it is: the Arm MPS2 and MPS3 boards.
 */
#include "board_config.h"
#include "clock.h"

clock_state_t clock_start(void)
{
    const clock_state_t state = {BOARD_CLOCK_HZ, BOARD_CLOCK_HZ, CLOCK_CONFIGURED};

    return state;
}
