#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "nbd/img_luks.h"
#include "node/base/units.h"

static const struct argp_option info_options[] = {
    {"json", IMG_LUKS_JSON, NULL, 0, "Print it as JSON", 0},
    {0},
};

static const struct argp info_argp = {
    .options = info_options,
    .parser = img_luks_parse,
    .args_doc = "IMAGE",
    .doc = "Shows a LUKS header. No key is needed.\v"
           "Exit codes: 0 shown; 1 there is none, or it is damaged or of a kind that is not supported; 2 a bad command "
           "line.",
};

static const char *printable(const char *text, char *buffer, size_t size)
{
    size_t n = 0;
    for (; text[n] && n + 1 < size; n++)
        buffer[n] = text[n] >= ' ' && text[n] < 127 ? text[n] : '?';
    buffer[n] = 0;
    return buffer;
}

static void print_slot(unsigned i, const struct luks_slot *s)
{
    const struct luks_kdf *k = &s->kdf;
    char text[sizeof s->refusal];
    printf("keyslot %-5u", i);
    if (*s->refusal)
        printf("not supported: %s\n", printable(s->refusal, text, sizeof text));
    else if (k->type == LUKS_PBKDF2)
        printf("pbkdf2-%s, %u iterations%s\n", k->hash, k->iterations, s->bound ? "" : ", not of the data");
    else
        printf("%s, %u passes over %u KiB, %u lanes%s\n", luks_kdf_name(k->type), k->iterations, k->memory_kib,
               k->lanes, s->bound ? "" : ", not of the data");
}

static void print_text(const char *image, const struct luks_volume *v)
{
    static const char *const states[] = {"good", "older than the other", "damaged"};
    const struct luks_header *h = &v->header;
    char size[32], text[64];
    printf("%-13s%s\n%-13sLUKS%u\n%-13s%s\n", "image:", image, "format:", h->version,
           "uuid:", printable(h->uuid, text, sizeof text));
    if (*h->label)
        printf("%-13s%s\n", "label:", printable(h->label, text, sizeof text));
    printf("%-13saes-xts-plain64, %u bits, sectors of %u bytes\n", "cipher:", h->key_bytes * 8, h->sector_bytes);
    printf("%-13s%s (%" PRIu64 " bytes) from %" PRIu64 " on\n",
           "data:", units_format_size(h->payload_bytes, size, sizeof size), h->payload_bytes, h->payload_offset);
    if (h->version == 2)
        printf("%-13sfirst %s, second %s\n", "headers:", states[v->copies[0].state], states[v->copies[1].state]);
    for (unsigned i = 0; i < h->slot_count; i++)
        if (h->slots[i].used)
            print_slot(i, &h->slots[i]);
}

static int info_command(int argc, char **argv)
{
    struct img_luks_arguments a;
    struct img_luks luks;
    img_luks_arguments_init(&a);
    struct err *err = &a.common.err;
    if (img_arguments_parse(&info_argp, argc, argv, &a.common))
        return img_command_fail("luks info", err, IMG_EXIT_USAGE);
    if (img_luks_open(&luks, a.common.places[0], IMG_LUKS_READ, err))
        return img_command_fail("luks info", err, IMG_EXIT_FAILED);
    if (a.json)
        img_command_print(img_luks_describe(&luks.volume));
    else
        print_text(a.common.places[0], &luks.volume);
    img_luks_close(&luks);
    return IMG_EXIT_OK;
}

const struct img_command img_luks_info = {
    .name = "info", .help = "shows a LUKS header", .argp = &info_argp, .run = info_command};
