/* Disks of a simulated world: a block driver, "sim", whose every answer waits until the test says that it comes, and
 * which loses power as disks do. Everything random comes from the seed.
 *
 * A disk has what it would say when read, and a log of the writes since its last flush; power loss takes any of them,
 * or any sectors of them, away. */
#ifndef TESTS_UNIT_SIM_DISK_H
#define TESTS_UNIT_SIM_DISK_H

#include "nbd/blk_driver.h"

enum { SIM_DISKS = 8 };

struct sim_write {
    uint64_t offset;
    uint32_t length_bytes;
    bool durable;
    uint8_t *data;
    STAILQ_ENTRY(sim_write) link;
};

STAILQ_HEAD(sim_log, sim_write);

struct sim_disk {
    uint64_t size_bytes, room_bytes; /* room: what it may be resized to */
    uint8_t *now, *safe;
    struct sim_log log;
    struct blk_req_list pending;
    unsigned pending_count;
    bool away;  /* fails everything */
    bool lossy; /* lost power while its owner lives: the next flush fails, as an NBD client's does */
};

struct sim_world {
    uint64_t random;
    struct loop *loop;
    struct sim_disk disks[SIM_DISKS];
    bool automatic; /* answers come by themselves, in order */
    bool frozen;    /* the owner is gone: nothing it still asks for happens */
    int64_t fuse;   /* writes until it freezes; < 0: never */
    struct loop_job job;
    uint64_t writes;
    void (*observe)(unsigned disk, const struct blk_req *req); /* NULL, or told of all writes and flushes that happen */
    uint64_t whole_from; /* from this offset on a disk tears between blocks of 4096 bytes, before it at any sector */
};

extern struct sim_world sim_world;
extern const struct blk_driver sim_driver;

uint32_t sim_roll(uint32_t n);
void sim_disk_make(unsigned disk, uint64_t size_bytes, uint64_t room_bytes);
void sim_disk_free(unsigned disk);
/* Lets one waiting request happen and be answered; false: none waits. */
bool sim_answer_one(void);
void sim_answer_all(void);
/* The owner falls: what is under way happens, or not, or in part; later requests fail and do nothing. */
void sim_freeze(void);
void sim_power_loss(unsigned disk);
/* One turn of the loop that does not sleep. */
void sim_turn(void);

#endif
