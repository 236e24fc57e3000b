/* Volumes over files, for unit tests: members are made, damaged, replaced, and compared. */
#ifndef TESTS_UNIT_VOLUME_LAB_H
#define TESTS_UNIT_VOLUME_LAB_H

#include "tests/unit/fixture.h"

#include "replication/superblock.h"
#include "replication/volume.h"

enum { LAB_REGION = 256 << 10, LAB_MEMBER = 8 * LAB_REGION, LAB_ROOM = 400 * LAB_REGION, LAB_MEMBERS = 6 };

struct lab {
    struct fixture *f;
    struct geometry g;
    uint64_t journal_bytes;
    const char *files[LAB_MEMBERS], *witness;
    char stack[2048];
    struct member_places places;
};

int lab_setup(void **state); /* a struct fixture that knows volumes */
void lab_make(struct lab *lab, struct fixture *f, enum layout layout, unsigned members, bool witness);
/* One that may grow. */
void lab_make_with_room(struct lab *lab, struct fixture *f, enum layout layout, unsigned members, bool witness);
void lab_make_member(struct lab *lab, unsigned i, bool fresh);
/* missing: members that are said to be so. extra: more options, beginning with a comma. */
const char *lab_stack(struct lab *lab, member_set missing, const char *extra);
void lab_write(struct lab *lab, uint64_t offset, uint32_t length, uint32_t seed);
void lab_expect(struct lab *lab, uint64_t offset, uint32_t length, uint32_t seed);
/* Changes a byte in each sector of a member's file. */
void lab_damage(const struct lab *lab, unsigned member, uint64_t offset, size_t length);
void lab_pread(const struct lab *lab, unsigned member, void *data, size_t length, uint64_t offset);
void lab_pwrite(const struct lab *lab, unsigned member, const void *data, size_t length, uint64_t offset);
bool lab_same_data(const struct lab *lab, unsigned a, unsigned b);
struct volume_status lab_status(struct lab *lab);
void lab_until_in_sync(struct lab *lab, unsigned member);
/* 0, or what the scrub ended with. */
int lab_scrub(struct lab *lab);

#endif
