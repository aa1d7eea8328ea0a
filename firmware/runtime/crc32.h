/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRC32_H
#define CRC32_H

#include <stdint.h>

/* The CRC-32 of zlib (polynomial 0xEDB88320, reflected): start with 0, feed pieces in order. */
uint32_t crc32_update(uint32_t crc, const void *data, uint32_t bytes);

#endif
