/* CRC-32 as zlib's: begin with 0, give the last answer to go on. */
#ifndef NETRAID_CRC_H
#define NETRAID_CRC_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc_update(uint32_t crc, const uint8_t *p, size_t length);
/* The same, as a processor without an instruction for it has it; for tests. */
uint32_t crc_by_table(uint32_t crc, const uint8_t *p, size_t length);

#endif
