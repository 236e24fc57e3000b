/* The inside of struct gdb_session, for the files gdb_session.c, gdb_request.c and gdb_resume.c. */
#ifndef HV_GDB_SESSION_INSIDE_H
#define HV_GDB_SESSION_INSIDE_H

#include "hv/cpu_state.h"
#include "hv/gdb_packet.h"
#include "hv/gdb_points.h"
#include "hv/gdb_session.h"
#include "hv/vcpu.h"

enum gdb_signal { GDB_SIGINT = 2, GDB_SIGTRAP = 5, GDB_SIGABRT = 6 };

struct gdb_session {
    struct gdb_target *target;
    struct gdb_reader reader;
    struct gdb_answer answer;
    struct gdb_points points;

    bool waits;   /* the client waits for a stop reply */
    bool goes_on; /* the guest, when the client is gone */
    bool over;    /* D or k */
    bool no_acks;
    bool says_why; /* the client knows swbreak and hwbreak */
    unsigned vcpu; /* that registers and memory are asked of */
    uint32_t stepping;

    enum gdb_signal signal; /* of the last stop */
    struct vcpu_stop stop;
    bool stopped_by_vcpu;
    /* Stops that are not said yet, because another vCPU's was: for watchpoints, which do not happen again. */
    uint32_t pending;
    struct vcpu_stop pending_stops[VCPU_MAX];

    bool cached; /* cpu is the state of `vcpu` */
    struct cpu_state cpu;

    size_t out_at, out_bytes;
    char out[GDB_OUT_MAX];
};

/* gdb_session.c: the state of session->vcpu, from the cache; NULL: it cannot be had. */
struct cpu_state *gdb_session_cpu(struct gdb_session *session);
void gdb_session_select(struct gdb_session *session, unsigned vcpu);
void gdb_session_say_stop(struct gdb_session *session); /* the stop reply is the answer */
void gdb_session_error(struct gdb_session *session, int error);

/* gdb_request.c: the answer is session->answer; it stays empty if the packet is not known. */
void gdb_request(struct gdb_session *session, const char *packet);
/* "p1.2"-less thread ids: 0, -1 or a number. False: none of ours. all: -1. */
bool gdb_take_thread(const struct gdb_session *session, const char **text, unsigned *vcpu, bool *all);

/* gdb_resume.c: c, C, s, S, vCont. No answer: it comes when the guest stands again; or an error. */
bool gdb_resume(struct gdb_session *session, const char *packet);
/* Tells all vCPUs of the points; nobody steps. */
void gdb_resume_arm(struct gdb_session *session);

#endif
