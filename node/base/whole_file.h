/* Files that are there whole or not at all: written under another name, made durable, and renamed. Threads: any. */
#ifndef NODE_BASE_WHOLE_FILE_H
#define NODE_BASE_WHOLE_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Takes the place of what is there; content and name are on stable storage when it returns. -errno: what was there is
 * there still. */
int whole_file_write(const char *path, const void *data, size_t len_bytes, mode_t mode);
/* A file that was written under the name `fresh`, and whose content is durable, gets its own name, durably. */
int whole_file_publish(const char *fresh, const char *path);
/* The name of such a file is durable, too. */
int whole_file_keep_name(const char *path);

#endif
