/* Local messages between programs of one node: typed, versioned, with open files. The carrier is a SOCK_SEQPACKET unix
 * socket, so a message comes whole or not at all.
 *
 *     offset  0  4 bytes  "DRVM"
 *             4  u16      version of the format (big-endian, like all numbers here)
 *             6  u16      type: what the two sides agreed on
 *             8  u32      id: an answer has its question's
 *            12  u32      length of the body, which is JSON text
 *
 * Whoever receives is handed the files that came along and closes them. Threads: a message belongs to its caller. */
#ifndef NODE_BASE_MESSAGE_H
#define NODE_BASE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct err;

enum { MESSAGE_VERSION = 1, MESSAGE_HEADER_BYTES = 16, MESSAGE_BODY_MAX = 64 << 10, MESSAGE_FDS_MAX = 8 };

struct message {
    uint16_t type;
    uint32_t id;
    char body[MESSAGE_BODY_MAX + 1]; /* terminated with a 0 that does not count */
    size_t body_bytes;
    int fds[MESSAGE_FDS_MAX];
    unsigned fd_count;
};

/* What recvmsg() and sendmsg() need; for loops, which make the call themselves. Points into itself: do not move. */
struct message_wire {
    struct message *message;
    uint8_t header[MESSAGE_HEADER_BYTES];
    struct iovec iov[2];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * MESSAGE_FDS_MAX)];
    struct msghdr msg;
};

/* Before sendmsg(msg, MSG_NOSIGNAL). */
void message_pack(struct message_wire *wire, struct message *message);
/* Before recvmsg(msg, MSG_CMSG_CLOEXEC). */
void message_expect(struct message_wire *wire, struct message *message);
/* After it, with what it returned. 0: message is filled; -EPIPE: the other side is gone; -EPROTO with a text: not a
 * message of ours; -errno as recvmsg() said. Files that came with a bad message are closed. */
int message_unpack(struct message_wire *wire, int received, struct err *err);

/* The same for callers that may wait. */
int message_send(int socket, struct message *message, struct err *err);
int message_receive(int socket, struct message *message, struct err *err);

/* Closes the files it came with that nobody took (taken: set to -1). */
void message_close_files(struct message *message);

/* A listening socket at path: replaces one that nobody answers; the file's mode is 0600. Or a connection to it. */
int message_listen(const char *path, int *fd, struct err *err);
int message_connect(const char *path, int *fd, struct err *err);

#endif
