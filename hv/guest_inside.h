/* The inside of struct guest, for the files guest*.c alone. Threads: the main loop's, but for what is marked. */
#ifndef HV_GUEST_INSIDE_H
#define HV_GUEST_INSIDE_H

#include <stdatomic.h>
#include <sys/signalfd.h>

#include "hv/board.h"
#include "hv/control.h"
#include "hv/gdb_session.h"
#include "hv/guest.h"
#include "hv/guest_lease.h"
#include "hv/migrate_source.h"
#include "hv/migrate_target.h"
#include "hv/saved_pages.h"
#include "hv/vcpus.h"
#include "node/base/loop.h"

struct guest_look;

struct guest {
    const struct guest_config *config;
    struct guest_files *files;
    struct loop *loop;
    struct bus *bus;
    struct memory *memory;
    struct timers *timers;
    const struct engine *engine;
    struct vm *vm;
    struct vcpus *vcpus;
    struct board *board;
    struct control *control;
    struct gdb *gdb;
    struct gdb_target gdb_target;
    _Atomic uint32_t stopped; /* vCPUs that have reported VCPU_STOPPED */

    enum guest_state state;
    bool busy;     /* in the middle of something that turns the loop: saving, resetting */
    bool quitting; /* the loop ends */
    bool running;  /* inside loop_run() */
    struct guest_lease lease;
    int exit_code;
    uint64_t began_ns;
    unsigned panics, hangs; /* of which was told */

    struct vcpus_events vcpus_events;
    struct board_events board_events;
    struct control_handler control_handler;

    /* what the guest asked of the machine, kept while it is busy; any thread */
    _Atomic unsigned wishes; /* enum guest_wish */
    atomic_bool wish_posted;
    struct loop_message wish_message;

    /* moving: guest_migrate.c, guest_throttle.c */
    struct migrate_crew *crew;
    struct migrate_source *source; /* the last one, or NULL */
    struct migrate_target *target; /* NULL: it began here */
    struct migrate_source_host source_host;
    struct migrate_target_host target_host;
    struct state *handed_state;
    struct guest_look *look; /* at what it writes; NULL: none */
    bool runs_again;         /* where it goes on: it ran when it was stopped */
    uint64_t went_ns;        /* its vCPUs were let go last */
    bool stands_late;        /* its vCPUs were told to stand while not all of its memory was here */
    unsigned throttle;       /* thousandths of the time in which vCPUs are held */
    bool throttle_holds;
    struct loop_timer throttle_timer, reopen_timer;

    /* its memory, while it is still being loaded: guest_late.c */
    bool filling;
    struct saved_pages late;

    int signal_fd;
    struct loop_op signal_op;
    struct signalfd_siginfo signal_info;
};

enum guest_wish {
    GUEST_WISH_RESTART = 1,
    GUEST_WISH_OFF = 2,
    GUEST_WISH_FAIL = 4,
    GUEST_WISH_DEBUGGER = 8,
    GUEST_WISH_DUMP = 16,
    GUEST_WISH_PANIC = 32,
    GUEST_WISH_HANG = 64,
    /* of which there is nothing to be saved: devices hold what they tell */
    GUEST_WISH_NEWS = GUEST_WISH_DUMP | GUEST_WISH_PANIC | GUEST_WISH_HANG,
};

/* With a disk that does not answer: who asks by control is told so, what the guest asked for waits for the disk. */
enum guest_patience { GUEST_IMPATIENT, GUEST_PATIENT };

/* guest.c */
void guest_pause(struct guest *guest);
void guest_resume(struct guest *guest);
/* It is running, and nothing holds it: vCPUs execute. */
bool guest_is_going(const struct guest *guest);
/* Power-on state, kernel placed again; as running as before. */
int guest_restart(struct guest *guest, enum guest_patience patience, struct err *err);
void guest_quit(struct guest *guest, int exit_code);
/* Parks the vCPUs and waits until no device has anything in flight. -ECANCELED: the process ends. -ETIMEDOUT, of the
 * impatient: a disk does not answer; the guest goes on as it was. */
int guest_quiesce(struct guest *guest, enum guest_patience patience, struct err *err);
/* After success: goes on if the guest is running; else its devices rest until it does. */
void guest_unquiesce(struct guest *guest);
void guest_wishes_again(struct guest *guest);
void guest_arrived(struct guest *guest); /* all of its memory: what had to wait for that is done */
void guest_wish(struct guest *guest, enum guest_wish what, const char *by); /* any thread */
bool guest_gives_up(void *guest); /* the process ends: whoever turns the loop stops waiting */

/* guest_boot.c: all vCPUs at power-on, the first at its kernel's or firmware's entry. */
int guest_boot(struct guest *guest, struct err *err);

/* guest_snapshot.c: quiesced */
int guest_save(struct guest *guest, int fd, struct err *err);
int guest_load(struct guest *guest, int fd, struct err *err);
/* The state alone. data is valid until state_free(*kept). */
int guest_snapshot(struct guest *guest, struct state **kept, const void **data, size_t *bytes, struct err *err);
int guest_adopt(struct guest *guest, const void *data, size_t bytes, struct err *err);

/* guest_late.c: loads memory, if it can while the guest runs; waits until all is there (-ECANCELED: the guest ends);
 * ends it when nobody touches the memory any more. wait and end turn the loop. */
int guest_late_begin(struct guest *guest, const struct saved_guest *saved, struct err *err);
int guest_late_wait(struct guest *guest, struct err *err);
void guest_late_end(struct guest *guest);

/* guest_migrate.c. _listen: instead of a boot, quiesced from there on. _end: ends what is under way. */
int guest_migrate_build(struct guest *guest, struct err *err);
int guest_migrate_listen(struct guest *guest, struct err *err);
void guest_migrate_end(struct guest *guest);
void guest_migrate_free(struct guest *guest);
bool guest_is_moving(const struct guest *guest);
/* Quiesced, runs_again is set: disks are opened, as soon as they can be, and the guest goes on. */
void guest_go_on(struct guest *guest);
/* It runs, and not all of its memory is here yet (post-copy). _end: nobody who waits for a page could be told to stop:
 * the process ends at once. */
bool guest_is_arriving(const struct guest *guest);
void guest_arriving_end(struct guest *guest);
/* Of a request's body: "downtime-ms", "within-s", "throttle". */
int guest_migrate_goal(const struct json_t *body, struct migrate_goal *goal, struct err *err);
int guest_migrate_handle(struct guest *guest, struct control_request *request, struct json_t **answer, struct err *err);

/* guest_move.c: VOLUME's verbs that begin with "move-". */
bool guest_move_takes(const struct json_t *body);
int guest_move(struct guest *guest, const struct json_t *body, struct err *err);

/* guest_forecast.c: answers what a migration would cost, after a look. _end: the dirty log is needed now. */
int guest_forecast(struct guest *guest, const struct json_t *body, struct json_t **answer, struct err *err);
void guest_look_end(struct guest *guest);

/* guest_throttle.c: thousandths of the time, up to MIGRATE_THROTTLE_MAX. 0: not at all. */
void guest_throttle(struct guest *guest, unsigned throttle);

/* guest_gdb.c; _stopped: vCPUs may have, by themselves */
int guest_gdb_build(struct guest *guest, struct err *err);
void guest_gdb_stopped(struct guest *guest);

/* guest_health.c; the first three with the bus locked. guest_health(): {"trouble": "panicked", ...}. */
void guest_panicked(struct board_events *events, enum alarm_panic panic);
bool guest_hung(struct board_events *events);
struct json_t *guest_health(struct control_handler *handler);
void guest_trouble_noted(struct guest *guest, unsigned wishes);
bool guest_trouble_resets(const struct guest *guest, unsigned wishes); /* by configuration */

/* guest_control.c */
int guest_handle(struct control_handler *handler, struct control_request *request, struct json_t **answer,
                 struct err *err);
enum guest_state guest_state_of(struct control_handler *handler);
void guest_removed(struct board_events *events, const char *kind, unsigned index);

#endif
