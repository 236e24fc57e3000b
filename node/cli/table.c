#include "node/cli/table.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS_MAX = 16, CELL_MAX = 256 };

const json_t *table_member(const json_t *object, const char *path)
{
    char part[64];
    while (object && *path) {
        size_t n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        object = json_object_get(object, part);
        path += n + (path[n] == '.');
    }
    return object;
}

static void print_size(json_int_t bytes, char *cell)
{
    static const char units[] = "BKMGTPE";
    unsigned unit = 0;
    double value = (double)bytes;
    while (value >= 1024 && unit < sizeof units - 2) {
        value /= 1024;
        unit++;
    }
    snprintf(cell, CELL_MAX, value == (double)(long)value ? "%.0f%c" : "%.1f%c", value, units[unit]);
}

static void print_list(const json_t *list, const char *key, char *cell)
{
    size_t used = 0;
    cell[0] = 0;
    for (size_t i = 0; i < json_array_size(list) && used < CELL_MAX; i++) {
        const json_t *entry = json_array_get(list, i);
        const char *text = json_string_value(key ? json_object_get(entry, key) : entry);
        used += (size_t)snprintf(cell + used, CELL_MAX - used, "%s%s", i ? "," : "", text ? text : "?");
    }
}

static void print_cell(const json_t *object, const struct command_column *c, char *cell)
{
    const json_t *v = table_member(object, c->path);
    cell[0] = 0;
    if (c->form == COLUMN_LIST)
        print_list(v, c->key, cell);
    else if (c->form == COLUMN_COUNT)
        snprintf(cell, CELL_MAX, "%zu", json_array_size(v));
    else if (c->form == COLUMN_SIZE && json_is_integer(v))
        print_size(json_integer_value(v), cell);
    else if (c->form == COLUMN_TRUTH)
        snprintf(cell, CELL_MAX, "%s", json_is_true(v) ? "yes" : "no");
    else if (json_is_string(v))
        snprintf(cell, CELL_MAX, "%s", json_string_value(v));
    else if (json_is_integer(v))
        snprintf(cell, CELL_MAX, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(cell, CELL_MAX, "%.2f", json_real_value(v));
    if (!cell[0])
        snprintf(cell, CELL_MAX, "-");
    for (char *at = cell; *at; at++) /* what a terminal would obey */
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
}

static void pad(const char *text, size_t width, bool last)
{
    if (last)
        printf("%s\n", text);
    else
        printf("%-*s  ", (int)width, text);
}

void table_print(const json_t *items, const struct command_column *columns, bool header)
{
    size_t width[COLUMNS_MAX] = {0};
    unsigned count = 0;
    char cell[CELL_MAX];
    while (count < COLUMNS_MAX && columns[count].title) {
        width[count] = strlen(columns[count].title);
        count++;
    }
    for (size_t i = 0; i < json_array_size(items); i++)
        for (unsigned c = 0; c < count; c++) {
            print_cell(json_array_get(items, i), &columns[c], cell);
            if (strlen(cell) > width[c])
                width[c] = strlen(cell);
        }
    for (unsigned c = 0; header && c < count; c++)
        pad(columns[c].title, width[c], c + 1 == count);
    for (size_t i = 0; i < json_array_size(items); i++)
        for (unsigned c = 0; c < count; c++) {
            print_cell(json_array_get(items, i), &columns[c], cell);
            pad(cell, width[c], c + 1 == count);
        }
}

void table_print_one(const json_t *object, const struct command_column *columns)
{
    char cell[CELL_MAX];
    for (; columns->title; columns++) {
        print_cell(object, columns, cell);
        printf("%-12s %s\n", columns->title, cell);
    }
}
