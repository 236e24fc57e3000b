/* See seed.h. The image is libarchive's. */
#include "node/agent/seed.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/base/err.h"

enum { PATH_LENGTH = 4096, ENCODE = JSON_INDENT(1) | JSON_PRESERVE_ORDER };

static const char cloud_config[] = "#cloud-config\n";

/* ---- what may be said ---- */

/* RFC 1123, in lower or upper case. */
static int check_hostname(const char *name, struct err *err)
{
    size_t n = strlen(name), label = 0;
    bool well = n >= 1 && n <= SEED_HOSTNAME_MAX && name[n - 1] != '.';
    for (size_t i = 0; well && i < n; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        bool inside = label && name[i + 1] && name[i + 1] != '.';
        well = (letter && ++label <= SEED_LABEL_MAX) || (c == '-' && inside && ++label <= SEED_LABEL_MAX) ||
               (c == '.' && label);
        label = c == '.' ? 0 : label;
    }
    if (!well)
        return err_set(
            err, EINVAL,
            "hostname '%.80s': must be labels of letters, digits and inner '-', at most %d each and %d in all", name,
            SEED_LABEL_MAX, SEED_HOSTNAME_MAX);
    return 0;
}

/* YAML has more line ends than JSON, and sshd reads a key by the line: printable ASCII only. */
static bool plain(const char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            return false;
    return true;
}

static int check_key(unsigned index, const char *key, struct err *err)
{
    static const char *const kinds[] = {"ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"};
    bool known = false;
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
        known = known || strncmp(key, kinds[i], strlen(kinds[i])) == 0;
    if (strlen(key) > SEED_KEY_MAX || !plain(key))
        return err_set(err, EINVAL, "ssh_keys[%u]: must be one line of at most %d printable ASCII characters", index,
                       SEED_KEY_MAX);
    if (!known || !strchr(key, ' '))
        return err_set(err, EINVAL, "ssh_keys[%u]: must be a public key as in an .pub file, 'ssh-ed25519 AAAA...'",
                       index);
    return 0;
}

/* What cloud-init knows a kind of user data by; anything else it ignores, with a line in a log nobody reads. */
static int check_user_data(const char *data, struct err *err)
{
    static const char *const marks[] = {"#cloud-config", "#!",           "#include",      "#cloud-boothook",
                                        "#part-handler", "## template:", "Content-Type:", "MIME-Version:",
                                        "From nobody"};
    if (strlen(data) > SEED_USER_DATA_MAX)
        return err_set(err, EINVAL, "user_data: must be at most %d bytes", SEED_USER_DATA_MAX);
    for (unsigned i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strncmp(data, marks[i], strlen(marks[i])) == 0)
            return 0;
    return err_set(err, EINVAL,
                   "user_data: must begin with '#cloud-config', '#!' or another mark that cloud-init knows");
}

static int check_card(unsigned index, const struct seed_card *card, struct err *err)
{
    if (card->address_count > SEED_ADDRESSES_MAX || card->dns_count > SEED_DNS_MAX)
        return err_set(err, EINVAL, "networks[%u]: at most %d addresses and %d name servers", index, SEED_ADDRESSES_MAX,
                       SEED_DNS_MAX);
    for (unsigned i = 0; i < card->address_count; i++) {
        const struct seed_address *a = &card->addresses[i];
        unsigned bits = a->address.family == AF_INET ? 32 : 128;
        if (!a->address.family || a->prefix > bits || (a->gateway.family && a->gateway.family != a->address.family))
            return err_set(err, EINVAL, "networks[%u]: address %u, its prefix and its gateway do not go together",
                           index, i);
    }
    return 0;
}

int seed_check(const struct seed *seed, struct err *err)
{
    if (!seed->instance_id[0] || !plain(seed->instance_id) || strlen(seed->instance_id) > SEED_HOSTNAME_MAX)
        return err_set(err, EINVAL, "instance_id: must be 1 to %d printable ASCII characters", SEED_HOSTNAME_MAX);
    int rc = check_hostname(seed->hostname, err);
    if (!rc && (seed->ssh_key_count > SEED_KEYS_MAX || seed->card_count > SEED_CARDS_MAX))
        rc = err_set(err, EINVAL, "at most %d ssh_keys and %d networks", SEED_KEYS_MAX, SEED_CARDS_MAX);
    for (unsigned i = 0; !rc && i < seed->ssh_key_count; i++)
        rc = check_key(i, seed->ssh_keys[i], err);
    for (unsigned i = 0; !rc && i < seed->card_count; i++)
        rc = check_card(i, &seed->cards[i], err);
    return rc || !seed->user_data ? rc : check_user_data(seed->user_data, err);
}

/* ---- the files ---- */

static json_t *keys_of(const struct seed *seed)
{
    json_t *keys = json_array();
    for (unsigned i = 0; i < seed->ssh_key_count; i++)
        json_array_append_new(keys, json_string(seed->ssh_keys[i]));
    return keys;
}

/* Takes `object`, which may be NULL or lack what there was no memory for: the caller sees NULL then. */
static char *encode(const char *mark, json_t *object, bool complete)
{
    char *body = object && complete ? json_dumps(object, ENCODE) : NULL, *text = NULL;
    if (body && asprintf(&text, "%s%s\n", mark, body) < 0)
        text = NULL;
    free(body);
    json_decref(object);
    return text;
}

/* The keys are here, too: they hold when the user brings user data that does not name any. */
char *seed_meta_data(const struct seed *seed)
{
    json_t *object = json_object(), *keys = keys_of(seed);
    bool complete = json_array_size(keys) == seed->ssh_key_count &&
                    !json_object_set_new(object, "instance-id", json_string(seed->instance_id)) &&
                    !json_object_set_new(object, "local-hostname", json_string(seed->hostname)) &&
                    !json_object_set(object, "public-keys", keys);
    json_decref(keys);
    return encode("", object, complete);
}

char *seed_user_data(const struct seed *seed)
{
    if (seed->user_data)
        return strdup(seed->user_data);
    json_t *object = json_object(), *keys = keys_of(seed);
    bool complete = json_array_size(keys) == seed->ssh_key_count &&
                    !json_object_set_new(object, "hostname", json_string(seed->hostname)) &&
                    !json_object_set_new(object, "manage_etc_hosts", json_true()) &&
                    !json_object_set(object, "ssh_authorized_keys", keys);
    json_decref(keys);
    return encode(cloud_config, object, complete);
}

static int append_address(json_t *to, const struct address *address, int prefix)
{
    char text[ADDRESS_TEXT_MAX];
    address_format(address, text);
    return json_array_append_new(to, prefix < 0 ? json_string(text) : json_sprintf("%s/%d", text, prefix));
}

static int append_route(json_t *to, const struct address *gateway)
{
    char text[ADDRESS_TEXT_MAX];
    /* The default route in the spelling that every version of cloud-init knows. */
    return json_array_append_new(to, json_pack("{s:s, s:s}", "to", gateway->family == AF_INET ? "0.0.0.0/0" : "::/0",
                                               "via", address_format(gateway, text)));
}

static json_t *card_of(const struct seed_card *card, unsigned index)
{
    char mac[MAC_TEXT_MAX], name[16];
    json_t *addresses = json_array(), *routes = json_array(), *dns = json_array();
    bool bad = !addresses || !routes || !dns;
    for (unsigned i = 0; i < card->address_count; i++) {
        const struct seed_address *a = &card->addresses[i];
        bad = append_address(addresses, &a->address, (int)a->prefix) || bad;
        bad = (a->gateway.family && append_route(routes, &a->gateway)) || bad;
    }
    for (unsigned i = 0; i < card->dns_count; i++)
        bad = append_address(dns, &card->dns[i], -1) || bad;
    snprintf(name, sizeof name, "eth%u", index);
    json_t *object = json_pack("{s:{s:s}, s:s, s:b, s:b, s:b, s:o}", "match", "macaddress", mac_format(&card->mac, mac),
                               "set-name", name, "dhcp4", 0, "dhcp6", 0, "accept-ra", 0, "addresses", addresses);
    bad = !object || bad;
    if (card->mtu)
        bad = json_object_set_new(object, "mtu", json_integer(card->mtu)) || bad;
    if (json_array_size(routes))
        bad = json_object_set(object, "routes", routes) || bad;
    if (json_array_size(dns))
        bad = json_object_set_new(object, "nameservers", json_pack("{s:O}", "addresses", dns)) || bad;
    json_decref(routes);
    json_decref(dns);
    if (!bad)
        return object;
    json_decref(object);
    return NULL;
}

char *seed_network_config(const struct seed *seed)
{
    json_t *cards = json_object();
    bool complete = cards != NULL;
    for (unsigned i = 0; i < seed->card_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "nic%u", i);
        complete = !json_object_set_new(cards, name, card_of(&seed->cards[i], i)) && complete;
    }
    return encode("", json_pack("{s:i, s:o}", "version", 2, "ethernets", cards), complete);
}

/* ---- the image ---- */

static int complain(struct archive *archive, struct err *err)
{
    const char *said = archive_error_string(archive);
    int code = archive_errno(archive);
    return err_set(err, code > 0 ? code : EIO, "seed: cannot be written: %s",
                   said ? said : "libarchive does not say why");
}

static int add_file(struct archive *archive, const char *name, const char *text, struct err *err)
{
    struct archive_entry *entry = archive_entry_new();
    size_t length = strlen(text);
    if (!entry)
        return err_set(err, ENOMEM, "seed: no memory");
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0400); /* it may hold secrets: not for everybody in the guest */
    archive_entry_set_size(entry, (la_int64_t)length);
    archive_entry_set_mtime(entry, 0, 0); /* no moment: the guest's clock may be behind it */
    archive_entry_set_atime(entry, 0, 0);
    archive_entry_set_ctime(entry, 0, 0);
    int rc = 0;
    if (archive_write_header(archive, entry) != ARCHIVE_OK ||
        archive_write_data(archive, text, length) != (la_ssize_t)length)
        rc = complain(archive, err);
    archive_entry_free(entry);
    return rc;
}

static int open_image(struct archive *archive, int fd, struct err *err)
{
    if (archive_write_set_format_iso9660(archive) != ARCHIVE_OK ||
        archive_write_set_options(archive, "volume-id=CIDATA,!pad") != ARCHIVE_OK ||
        archive_write_open_fd(archive, fd) != ARCHIVE_OK)
        return complain(archive, err);
    return 0;
}

static int write_image(int fd, char *const texts[3], struct err *err)
{
    static const char *const names[3] = {"meta-data", "user-data", "network-config"};
    struct archive *archive = archive_write_new();
    if (!archive)
        return err_set(err, ENOMEM, "seed: no memory");
    int rc = open_image(archive, fd, err);
    for (int i = 0; !rc && i < 3; i++)
        rc = add_file(archive, names[i], texts[i], err);
    if (!rc && archive_write_close(archive) != ARCHIVE_OK) /* here it is written */
        rc = complain(archive, err);
    archive_write_free(archive);
    return rc;
}

int seed_write_fd(const struct seed *seed, int fd, struct err *err)
{
    int rc = seed_check(seed, err);
    if (rc)
        return rc;
    char *texts[3] = {seed_meta_data(seed), seed_user_data(seed), seed_network_config(seed)};
    rc = texts[0] && texts[1] && texts[2] ? write_image(fd, texts, err) : err_set(err, ENOMEM, "seed: no memory");
    for (int i = 0; i < 3; i++)
        free(texts[i]);
    return rc;
}

int seed_write(const struct seed *seed, const char *path, struct err *err)
{
    char fresh[PATH_LENGTH];
    int n = snprintf(fresh, sizeof fresh, "%s.new", path);
    if (n < 0 || n >= PATH_LENGTH)
        return err_set(err, ENAMETOOLONG, "seed %.80s...: the path is longer than %d characters", path, PATH_LENGTH);
    int rc = seed_check(seed, err);
    if (rc)
        return err_prefix(err, "seed %s", path);
    if (unlink(fresh) && errno != ENOENT) /* one that was half written when we were killed */
        return err_set(err, errno, "seed %s: cannot be removed: %s", fresh, strerror(errno));
    int fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, errno, "seed %s: cannot be made: %s", fresh, strerror(errno));
    rc = seed_write_fd(seed, fd, err);
    close(fd);
    if (!rc && rename(fresh, path))
        rc = err_set(err, errno, "seed %s: cannot be renamed: %s", fresh, strerror(errno));
    if (rc)
        unlink(fresh);
    return rc;
}
