#include "balancer/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/text_line.h"
#include "node/base/err.h"
#include "node/base/units.h"

static const double RATE_LARGEST = 1e15;

void trace_fini(struct trace *t)
{
    free(t->values);
    *t = (struct trace){0};
}

static bool parts_numbers(char c)
{
    return c == '\t' || c == ',' || c == ' ' || c == '\r';
}

/* The next piece between separators; false: there is none. */
static bool next_piece(struct text_field *line, struct text_field *piece)
{
    while (line->len && parts_numbers(*line->at)) {
        line->at++;
        line->len--;
    }
    *piece = (struct text_field){line->at, 0};
    while (line->len && !parts_numbers(*line->at)) {
        line->at++;
        line->len--;
        piece->len++;
    }
    return piece->len > 0;
}

static bool value_of(struct text_field piece, enum trace_unit unit, float *to)
{
    double value;
    if (text_field_number(piece, 0, unit == TRACE_PERCENT ? 100 : RATE_LARGEST, &value)) {
        *to = (float)value;
        return true;
    }
    char copy[32];
    uint64_t bytes;
    if (unit == TRACE_PERCENT || piece.len >= sizeof copy || memchr(piece.at, 0, piece.len))
        return false;
    memcpy(copy, piece.at, piece.len);
    copy[piece.len] = 0;
    if (units_parse_size(copy, &bytes, NULL) < 0 || (double)bytes > RATE_LARGEST)
        return false;
    *to = (float)bytes;
    return true;
}

/* Where the reader is, and what it has. */
struct reading {
    struct trace trace;
    const char *name;
    int line;
    size_t room;
    struct err *err;
};

static int refuse_value(const struct reading *r, struct text_field piece)
{
    return err_set(r->err, EINVAL, "%s:%d: '%.*s' is no load: %s", r->name, r->line,
                   (int)(piece.len < 40 ? piece.len : 40), piece.at,
                   r->trace.unit == TRACE_PERCENT ? "a percentage from 0 to 100 is needed"
                                                  : "bytes a second are needed, as 2000000 or 2M");
}

static int keep(struct reading *r, size_t at, float value)
{
    if (at >= r->room) {
        size_t room = r->room ? r->room * 2 : 1 << 12;
        float *larger = realloc(r->trace.values, room * sizeof *larger);
        if (!larger)
            return err_set(r->err, ENOMEM, "no memory for %s", r->name);
        r->trace.values = larger;
        r->room = room;
    }
    r->trace.values[at] = value;
    return 0;
}

static int read_row(struct reading *r, struct text_field line)
{
    struct trace *t = &r->trace;
    struct text_field piece;
    size_t begin = (size_t)t->rows * (size_t)t->steps;
    int count = 0;
    while (next_piece(&line, &piece)) {
        float value;
        if (!value_of(piece, t->unit, &value))
            return refuse_value(r, piece);
        if (t->rows && count == t->steps) {
            count++;
            break;
        }
        if (count == TRACE_STEPS_MAX)
            return err_set(r->err, EINVAL, "%s:%d: more than %d values, at most so many steps can be simulated",
                           r->name, r->line, TRACE_STEPS_MAX);
        int rc = keep(r, begin + (size_t)count, value);
        if (rc < 0)
            return rc;
        count++;
    }
    if (!count)
        return 0;
    if (t->rows && count != t->steps)
        return err_set(r->err, EINVAL, "%s:%d: %s values than the %d of the first line: a value a step is needed",
                       r->name, r->line, count > t->steps ? "more" : "fewer", t->steps);
    if (t->rows == TRACE_ROWS_MAX)
        return err_set(r->err, EINVAL, "%s:%d: more than %d lines, one a guest", r->name, r->line, TRACE_ROWS_MAX);
    t->steps = count;
    t->rows++;
    t->last_line = r->line;
    return 0;
}

int trace_read(struct trace *trace, enum trace_unit unit, const char *name, const char *text, size_t len,
               struct err *err)
{
    struct reading r = {.trace.unit = unit, .name = name, .err = err};
    struct text_field rest = {text, len}, line;
    int rc = 0;
    while (rc == 0 && text_line_next(&rest, &line)) {
        r.line++;
        rc = read_row(&r, line);
    }
    if (rc == 0 && !r.trace.rows)
        rc = err_set(err, EINVAL, "%s: there are no values in it", name);
    if (rc < 0)
        trace_fini(&r.trace);
    else
        *trace = r.trace;
    return rc;
}

char *trace_write(const struct trace *t, size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    if (!out)
        return NULL;
    for (size_t row = 0; row < (size_t)t->rows; row++)
        for (size_t step = 0; step < (size_t)t->steps; step++)
            fprintf(out, "%.9g%c", (double)t->values[row * (size_t)t->steps + step],
                    step + 1 < (size_t)t->steps ? '\t' : '\n');
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}
