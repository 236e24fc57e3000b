/* Errors of the control path: a code a program can act on and a sentence a person can.
 *
 * The function that knows the cause writes the text; callers may put a prefix in front of it; whoever
 * handles the error logs or prints it, once. Threads: an err belongs to its caller. */
#ifndef NODE_BASE_ERR_H
#define NODE_BASE_ERR_H

enum { ERR_TEXT_MAX = 512 };

struct err {
    int code; /* errno value, 0 = no error */
    char text[ERR_TEXT_MAX];
};

/* Sets *e (which may be NULL) and returns -code, so that callers can `return err_set(...)`.
 * An errno's own text is not added: say it with %s and strerror() where it helps. */
__attribute__((format(printf, 3, 4))) int err_set(struct err *e, int code, const char *format, ...);

/* Puts "context: " in front of the text that is there. Returns -e->code (or -EIO if e is NULL). */
__attribute__((format(printf, 2, 3))) int err_prefix(struct err *e, const char *format, ...);

#endif
