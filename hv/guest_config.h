/* What a guest is made of: one struct, filled from JSON. The command line is translated to the same JSON
 * (guest_arguments.h), so there is one place that knows keys, types and limits, and one wording for mistakes.
 *
 *     {"name": "web1", "memory": "512M", "vcpus": 2, "engine": "auto", "cpu": "host",
 *      "kernel": "vmlinuz", "initrd": "initrd.img", "cmdline": "console=ttyS0",      or "firmware": "seabios"
 *      "disks": [{"stack": "raw:disk.img", "serial": "root", "read-only": false}],
 *      "nets": [{"tap": "tap0", "mac": "52:54:00:12:34:56", "mtu": 1500}],
 *      "console": "stdio", "control": "unix:/run/web1.sock"}
 *
 * "slot" and null in place of a disk or net are for loading a guest that was saved after some had come or gone.
 *
 * Threads: the main one. */
#ifndef HV_GUEST_CONFIG_H
#define HV_GUEST_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct json_t;

static const uint32_t GUEST_NO_FD = UINT32_MAX;
enum { GUEST_DISK_MAX = 16, GUEST_NET_MAX = 8, GUEST_QUEUE_MAX = 8 };

enum guest_engine {
    GUEST_ENGINE_AUTO,
    GUEST_ENGINE_KVM,
    GUEST_ENGINE_DBT,
    GUEST_ENGINE_INTERP,
    GUEST_ENGINE_LOCKSTEP, /* for tests of the translator */
};
enum guest_boot { GUEST_BOOT_AUTO, GUEST_BOOT_PVH, GUEST_BOOT_LINUX64 };
enum guest_console { GUEST_CONSOLE_NONE, GUEST_CONSOLE_STDIO, GUEST_CONSOLE_PTY, GUEST_CONSOLE_UNIX };
enum guest_on_reset { GUEST_RESTART, GUEST_EXIT };
enum guest_on_trouble { GUEST_TELL, GUEST_RESET }; /* tell: who watches the control socket decides */

struct guest_disk {
    char *stack;  /* as blk_open() takes it; NULL: this number is free */
    char *serial; /* up to 20 letters; NULL: disk0, disk1 ... */
    bool read_only;
    uint32_t queues;
    uint32_t slot; /* of PCI; 0: the first free one */
};

struct guest_net {
    char *tap;   /* interface; or */
    uint32_t fd; /* an inherited socket that carries frames, UINT32_MAX: none; without either this number is free */
    uint8_t mac[6];
    uint32_t mtu; /* 0: not told */
    uint32_t queues;
    uint32_t slot; /* as above */
};

struct guest_endpoint { /* of a console */
    enum guest_console kind;
    char *path; /* unix */
};

struct guest_config {
    char *name;
    uint64_t memory_bytes;
    uint32_t vcpus;
    enum guest_engine engine;
    char *cpu;

    char *kernel, *initrd, *cmdline, *firmware;
    enum guest_boot boot;

    struct guest_disk disks[GUEST_DISK_MAX];
    uint32_t disk_count;
    struct guest_net nets[GUEST_NET_MAX];
    uint32_t net_count;
    struct guest_endpoint console;        /* the serial port */
    struct guest_endpoint virtio_console; /* hvc0 */
    bool rng, balloon;
    uint32_t vsock_cid; /* 0: none */
    char *vsock_path;   /* unix socket: its clients say CONNECT PORT and get the guest's port */

    char *control;     /* path of the control socket, NULL: none */
    char *gdb;         /* where a debugger may come: as gdb_listen() takes it, NULL: nowhere */
    char *load;        /* a saved guest to go on with */
    uint32_t incoming; /* an inherited listening socket, where a running guest comes from; GUEST_NO_FD: none */
    char *incoming_at; /* or where to listen for it: tcp:HOST:PORT, unix:PATH */
    char *migration_key_file;
    uint32_t migration_key;  /* ... and the inherited file with the key its source has, too */
    bool connects;           /* disks may be told to connect to servers that are not known yet */
    char *tls_certificates;  /* ... with these, a folder; NULL: in clear */
    char *user;              /* to become, when started as root */
    bool paused;             /* wait for `resume` */
    uint64_t lease_until_ns; /* see guest_lease.h; 0: no deadline */
    enum guest_on_reset on_reset;
    enum guest_on_trouble on_panic, on_hang;
};

/* Everything is checked; the config is complete (presets filled in). Errors: -EINVAL with the path of the key at fault
 * ("disks[1].serial: ..."), -ENOMEM. On failure the config is empty. */
int guest_config_from_json(struct guest_config *config, const struct json_t *json, struct err *err);
void guest_config_fini(struct guest_config *config);
bool guest_config_is_incoming(const struct guest_config *config); /* it does not begin here */

/* One of "disks", one of "nets", for what is added to a guest that runs: errors begin with "disk." or "net.". */
int guest_disk_from_json(struct guest_disk *disk, const struct json_t *json, struct err *err);
void guest_disk_fini(struct guest_disk *disk);
int guest_net_from_json(struct guest_net *net, const struct json_t *json, struct err *err);
void guest_net_fini(struct guest_net *net);

#endif
