#include "node/agent/power_redfish.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/base/err.h"

enum { ANSWER_MAX = 1 << 18 };

struct answer {
    char text[ANSWER_MAX];
    size_t bytes;
};

static size_t receive(char *data, size_t size, size_t count, void *context)
{
    struct answer *a = context;
    size_t bytes = size * count;
    if (bytes > sizeof a->text - a->bytes)
        return 0; /* ends the transfer */
    memcpy(a->text + a->bytes, data, bytes);
    a->bytes += bytes;
    return bytes;
}

static CURLcode get(CURL *easy, const json_t *way, const char *ca, const char *password, struct answer *answer,
                    long *status)
{
    struct curl_blob blob = {.data = (void *)(uintptr_t)ca, .len = ca ? strlen(ca) : 0, .flags = CURL_BLOB_COPY};
    curl_easy_setopt(easy, CURLOPT_URL, member_text(way, "redfish"));
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    curl_easy_setopt(easy, CURLOPT_USERNAME, member_text(way, "user"));
    curl_easy_setopt(easy, CURLOPT_PASSWORD, password);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)POWER_REDFISH_SECONDS);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    if (ca)
        curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, status);
    return code;
}

static int read_answer(const char *url, const struct answer *answer, bool *off, struct err *err)
{
    json_t *system = json_loadb(answer->text, answer->bytes, 0, NULL);
    const char *state = json_string_value(json_object_get(system, "PowerState"));
    int rc = state ? 0 : err_set(err, EPROTO, "%s: no PowerState: is it the resource of a computer system?", url);
    if (state)
        *off = !strcmp(state, "Off");
    json_decref(system);
    return rc;
}

int power_redfish_ask(const json_t *way, const char *ca, const char *password, bool *off, struct err *err)
{
    static struct answer answer; /* large; a process asks once at a time */
    const char *url = member_text(way, "redfish");
    CURL *easy = curl_easy_init();
    long status = 0;
    if (!easy)
        return err_set(err, ENOMEM, "out of memory");
    answer.bytes = 0;
    CURLcode code = get(easy, way, ca, password, &answer, &status);
    curl_easy_cleanup(easy);
    if (code)
        return err_set(err, EHOSTUNREACH, "%s: %s", url, curl_easy_strerror(code));
    if (status == 401 || status == 403)
        return err_set(err, EACCES, "%s: user '%s' and its password are refused (%ld)", url, member_text(way, "user"),
                       status);
    if (status != 200)
        return err_set(err, EPROTO, "%s: answers with %ld", url, status);
    return read_answer(url, &answer, off, err);
}
