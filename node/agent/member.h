/* Members of JSON objects as plain values, for those who need not tell "not there" from "empty". Threads: any. */
#ifndef NODE_AGENT_MEMBER_H
#define NODE_AGENT_MEMBER_H

#include <jansson.h>

/* "": the member is not there, or no text. Valid as long as the object has it. */
static inline const char *member_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

#endif
