/* Names of records that nobody names: tasks and migrations. They begin with the time, so that lists are in the order of
 * time: "20261126-085823125-7b0c4f". Threads: any. */
#ifndef NODE_AGENT_RECORD_NAME_H
#define NODE_AGENT_RECORD_NAME_H

enum { RECORD_NAME_BYTES = 48 };

/* began: as timestamp() writes it; id: a UUID. */
void record_name(const char *began, const char *id, char name[RECORD_NAME_BYTES]);

#endif
