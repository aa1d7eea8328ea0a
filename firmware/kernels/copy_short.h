/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MCUDEPLOY_COPY_SHORT_H
#define MCUDEPLOY_COPY_SHORT_H

#include "copy_box.h"

/* mcud_copy_box for runs of 4 to 23 bytes, copied by words: for cores that load a word from any
 * address. The longest dimension belongs innermost. */
void mcud_copy_short(const mcud_box_t *box, const void *in, void *out);

#endif
