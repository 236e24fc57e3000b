/* drover-import: one image, from a URL or a file, through its decompressor, to a raw file; or the sum of one that is
 * there. A program of its own because it reads what others wrote, and the agent does not: it gives up root before the
 * first byte.
 *
 *     descriptor 3   what to do: {"url":..., "sha256":...}; no url: descriptor 5 is read.
 *                    {"check": true, "sha256":...}: descriptor 4 is only read
 *     descriptor 4   where the image goes, a new file
 *     descriptor 1   a JSON line now and then: {"bytes": N, "total": N}, and at last {"error":...} or
 *                    {"done": true, "bytes": N, "sha256": the source's, "content_sha256": the image's, if it is no
 *                    larger than what guests boot from}
 *
 * Zeroes become holes. Exit code 0: the image is whole and on stable storage; or it has that sum. */
#include <archive.h>
#include <curl/curl.h>
#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/boot_image.h"
#include "node/base/clock.h"

enum {
    CONFIG_FD = 3,
    OUTPUT_FD = 4,
    SOURCE_FD = 5,
    CONFIG_MAX = 16 << 10,
    BLOCK = 64 << 10,
    RECEIVE_MAX = 4 << 20, /* what waits for the decompressor */
    MEMORY_MAX_MIB = 1024,
    STALL_SECONDS = 60,
    PROGRESS_MS = 500,
};

struct import {
    CURL *easy;
    CURLM *multi;
    char *received;
    size_t received_bytes, given_bytes; /* what the decompressor was given goes with its next call */
    bool paused, ended;
    char trouble[CURL_ERROR_SIZE];
    EVP_MD_CTX *digest, *content; /* of the source, and of the image: NULL if both are the same */
    uint64_t source_bytes, source_total, image_bytes;
    uint64_t told_ns;
    char chunk[BLOCK];
};

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_t *line = json_pack("{s:s}", "error", text);
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    _exit(EXIT_FAILURE);
}

static void tell(struct import *im)
{
    if (clock_ns() - im->told_ns < PROGRESS_MS * 1000000ull)
        return;
    im->told_ns = clock_ns();
    printf("{\"bytes\":%llu,\"total\":%llu}\n", (unsigned long long)im->source_bytes,
           (unsigned long long)im->source_total);
    fflush(stdout);
}

/* ---- from the network ---- */

static size_t receive(char *data, size_t size, size_t count, void *context)
{
    struct import *im = context;
    size_t bytes = size * count;
    if (im->received_bytes + bytes > RECEIVE_MAX) {
        im->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    memcpy(im->received + im->received_bytes, data, bytes);
    im->received_bytes += bytes;
    return bytes;
}

static void open_url(struct import *im, const char *url)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    im->easy = curl_easy_init();
    im->multi = curl_multi_init();
    im->received = malloc(RECEIVE_MAX);
    if (!im->easy || !im->multi || !im->received)
        fail("out of memory");
    curl_easy_setopt(im->easy, CURLOPT_URL, url);
    curl_easy_setopt(im->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(im->easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(im->easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(im->easy, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(im->easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(im->easy, CURLOPT_CONNECTTIMEOUT, 30L);
    curl_easy_setopt(im->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(im->easy, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
    curl_easy_setopt(im->easy, CURLOPT_USERAGENT, "drover");
    curl_easy_setopt(im->easy, CURLOPT_ERRORBUFFER, im->trouble);
    curl_easy_setopt(im->easy, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(im->easy, CURLOPT_WRITEDATA, im);
    curl_multi_add_handle(im->multi, im->easy);
}

static void take_end(struct import *im)
{
    int left;
    CURLMsg *m = curl_multi_info_read(im->multi, &left);
    if (!m || m->msg != CURLMSG_DONE)
        return;
    if (m->data.result != CURLE_OK)
        fail("the source cannot be read: %s", *im->trouble ? im->trouble : curl_easy_strerror(m->data.result));
    im->ended = true;
}

static la_ssize_t pull_url(struct import *im, const void **data)
{
    im->received_bytes -= im->given_bytes;
    memmove(im->received, im->received + im->given_bytes, im->received_bytes);
    im->given_bytes = 0;
    while (!im->received_bytes && !im->ended) {
        int running;
        if (im->paused) {
            im->paused = false;
            curl_easy_pause(im->easy, CURLPAUSE_CONT);
        }
        if (curl_multi_perform(im->multi, &running) != CURLM_OK)
            fail("the source cannot be read");
        take_end(im);
        if (!im->received_bytes && !im->ended)
            curl_multi_poll(im->multi, NULL, 0, 1000, NULL);
    }
    curl_off_t total = -1;
    curl_easy_getinfo(im->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &total);
    im->source_total = total > 0 ? (uint64_t)total : 0;
    im->given_bytes = im->received_bytes;
    *data = im->received;
    return (la_ssize_t)im->received_bytes;
}

/* ---- from either ---- */

static la_ssize_t pull_file(struct import *im, const void **data)
{
    ssize_t n = read(SOURCE_FD, im->chunk, sizeof im->chunk);
    if (n < 0)
        fail("the source cannot be read: %s", strerror(errno));
    *data = im->chunk;
    return n;
}

static EVP_MD_CTX *begin_sum(void)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    if (!digest || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
        fail("SHA-256 does not work");
    return digest;
}

static void add_to_sum(EVP_MD_CTX *digest, const void *data, size_t bytes)
{
    if (EVP_DigestUpdate(digest, data, bytes) != 1)
        fail("SHA-256 does not work");
}

static const char *end_sum(EVP_MD_CTX *digest, char hex[2 * EVP_MAX_MD_SIZE + 1])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned bytes = 0;
    if (EVP_DigestFinal_ex(digest, sum, &bytes) != 1)
        fail("SHA-256 does not work");
    for (unsigned i = 0; i < bytes; i++)
        sprintf(hex + 2 * i, "%02x", sum[i]);
    return hex;
}

static la_ssize_t pull(struct archive *archive, void *context, const void **data)
{
    struct import *im = context;
    (void)archive;
    la_ssize_t n = im->easy ? pull_url(im, data) : pull_file(im, data);
    if (n > 0)
        add_to_sum(im->digest, *data, (size_t)n);
    im->source_bytes += (uint64_t)n;
    tell(im);
    return n;
}

/* The sum is of the whole source, also of what the decompressor left. */
static void drain(struct import *im)
{
    const void *data;
    while (pull(NULL, im, &data) > 0)
        ;
}

/* ---- to the file ---- */

static bool is_zero(const char *data, size_t bytes)
{
    return !data[0] && !memcmp(data, data + 1, bytes - 1);
}

/* What is too large to boot from needs no sum. */
static void sum_content(struct import *im, const char *data, size_t bytes, uint64_t at)
{
    static const char zeroes[BLOCK];
    if (!im->content || at + bytes > BOOT_IMAGE_BYTES_MAX)
        return;
    for (uint64_t gap = at - im->image_bytes; gap;) {
        size_t n = gap < sizeof zeroes ? gap : sizeof zeroes;
        add_to_sum(im->content, zeroes, n);
        gap -= n;
    }
    add_to_sum(im->content, data, bytes);
}

static void put(struct import *im, const char *data, size_t bytes, int64_t at)
{
    sum_content(im, data, bytes, (uint64_t)at);
    for (size_t done = 0; done < bytes;) {
        /* whole blocks, so that a zero one becomes a hole */
        size_t n = BLOCK - ((size_t)at + done) % BLOCK;
        if (n > bytes - done)
            n = bytes - done;
        if (!is_zero(data + done, n)) {
            ssize_t written = pwrite(OUTPUT_FD, data + done, n, (off_t)at + (off_t)done);
            if (written != (ssize_t)n)
                fail("the image cannot be written: %s", written < 0 ? strerror(errno) : "the disk is full");
        }
        done += n;
    }
    im->image_bytes = (uint64_t)at + bytes;
}

static void unpack(struct import *im)
{
    struct archive *a = archive_read_new();
    struct archive_entry *entry;
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_filter_lz4(a);
    archive_read_support_format_raw(a);
    if (archive_read_open(a, im, NULL, pull, NULL) != ARCHIVE_OK || archive_read_next_header(a, &entry) != ARCHIVE_OK)
        fail("the source is no image: %s", im->source_bytes ? archive_error_string(a) : "it is empty");
    if (archive_filter_count(a) > 1) /* it is unpacked */
        im->content = begin_sum();
    for (;;) {
        const void *data;
        size_t bytes;
        la_int64_t at;
        int rc = archive_read_data_block(a, &data, &bytes, &at);
        if (rc == ARCHIVE_EOF)
            break;
        if (rc < ARCHIVE_WARN)
            fail("the source cannot be unpacked: %s", archive_error_string(a));
        if (bytes)
            put(im, data, bytes, at);
    }
    drain(im);
    archive_read_free(a);
}

/* ---- the whole ---- */

static json_t *read_config(void)
{
    static char text[CONFIG_MAX];
    ssize_t n = pread(CONFIG_FD, text, sizeof text - 1, 0);
    json_t *config = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
    if (!json_is_object(config)) {
        fprintf(stderr, "drover-import is started by droverd, which says on descriptor 3 what to do\n");
        exit(2);
    }
    close(CONFIG_FD);
    return config;
}

/* No core file (a URL may hold a password), no other user's files, no more memory than an image needs. */
static void give_up_privileges(void)
{
    struct rlimit none = {0, 0}, memory = {(rlim_t)MEMORY_MAX_MIB << 20, (rlim_t)MEMORY_MAX_MIB << 20};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
#ifndef __SANITIZE_ADDRESS__ /* its shadow alone is larger */
    setrlimit(RLIMIT_AS, &memory);
#else
    (void)memory;
#endif
    if (geteuid() == 0) {
        const struct passwd *user = getpwnam("nobody");
        if (!user || setgroups(0, NULL) || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) ||
            setresuid(user->pw_uid, user->pw_uid, user->pw_uid))
            fail("the user nobody cannot be taken on: %s", user ? strerror(errno) : "there is none");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        fail("privileges cannot be given up: %s", strerror(errno));
}

static void check_sum(const char *what, const json_t *config, const char *hex)
{
    const char *wanted = json_string_value(json_object_get(config, "sha256"));
    if (wanted && strcmp(wanted, hex))
        fail("the %s has the SHA-256 %s, and %s was wanted: it is damaged, or another one", what, hex, wanted);
}

static void import(struct import *im, const json_t *config)
{
    char source[2 * EVP_MAX_MD_SIZE + 1], content[2 * EVP_MAX_MD_SIZE + 1];
    const char *url = json_string_value(json_object_get(config, "url"));
    struct stat st;
    if (url)
        open_url(im, url);
    else if (!fstat(SOURCE_FD, &st))
        im->source_total = (uint64_t)st.st_size;
    unpack(im);
    check_sum("source", config, end_sum(im->digest, source));
    if (ftruncate(OUTPUT_FD, (off_t)im->image_bytes) || fsync(OUTPUT_FD))
        fail("the image cannot be written: %s", strerror(errno));
    json_t *line = json_pack("{s:b, s:I, s:s}", "done", 1, "bytes", (json_int_t)im->image_bytes, "sha256", source);
    if (im->image_bytes <= BOOT_IMAGE_BYTES_MAX)
        json_object_set_new(line, "content_sha256", json_string(im->content ? end_sum(im->content, content) : source));
    json_dumpf(line, stdout, JSON_COMPACT);
}

/* Of an image that is there. */
static void check(struct import *im, const json_t *config)
{
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    ssize_t n;
    while ((n = pread(OUTPUT_FD, im->chunk, sizeof im->chunk, (off_t)im->image_bytes)) > 0) {
        add_to_sum(im->digest, im->chunk, (size_t)n);
        im->image_bytes += (uint64_t)n;
    }
    if (n < 0)
        fail("the image cannot be read: %s", strerror(errno));
    check_sum("image", config, end_sum(im->digest, hex));
    json_t *line = json_pack("{s:b, s:I, s:s}", "done", 1, "bytes", (json_int_t)im->image_bytes, "content_sha256", hex);
    json_dumpf(line, stdout, JSON_COMPACT);
}

int main(void)
{
    static struct import im;
    json_t *config = read_config();
    give_up_privileges();
    im.digest = begin_sum();
    if (json_is_true(json_object_get(config, "check")))
        check(&im, config);
    else
        import(&im, config);
    putchar('\n');
    fflush(stdout);
    _exit(EXIT_SUCCESS); /* nobody may trace us any more, which a search for leaks at exit would have to */
}
