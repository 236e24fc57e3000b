/* See schema_value.h. */
#include "node/agent/schema_value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/units.h"

enum { NAME_MAX_BYTES = 63, NS_PER_MS = 1000000 };

static const struct {
    const char *word, *example;
} types[] = {
    [SCHEMA_STRING] = {"string", NULL},
    [SCHEMA_TEXT] = {"text", NULL},
    [SCHEMA_INT] = {"whole number", NULL},
    [SCHEMA_NUMBER] = {"number", NULL},
    [SCHEMA_BOOL] = {"bool", "true"},
    [SCHEMA_SIZE] = {"size", "20G"},
    [SCHEMA_DURATION] = {"duration", "30s"},
    [SCHEMA_NAME] = {"name", "web-1"},
    [SCHEMA_REF] = {"name or id", "web-1"},
    [SCHEMA_UUID] = {"UUID", "7b0c4f4e-3c55-4f0e-9f3a-2d4c8a1b5e60"},
    [SCHEMA_IP] = {"IP address", "10.7.0.5"},
    [SCHEMA_CIDR] = {"subnet", "10.7.0.0/24"},
    [SCHEMA_IP_CIDR] = {"address with prefix", "10.7.0.5/24"},
    [SCHEMA_MAC] = {"MAC address", "52:54:00:12:34:56"},
    [SCHEMA_TIME] = {"time", "2026-11-26T04:00:00Z"},
    [SCHEMA_URL] = {"URL", "https://images.example.org/debian-12.raw.xz"},
    [SCHEMA_ENUM] = {"word of the list", NULL},
    [SCHEMA_OBJECT] = {"object", NULL},
    [SCHEMA_MAP] = {"object", NULL},
    [SCHEMA_ARRAY] = {"array", NULL},
    [SCHEMA_ANY] = {"value", NULL},
};

const char *schema_value_word(enum schema_type type)
{
    return types[type].word;
}

const char *schema_value_example(enum schema_type type)
{
    return types[type].example;
}

/* ---- names and ids ---- */

static bool is_alnum(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9');
}

const char *schema_name_error(const char *text)
{
    size_t len = strlen(text);
    if (!len)
        return "is empty; a name has 1 to 63 characters";
    if (len > NAME_MAX_BYTES)
        return "is too long for a name; at most 63 characters";
    for (const char *p = text; *p; p++) {
        if (*p >= 'A' && *p <= 'Z')
            return "is no name: write small letters";
        if (!is_alnum(*p) && *p != '-' && *p != '.')
            return "is no name: letters a to z, digits, '-' and '.' are allowed";
    }
    if (!is_alnum(text[0]) || !is_alnum(text[len - 1]))
        return "is no name: it starts and ends with a letter or a digit";
    if (schema_is_uuid(text))
        return "is no name: it would be taken for an id";
    return NULL;
}

bool schema_is_uuid(const char *text)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (strlen(text) != sizeof form - 1)
        return false;
    for (unsigned i = 0; i < sizeof form - 1; i++)
        if (form[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    return true;
}

bool schema_value_is_key(const char *text)
{
    size_t len = strlen(text);
    if (!len || len > NAME_MAX_BYTES)
        return false;
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("-_./", *p))
            return false;
    return true;
}

static const char *judge_uuid(const char *text, char *canonical)
{
    if (!schema_is_uuid(text))
        return "";
    for (unsigned i = 0; text[i]; i++)
        canonical[i] = (char)tolower((unsigned char)text[i]);
    return NULL;
}

static const char *judge_mac(const char *text, char *canonical)
{
    static const char form[] = "xx:xx:xx:xx:xx:xx";
    if (strlen(text) != sizeof form - 1)
        return "";
    for (unsigned i = 0; i < sizeof form - 1; i++) {
        if (form[i] == ':' ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
            return "";
        canonical[i] = (char)tolower((unsigned char)text[i]);
    }
    if (strchr("13579bdf", canonical[1]))
        return "is a multicast address; the second digit must be even, as in 52:54:00:12:34:56";
    return strcmp(canonical, "00:00:00:00:00:00") == 0 ? "is no address of a device" : NULL;
}

/* ---- addresses ---- */

/* Family, and the address's bytes; 0: none. */
static int parse_ip(const char *text, uint8_t bytes[16])
{
    if (inet_pton(AF_INET, text, bytes) == 1)
        return AF_INET;
    return inet_pton(AF_INET6, text, bytes) == 1 ? AF_INET6 : 0;
}

static const char *judge_ip(const char *text, char *canonical)
{
    uint8_t bytes[16];
    int family = parse_ip(text, bytes);
    if (!family)
        return "";
    inet_ntop(family, bytes, canonical, SCHEMA_CANONICAL_MAX);
    return NULL;
}

static const char *judge_cidr(const char *text, bool host_bits, char *canonical)
{
    char address[48], spelled[48];
    uint8_t bytes[16] = {0};
    const char *slash = strchr(text, '/');
    if (!slash || (size_t)(slash - text) >= sizeof address)
        return "";
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = 0;
    int family = parse_ip(address, bytes), width = family == AF_INET ? 32 : 128;
    size_t digits = strlen(slash + 1);
    if (!family || !digits || digits > 3 || strspn(slash + 1, "0123456789") != digits)
        return "";
    int prefix = atoi(slash + 1);
    if (prefix > width)
        return "has a prefix longer than the address";
    for (int bit = prefix; !host_bits && bit < width; bit++)
        if (bytes[bit / 8] & (0x80 >> bit % 8))
            return "is no subnet: bits behind the prefix are set; write the first address, as in 10.7.0.0/24";
    inet_ntop(family, bytes, spelled, sizeof spelled);
    snprintf(canonical, SCHEMA_CANONICAL_MAX, "%s/%d", spelled, prefix);
    return NULL;
}

/* ---- times and URLs ---- */

static bool in_range(const char *text, unsigned at, unsigned digits, int low, int high)
{
    int n = 0;
    for (unsigned i = at; i < at + digits; i++)
        n = n * 10 + (text[i] - '0');
    return n >= low && n <= high;
}

/* RFC 3339 with Z; a fraction of a second is allowed. */
static const char *judge_time(const char *text)
{
    static const char form[] = "0000-00-00T00:00:00";
    size_t len = strlen(text);
    if (len < sizeof form)
        return "";
    for (unsigned i = 0; i < sizeof form - 1; i++)
        if (form[i] == '0' ? !isdigit((unsigned char)text[i]) : text[i] != form[i])
            return "";
    const char *p = text + sizeof form - 1;
    if (*p == '.') {
        size_t digits = strspn(p + 1, "0123456789");
        if (!digits || digits > 9)
            return "";
        p += 1 + digits;
    }
    if (strcmp(p, "Z") != 0)
        return "";
    bool right = in_range(text, 5, 2, 1, 12) && in_range(text, 8, 2, 1, 31) && in_range(text, 11, 2, 0, 23) &&
                 in_range(text, 14, 2, 0, 59) && in_range(text, 17, 2, 0, 60);
    return right ? NULL : "";
}

static const char *judge_url(const char *text)
{
    const char *host = strncmp(text, "https://", 8) == 0  ? text + 8
                       : strncmp(text, "http://", 7) == 0 ? text + 7
                                                          : NULL;
    if (!host)
        return "";
    size_t len = strcspn(host, "/?#");
    if (!len)
        return "has no host";
    if (memchr(host, '@', len))
        return "holds a user or a password, which would be kept and shown; leave them out";
    for (const char *p = host; *p; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p > '~' || strchr("\"<>\\^`{|}", *p))
            return "holds a character that must be percent-coded";
    return NULL;
}

const char *schema_value_judge(enum schema_type type, const char *text, char canonical[SCHEMA_CANONICAL_MAX])
{
    memset(canonical, 0, SCHEMA_CANONICAL_MAX);
    switch (type) {
    case SCHEMA_NAME:
        return schema_name_error(text);
    case SCHEMA_REF:
        return schema_is_uuid(text) ? judge_uuid(text, canonical) : schema_name_error(text);
    case SCHEMA_UUID:
        return judge_uuid(text, canonical);
    case SCHEMA_IP:
        return judge_ip(text, canonical);
    case SCHEMA_CIDR:
        return judge_cidr(text, false, canonical);
    case SCHEMA_IP_CIDR:
        return judge_cidr(text, true, canonical);
    case SCHEMA_MAC:
        return judge_mac(text, canonical);
    case SCHEMA_TIME:
        return judge_time(text);
    case SCHEMA_URL:
        return judge_url(text);
    default:
        return NULL;
    }
}

/* ---- quantities ---- */

bool schema_value_quantity(enum schema_type type, const char *text, uint64_t *quantity)
{
    if (type == SCHEMA_SIZE)
        return units_parse_size(text, quantity, NULL) == 0;
    uint64_t ns;
    if (units_parse_duration(text, &ns, NULL) || (ns && ns < NS_PER_MS))
        return false;
    *quantity = ns / NS_PER_MS;
    return true;
}

void schema_value_format(enum schema_type type, uint64_t quantity, char *text, size_t len)
{
    if (type == SCHEMA_SIZE)
        units_format_size(quantity, text, len);
    else if (quantity % 1000 == 0)
        snprintf(text, len, "%llus", (unsigned long long)(quantity / 1000));
    else
        snprintf(text, len, "%llums", (unsigned long long)quantity);
}
