/* Writing: the lines of the file that was read, with new nodes in those of instances and new free sizes in those of
 * nodes. Everything else stays byte for byte. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/ganeti_text.h"
#include "balancer/model.h"
#include "balancer/text_line.h"

enum { FIELDS_MAX = 32, NODE_FREE_MEMORY = 3, NODE_FREE_DISK = 5, GUEST_AT = 6, GUEST_MIRROR = 7 };

static void put_node(FILE *out, const struct ganeti_text *file, const struct model *m, int n, struct text_field *f,
                     int count)
{
    const struct model *before = file->model;
    double memory = m->sum[n][SUM_MEMORY] - before->sum[n][SUM_MEMORY];
    double disk = m->sum[n][SUM_DISK] - before->sum[n][SUM_DISK];
    for (int i = 0; i < count; i++) {
        if (i)
            putc('|', out);
        if (i == NODE_FREE_MEMORY && memory != 0)
            fprintf(out, "%.0f", m->nodes[n].memory_free - memory);
        else if (i == NODE_FREE_DISK && disk != 0)
            fprintf(out, "%.0f", m->nodes[n].disk_free - disk);
        else
            fwrite(f[i].at, 1, f[i].len, out);
    }
}

static void put_guest(FILE *out, const struct model *m, int g, struct text_field *f, int count)
{
    for (int i = 0; i < count; i++) {
        if (i)
            putc('|', out);
        if (i == GUEST_AT)
            fputs(model_node_name(m, m->at[g]), out);
        else if (i == GUEST_MIRROR && m->mirror[g] >= 0)
            fputs(model_node_name(m, m->mirror[g]), out);
        else
            fwrite(f[i].at, 1, f[i].len, out);
    }
}

char *ganeti_text_write(const struct ganeti_text *file, const struct model *m, size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    if (!out)
        return NULL;
    struct text_field rest = {file->text, file->len}, line;
    int node = 0, guest = 0;
    while (text_line_next(&rest, &line)) {
        struct text_field fields[FIELDS_MAX];
        int count = text_line_cut(line, '|', fields, FIELDS_MAX);
        size_t at = (size_t)(line.at - file->text);
        if (count <= FIELDS_MAX && node < m->node_count && file->node_at[node] == at && line.len)
            put_node(out, file, m, node++, fields, count);
        else if (count <= FIELDS_MAX && guest < m->guest_count && file->guest_at[guest] == at && line.len)
            put_guest(out, m, guest++, fields, count);
        else
            fwrite(line.at, 1, line.len, out);
        putc('\n', out);
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}
