/* A vCPU's registers as GDB knows them, and the description of them that it asks for: general registers, flags,
 * segments, x87 and SSE, then what a kernel's debugger wants: FS, GS and kernel GS bases, CR0 to CR8, EFER.
 *
 * The numbers and their order are GDB's for i386:x86-64, up to GS's base. Threads: the owner's. */
#ifndef HV_GDB_REGISTERS_H
#define HV_GDB_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu_state;

enum { GDB_REGISTER_RIP = 16, GDB_REGISTER_COUNT = 66, GDB_REGISTER_BYTES_MAX = 16 };

unsigned gdb_register_bytes(unsigned number);
/* Little-endian, gdb_register_bytes() of them. */
void gdb_register_get(const struct cpu_state *cpu, unsigned number, uint8_t *to);
/* False: it cannot be written (segments and control registers: what goes with them is not seen here), or not this
 * value. */
bool gdb_register_set(struct cpu_state *cpu, unsigned number, const uint8_t *from);
bool gdb_register_is_read_only(unsigned number);

/* target.xml. */
const char *gdb_registers_description(void);

#endif
