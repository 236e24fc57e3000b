/* Ports of a device whose registers are bytes: a wider access is that many of them, one after the other, as on an
 * 8-bit bus. Threads: with the bus locked. */
#ifndef HV_MACHINE_BYTE_PORTS_H
#define HV_MACHINE_BYTE_PORTS_H

#include <stdint.h>

static inline uint64_t byte_ports_read(void *device, uint64_t offset, unsigned size,
                                       uint8_t (*read)(void *device, unsigned port))
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read(device, (unsigned)offset + i) << (8 * i);
    return value;
}

static inline void byte_ports_write(void *device, uint64_t offset, unsigned size, uint64_t value,
                                    void (*write)(void *device, unsigned port, uint8_t value))
{
    for (unsigned i = 0; i < size; i++)
        write(device, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

#endif
