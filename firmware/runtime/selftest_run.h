/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SELFTEST_RUN_H
#define SELFTEST_RUN_H

#include "link.h"

/* Runs the golden input that selftest.h holds and compares the CRC-32 of every output. */
selftest_result_t selftest_run(void);

#endif
