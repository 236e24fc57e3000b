#include "nbd/nbd_coverage.h"

#include <string.h>

static void remove_range(struct nbd_coverage *c, unsigned i)
{
    memmove(&c->range[i], &c->range[i + 1], (c->count - i - 1) * sizeof c->range[0]);
    c->count--;
}

bool nbd_coverage_add(struct nbd_coverage *c, uint64_t begin, uint64_t end)
{
    unsigned i = 0;
    while (i < c->count && c->range[i].end < begin)
        i++;
    /* range i is the first that touches [begin, end) or lies behind it */
    bool joins_left = i < c->count && c->range[i].end == begin;
    unsigned right = i + joins_left;
    if (right < c->count && c->range[right].begin < end)
        return false;
    bool joins_right = right < c->count && c->range[right].begin == end;
    if (joins_left) {
        c->range[i].end = joins_right ? c->range[right].end : end;
        if (joins_right)
            remove_range(c, right);
    } else if (joins_right) {
        c->range[right].begin = begin;
    } else if (c->count == NBD_COVERAGE_RANGES) {
        c->scattered = true;
    } else {
        memmove(&c->range[i + 1], &c->range[i], (c->count - i) * sizeof c->range[0]);
        c->range[i] = (struct nbd_coverage_range){begin, end};
        c->count++;
    }
    return true;
}

bool nbd_coverage_complete(const struct nbd_coverage *c, uint64_t length_bytes)
{
    return !c->scattered && c->count == 1 && c->range[0].begin == 0 && c->range[0].end == length_bytes;
}
