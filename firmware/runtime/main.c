/* SPDX-License-Identifier: Apache-2.0
 *
 * Boots, tests itself, says so, and serves the serial link.
 *
 * An application of your own replaces this file: clock_start(), model_reset(), then for every
 * inference model_quantize_input() or bytes into model_inputs[0].data, model_invoke(), and
 * model_dequantize_output(), model_argmax() or bytes from model_outputs[0].data.
 */
#include <stdint.h>

#include "board_config.h"
#include "clock.h"
#include "cycle_counter.h"
#include "link.h"
#include "model.h"
#include "selftest_run.h"
#include "uart.h"

#if BOARD_USES_EXTERNAL_MEMORY

/*
 * Sets up the controller of external memory, with the core at its clock. Write one in a file of
 * your own: this one, which does nothing, then gives way. Emulators map such memory as it is.
 */
void board_external_init(void);

__attribute__((weak)) void board_external_init(void)
{
}

#endif

static void say(const char *text)
{
    while (*text != '\0') {
        uart_send((uint8_t)*text++);
    }
}

static void say_number(uint32_t number)
{
    char digits[11];
    char *first = digits + sizeof digits - 1;

    *first = '\0';
    do {
        *--first = (char)('0' + number % 10u);
        number /= 10u;
    } while (number != 0);
    say(first);
}

int main(void)
{
    static const char *const verdicts[] = {"NO SELF-TEST", "PASS", "FAIL"};
    static link_device_t device;

    device.clock = clock_start();
    uart_open(device.clock.uart_hz);
    device.counter = cycle_counter_start();
    say("MCUDEPLOY " BOARD_NAME " ");
    say_number(device.clock.core_hz);
    say(device.clock.source == CLOCK_CONFIGURED ? " Hz\r\n" : " Hz, the fallback clock\r\n");
#if BOARD_USES_EXTERNAL_MEMORY
    board_external_init();
#endif
    model_reset();
    device.selftest = selftest_run();
    model_reset();
    say("MCUDEPLOY ");
    say(verdicts[device.selftest]);
    say("\r\n");
    link_serve(&device);
}
