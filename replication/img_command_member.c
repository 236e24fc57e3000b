#include "replication/img_command_member.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hex.h"
#include "node/base/units.h"
#include "node/base/uuid.h"
#include "replication/journal_record.h"
#include "replication/member_check.h"
#include "replication/member_create.h"

enum member_verb { VERB_CREATE, VERB_INFO, VERB_CHECK };

enum {
    KEY_LAYOUT = 256,
    KEY_MEMBERS,
    KEY_INDEX,
    KEY_SIZE,
    KEY_VOLUME,
    KEY_CLUSTER,
    KEY_CHUNK,
    KEY_REGION,
    KEY_QUORUM,
    KEY_WITNESS,
    KEY_FRESH,
    KEY_AS_WITNESS,
    KEY_JSON,
    KEY_ROOM,
};

struct member_arguments {
    struct img_arguments common;
    struct superblock sb;
    uint64_t size_bytes, members, index, quorum, chunk, region, room_bytes;
    bool has_index, has_volume, fresh, as_witness, json;
    int layout;
};

static const char *const layouts[] = {"raid0", "raid1", "raid10", "raid5", "raid6", "replica", NULL};

static const struct argp_option create_options[] = {
    {"layout", KEY_LAYOUT, "LAYOUT", 0, "raid0, raid1, raid10, raid5, raid6 or replica", 0},
    {"members", KEY_MEMBERS, "N", 0, "How many the volume has", 0},
    {"index", KEY_INDEX, "I", 0, "Which one this is, from 0", 0},
    {"size", KEY_SIZE, "SIZE", 0, "Of the volume; rounded up to whole regions", 0},
    {"room", KEY_ROOM, "SIZE", 0, "What the volume may grow to; without it, it does not grow", 0},
    {"volume", KEY_VOLUME, "UUID", 0, "The same for all members; without it a new one is made and printed", 0},
    {"cluster", KEY_CLUSTER, "UUID", 0, "The cluster that the volume belongs to", 0},
    {"chunk", KEY_CHUNK, "SIZE", 0, "What is dealt out to the members in turn (64K)", 0},
    {"region", KEY_REGION, "SIZE", 0, "What is compared after a crash if any of it was being written (4M)", 0},
    {"quorum", KEY_QUORUM, "N", 0, "Members that must have every write; a majority decides then", 0},
    {"witness", KEY_WITNESS, NULL, 0, "The volume has a witness", 0},
    {"replacement", KEY_FRESH, NULL, 0,
     "One that takes another's place: it is filled, and never a source; a witness: it knows nothing yet", 0},
    {"as-witness", KEY_AS_WITNESS, NULL, 0, "No member, but the volume's witness (128K)", 0},
    {0},
};

static const struct argp_option json_options[] = {
    {"json", KEY_JSON, NULL, 0, "Print it as JSON", 0},
    {0},
};

static error_t parse_uuid(struct member_arguments *a, const char *option, const char *value, uint8_t *uuid)
{
    unsigned digits = 0;
    uint8_t bytes[UUID_BYTES] = {0};
    for (const char *c = value; *c; c++) {
        int digit = hex_digit(*c);
        if (*c == '-')
            continue;
        if (digit < 0 || digits == 2 * UUID_BYTES) {
            digits = 0;
            break;
        }
        bytes[digits / 2] = (uint8_t)(bytes[digits / 2] << 4 | digit);
        digits++;
    }
    if (digits != 2 * UUID_BYTES) {
        err_set(&a->common.err, EINVAL, "%s: '%.40s' is not a UUID (32 hexadecimal digits)", option, value);
        return EINVAL;
    }
    memcpy(uuid, bytes, UUID_BYTES);
    return 0;
}

static error_t parse_member(int key, char *value, struct argp_state *state)
{
    struct member_arguments *a = state->input;
    struct img_arguments *c = &a->common;
    switch (key) {
    case KEY_LAYOUT:
        return img_arguments_choice(c, "--layout", value, layouts, &a->layout);
    case KEY_MEMBERS:
        return img_arguments_number(c, "--members", value, 1, MEMBERS_MAX, &a->members);
    case KEY_INDEX:
        a->has_index = true;
        return img_arguments_number(c, "--index", value, 0, MEMBERS_MAX - 1, &a->index);
    case KEY_SIZE:
        return img_arguments_size(c, "--size", value, &a->size_bytes);
    case KEY_ROOM:
        return img_arguments_size(c, "--room", value, &a->room_bytes);
    case KEY_VOLUME:
        a->has_volume = true;
        return parse_uuid(a, "--volume", value, a->sb.volume);
    case KEY_CLUSTER:
        return parse_uuid(a, "--cluster", value, a->sb.cluster);
    case KEY_CHUNK:
        return img_arguments_size(c, "--chunk", value, &a->chunk);
    case KEY_REGION:
        return img_arguments_size(c, "--region", value, &a->region);
    case KEY_QUORUM:
        return img_arguments_number(c, "--quorum", value, 0, MEMBERS_MAX, &a->quorum);
    case KEY_WITNESS:
        a->sb.has_witness = true;
        return 0;
    case KEY_FRESH:
        a->fresh = true;
        return 0;
    case KEY_AS_WITNESS:
        a->as_witness = a->sb.has_witness = true;
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static const struct argp create_argp = {
    .options = create_options,
    .parser = parse_member,
    .args_doc = "IMAGE",
    .doc = "Overwrites IMAGE with zeroes and the superblock of a member.\v"
           "Exit codes: 0 made; 1 failed; 2 a bad command line.",
};

static const struct argp info_argp = {
    .options = json_options,
    .parser = parse_member,
    .args_doc = "IMAGE",
    .doc =
        "Shows the superblock of a member, or of a witness.\vExit codes: 0 shown; 1 it is none; 2 a bad command line.",
};

static const struct argp check_argp = {
    .options = json_options,
    .parser = parse_member,
    .args_doc = "IMAGE",
    .doc = "Holds all data of a member against its checksums, and changes nothing.\v"
           "Exit codes: 0 all of it is right; 1 it is not, or it is no member; 2 a bad command line.",
};

/* ---- create ---- */

static int complete(struct member_arguments *a, struct err *err)
{
    struct geometry *g = &a->sb.geometry;
    uint64_t region = a->region;
    if (!a->members || !a->size_bytes || a->layout < 0 || (!a->has_index && !a->as_witness))
        return err_set(err, EINVAL, "create needs --layout, --members, --size and --index");
    if (a->has_index && a->index >= a->members)
        return err_set(err, EINVAL, "--index: the members are 0 to %" PRIu64, a->members - 1);
    if (a->quorum > a->members || (a->quorum && a->layout != LAYOUT_REPLICA))
        return err_set(err, EINVAL, "--quorum goes with --layout replica, and is at most its number of members");
    if (a->chunk > UINT32_MAX || region > REGION_MAX_BYTES || !region)
        return err_set(err, EINVAL, "a region must be a power of two from 256K to 64M, and a chunk at most that");
    *g = (struct geometry){
        (enum layout)a->layout, (unsigned)a->members, (uint32_t)a->chunk, (uint32_t)region, region, 0};
    int rc = geometry_check(g, err);
    if (rc)
        return rc;
    g->member_bytes = geometry_member_bytes(g, a->size_bytes);
    g->room_bytes = a->room_bytes ? geometry_member_bytes(g, a->room_bytes) : 0;
    if (a->room_bytes && a->room_bytes < a->size_bytes)
        return err_set(err, EINVAL, "--room is less than --size");
    a->sb.journal_bytes = journal_preset_bytes(g);
    a->sb.index = (unsigned)a->index;
    a->sb.quorum = (unsigned)a->quorum;
    return geometry_check(g, err);
}

static int create(struct member_arguments *a, struct blk *blk, struct err *err)
{
    char uuid[UUID_TEXT_BYTES], bytes[2 * UUID_BYTES + 1];
    if (!a->has_volume) {
        uuid_make(uuid);
        parse_uuid(a, "--volume", uuid, a->sb.volume);
    }
    int rc =
        a->as_witness ? member_create_witness(blk, &a->sb, a->fresh, err) : member_create(blk, &a->sb, a->fresh, err);
    if (!rc && !a->has_volume)
        printf("volume: %s\n", hex_text(a->sb.volume, UUID_BYTES, bytes));
    return rc;
}

/* ---- info ---- */

static json_t *stamp_json(struct stamp s)
{
    return json_pack("{s:I, s:I}", "term", (json_int_t)s.term, "generation", (json_int_t)s.generation);
}

static json_t *set_json(member_set set)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < MEMBERS_MAX; i++)
        if (set >> i & 1)
            json_array_append_new(list, json_integer(i));
    return list;
}

static json_t *describe(const struct superblock *sb)
{
    const struct geometry *g = &sb->geometry;
    char volume[2 * UUID_BYTES + 1], cluster[2 * UUID_BYTES + 1];
    struct member_places places;
    superblock_places(g, sb->journal_bytes, &places);
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:I}", "volume", hex_text(sb->volume, UUID_BYTES, volume), "cluster",
        hex_text(sb->cluster, UUID_BYTES, cluster), "layout", layout_name(g->layout), "index", (int)sb->index,
        "members", (int)g->members, "size_bytes", (json_int_t)geometry_volume_bytes(g), "member_bytes",
        (json_int_t)places.end, "chunk_bytes", (json_int_t)g->chunk_bytes, "region_bytes", (json_int_t)g->region_bytes);
    const char *state = stamp_is_zero(sb->stamp) ? "fresh" : sb->clean ? "clean" : "dirty";
    json_object_set_new(json, "state", json_string(state));
    json_object_set_new(json, "in_sync", set_json(sb->in_sync));
    json_object_set_new(json, "stamp", stamp_json(sb->stamp));
    json_object_set_new(json, "base", stamp_json(sb->base));
    json_object_set_new(json, "claimed", json_integer((json_int_t)sb->claimed));
    json_object_set_new(json, "epoch", json_integer((json_int_t)sb->epoch));
    json_object_set_new(json, "quorum", json_integer(sb->quorum));
    json_object_set_new(json, "witness", json_boolean(sb->has_witness));
    struct geometry largest = *g;
    largest.member_bytes = g->room_bytes ? g->room_bytes : g->member_bytes;
    json_object_set_new(json, "room_bytes", json_integer((json_int_t)geometry_volume_bytes(&largest)));
    json_object_set_new(json, "data_offset", json_integer((json_int_t)places.data));
    return json;
}

static void print_text(json_t *json)
{
    const char *key;
    json_t *value;
    json_object_foreach (json, key, value) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        const char *plain = json_is_string(value) ? json_string_value(value) : text;
        printf("%-14s%s\n", key, plain ? plain : "");
        free(text);
    }
    json_decref(json);
}

static void print(json_t *json, bool as_json)
{
    if (as_json)
        img_command_print(json);
    else
        print_text(json);
}

static int read_superblock(struct blk *blk, struct superblock *sb, struct err *err)
{
    enum superblock_verdict verdict;
    int rc = member_read(blk, &verdict, sb, err);
    if (rc)
        return rc;
    if (verdict == SUPERBLOCK_NONE)
        return err_set(err, EINVAL, "it is no member: there is no superblock");
    if (verdict == SUPERBLOCK_FUTURE)
        return err_set(err, ENOTSUP, "it is a member of a newer format than this program knows");
    if (verdict == SUPERBLOCK_DAMAGED)
        return err_set(err, EINVAL, "both superblocks are damaged, or something else is there");
    return 0;
}

/* ---- check ---- */

static int check(const struct member_arguments *a, struct blk *blk, const struct superblock *sb, struct err *err)
{
    struct member_check c;
    int rc = member_check(blk, sb, &c, err);
    if (rc)
        return rc;
    print(json_pack("{s:I, s:I, s:I, s:I, s:I}", "blocks", (json_int_t)c.blocks, "wrong", (json_int_t)c.wrong,
                    "first_wrong_offset", (json_int_t)c.first_wrong, "hot_regions", (json_int_t)c.hot_regions,
                    "damaged_map_sectors", (json_int_t)c.damaged_sectors),
          a->json);
    return c.wrong || c.damaged_sectors ? err_set(err, EIO,
                                                  "the member is damaged: %" PRIu64 " blocks are not what was "
                                                  "written; a scrub of the volume repairs them",
                                                  c.wrong)
                                        : 0;
}

static int run(const char *name, const struct argp *argp, enum member_verb verb, int argc, char **argv)
{
    struct member_arguments a = {.layout = -1, .chunk = 64 << 10, .region = 4 << 20};
    struct img_session session;
    struct superblock sb;
    struct blk *blk = NULL;
    struct err *err = &a.common.err;
    if (img_arguments_parse(argp, argc, argv, &a.common) || (verb == VERB_CREATE && complete(&a, err)))
        return img_command_fail(name, err, IMG_EXIT_USAGE);
    if (img_session_init(&session, 0, err))
        return img_command_fail(name, err, IMG_EXIT_FAILED);
    int rc = img_command_open(&session, a.common.places[0], verb == VERB_CREATE ? 0 : BLK_OPEN_READ_ONLY, &blk, err);
    if (!rc)
        rc = verb == VERB_CREATE ? create(&a, blk, err) : read_superblock(blk, &sb, err);
    if (!rc && verb == VERB_INFO)
        print(describe(&sb), a.json);
    if (!rc && verb == VERB_CHECK)
        rc = check(&a, blk, &sb, err);
    img_session_close(&session, blk);
    img_session_fini(&session);
    return rc ? img_command_fail(name, err, IMG_EXIT_FAILED) : IMG_EXIT_OK;
}

static int run_create(int argc, char **argv)
{
    return run("member create", &create_argp, VERB_CREATE, argc, argv);
}

static int run_info(int argc, char **argv)
{
    return run("member info", &info_argp, VERB_INFO, argc, argv);
}

static int run_check(int argc, char **argv)
{
    return run("member check", &check_argp, VERB_CHECK, argc, argv);
}

static const struct img_command command_create = {"create", "makes a member", &create_argp, run_create, NULL};
static const struct img_command command_info = {"info", "shows a member's superblock", &info_argp, run_info, NULL};
static const struct img_command command_check = {"check", "holds data against checksums", &check_argp, run_check, NULL};
static const struct img_command *const commands[] = {&command_create, &command_info, &command_check, NULL};

const struct img_command img_command_member = {
    .name = "member", .help = "makes, shows and checks members of volumes", .below = commands};
