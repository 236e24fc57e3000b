/* What the agent, people and a guest's process say to each other over the guest's control socket. Carrier:
 * node/base/message.h, version 1.
 *
 * A client sends one request at a time and gets one answer with the same id: CONTROL_OK with a JSON object, or
 * CONTROL_ERROR with {"code": errno, "text": "..."}. A client that asked to WATCH is also sent CONTROL_EVENT whenever
 * the guest's state changes, and after its own answer if it was the one who asked; to one that is slow to take them
 * only the newest is kept. "off" is the last one of a guest that switched itself off.
 *
 *     request     body                     files    allowed when the guest is
 *     STATUS      {}                                anything
 *     STATS       {}                                anything
 *     WATCH       {}                                anything           {"state": ...}
 *     PAUSE       {}                                running, paused
 *     RESUME      {}                                running, paused
 *     STOP        {}                                anything           ends the process at once
 *     POWERDOWN   {}                                running            presses the power button
 *     RESET       {}                                running, paused, failed
 *     SAVE        {}                       1        running, paused    to the file, then paused
 *     BALLOON     {"bytes": N}                      running, paused    memory the guest should keep
 *     RESIZE      {"disk": N, "bytes": N}           running, paused
 *     CONSOLE     {}                       1        anything           the file becomes the console's client
 *     GDB         {}                       1        anything           the file becomes the debugger
 *     DISK_ADD    {"stack": [...], ...}    0 to 8   running, paused    as in the configuration's "disks"; the stack's
 *                                                                      files as in hv/stack_files.h; {"disk": N}
 *     DISK_REMOVE {"disk": N}                       running, paused    asks the guest; "disk-removed" when it is gone
 *     NET_ADD     {"tap": "NAME", ...}     1 to 8   running, paused    as in "nets", one file per queue; {"net": N}
 *     NET_REMOVE  {"net": N}                        running, paused    as DISK_REMOVE; "net-removed"
 *     VOLUME      {"disk": N, "verb": ...}          here               of a disk that is a volume over several
 *                                                                      members: "attach", "scrub", "rate", see
 *                                                                      hv/disk_volume.h; of any disk: "move-begin",
 *                                                                      "move-settle", "move-end", see hv/guest_move.c
 *     LEASE       {"until_ns": N}                   anything           CLOCK_BOOTTIME: the guest is frozen then, and
 *                                                                      goes on when it is extended (events "frozen",
 *                                                                      "thawed"); 0: it has no deadline any more;
 *                                                                      {"until_ns": N, "frozen": false}
 *
 * Moving to another process (docs/migration.md); the event "migration" says how far it is:
 *
 *     MIGRATE     {"bandwidth": bytes/s, "downtime-ms": N, "within-s": N, "throttle": true, "hold": false,
 *                  "patience-ms": N, "post-copy": false}
 *                                          2 to 8   running, paused    file 0 has the 32 bytes of the key, the others
 *                                                                      are connected stream sockets; answered at once;
 *                                                                      post-copy: pages may follow the guest, where it
 *                                                                      would be given up otherwise
 *     MIGRATION   {}                                anything           how far it is; {"phase": "none"}: there is none
 *     MIGRATE_GO  {}                                running, paused    hold, at "ready": the source ends for good
 *     MIGRATE_CANCEL {"epochs": [...]}              running, paused    until then; epochs: by disk, if its volume has
 *                                                                      to be opened by a later one, null: as before
 *     MIGRATE_RESUME {}                    1 to 7   running, paused    post-copy, of whose connections one broke:
 *                                                                      connected stream sockets, as many as before
 *     INCOMING_GO {}                                incoming           hold, at "ready": the guest runs here
 *     FORECAST    {"downtime-ms": N, "within-s": N, "throttle": true, "look-ms": N, and as earlier moves have
 *                  shown: "bandwidth": bytes/s, "connect-ms", "round-ms", "fixed-ms"}
 *                                                   running, paused    what a move would cost, after a look of look-ms
 *                                                                      (200) at what the guest writes: {"holds": the
 *                                                                      goals can be kept, "reason": else, "bytes",
 *                                                                      "seconds", "downtime-ms", "rounds",
 *                                                                      "throttle", "dirty-rate", "bandwidth", ...} */
#ifndef NODE_BASE_GUEST_MESSAGE_H
#define NODE_BASE_GUEST_MESSAGE_H

enum control_type {
    CONTROL_STATUS = 1,
    CONTROL_STATS,
    CONTROL_WATCH,
    CONTROL_PAUSE,
    CONTROL_RESUME,
    CONTROL_STOP,
    CONTROL_POWERDOWN,
    CONTROL_RESET,
    CONTROL_SAVE,
    CONTROL_BALLOON,
    CONTROL_RESIZE,
    CONTROL_CONSOLE,
    CONTROL_GDB,
    CONTROL_DISK_ADD,
    CONTROL_DISK_REMOVE,
    CONTROL_NET_ADD,
    CONTROL_NET_REMOVE,
    CONTROL_MIGRATE,
    CONTROL_MIGRATION,
    CONTROL_MIGRATE_GO,
    CONTROL_MIGRATE_CANCEL,
    CONTROL_INCOMING_GO,
    CONTROL_VOLUME,
    CONTROL_LEASE,
    CONTROL_FORECAST,
    CONTROL_MIGRATE_RESUME,
    CONTROL_REQUEST_COUNT,
    CONTROL_OK = 100,
    CONTROL_ERROR,
    CONTROL_EVENT,
};

/* running: vCPUs execute. failed: one cannot go on, the guest waits for a reset or its end. incoming: it is not here
 * yet, but on its way from another process. */
enum guest_state { GUEST_PAUSED, GUEST_RUNNING, GUEST_FAILED, GUEST_INCOMING, GUEST_STATE_COUNT };

#endif
