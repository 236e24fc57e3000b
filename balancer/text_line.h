/* Text files made of lines and fields, read in place through bounds.
 *
 * A field is a piece of the caller's buffer, not ended by a 0. Threads: any. */
#ifndef BALANCER_TEXT_LINE_H
#define BALANCER_TEXT_LINE_H

#include <stdbool.h>
#include <stddef.h>

struct text_field {
    const char *at;
    size_t len;
};

/* The next line (without its end) of what is left in *rest; false at the end. */
bool text_line_next(struct text_field *rest, struct text_field *line);

/* Cuts at every `mark`; the number of pieces, of which at most max are stored. */
int text_line_cut(struct text_field line, char mark, struct text_field *pieces, int max);
/* Pieces between runs of spaces and tabs. */
int text_line_words(struct text_field line, struct text_field *words, int max);

bool text_field_is(struct text_field field, const char *text);
bool text_field_starts(struct text_field field, const char *text);

/* A whole finite number within [min, max]; false: not that, *number untouched. */
bool text_field_number(struct text_field field, double min, double max, double *number);

#endif
