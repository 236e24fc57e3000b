/* Listening sockets: made from an address as people write it, or handed over by a service manager. Thread: any. */
#ifndef NODE_BASE_LISTEN_H
#define NODE_BASE_LISTEN_H

struct err;

enum { LISTEN_FDS_MAX = 64 };

/* `unix:PATH`, `tcp:HOST:PORT` (HOST a name, an address, [IPv6], or empty for every address; PORT 0: any free one).
 * A unix socket that a dead server left behind is replaced; one that is answered, or a file that is no socket, is not.
 * An address that is in use is tried for a second: a server that was killed has it a moment longer.
 * Fills fds (a name may have several addresses) and returns how many, or -errno. */
int listen_open(const char *address, int *fds, int max, struct err *err);

/* Sockets from systemd's protocol (LISTEN_PID, LISTEN_FDS; the variables are unset). Returns how many, 0 if none were
 * meant for us, or -EINVAL. They are close-on-exec from here on. */
int listen_inherited(int *fds, int max, struct err *err);

/* "tcp:127.0.0.1:10809", "unix:/run/x.sock": where fd listens. Returns text. */
const char *listen_describe(int fd, char *text, int len);

/* The socket is a listening one (and not an accepted connection). */
int listen_is_listening(int fd);

#endif
