#include "tests/unit/guest_life.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "nbd/blk_driver.h"
#include "tests/unit/scripted_engine.h"

enum { REQUEST_ID = 77 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static enum { STARTING, RUNS, REFUSED } phase; /* under lock */

int guest_life_setup(void **state)
{
    static bool registered;
    if (!registered)
        blk_drivers_register();
    registered = true;
    struct guest_life *l = calloc(1, sizeof *l);
    assert_non_null(l);
    strcpy(l->directory, "/tmp/drover-guest-XXXXXX");
    assert_non_null(mkdtemp(l->directory));
    scripted_begin(VCPU_MAX);
    *state = l;
    return 0;
}

int guest_life_teardown(void **state)
{
    struct guest_life *l = *state;
    if (l->started) {
        pthread_kill(l->thread, SIGTERM);
        guest_life_wait(l);
    }
    DIR *d = opendir(l->directory);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlink(guest_life_path(l, e->d_name));
    closedir(d);
    rmdir(l->directory);
    free(l);
    return 0;
}

const char *guest_life_path(struct guest_life *l, const char *name)
{
    snprintf(l->path, sizeof l->path, "%.31s/%.60s", l->directory, name);
    return l->path;
}

void guest_life_firmware(struct guest_life *l, const char *name, size_t bytes)
{
    uint8_t *rom = calloc(1, bytes);
    rom[bytes - 16] = 0xea; /* the jump at the reset vector */
    int fd = open(guest_life_path(l, name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, rom, bytes), bytes);
    close(fd);
    free(rom);
}

/* ---- the guest's thread ---- */

static void tell(int now)
{
    pthread_mutex_lock(&lock);
    phase = now;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void *live(void *arg)
{
    struct guest_life *l = arg;
    struct guest *guest = guest_build(&l->config, &l->files, &scripted_engine, &l->err);
    bool good = guest && guest_open(guest, &l->err) == 0;
    l->guest = guest;
    tell(good ? RUNS : REFUSED);
    if (good)
        l->rc = guest_run(guest);
    l->guest = NULL;
    l->end = guest_end(guest);
    return NULL;
}

static void write_config(struct guest_life *l, const char *json)
{
    char *to = l->json, *end = l->json + sizeof l->json;
    for (; *json; json++) {
        if (*json == '$')
            to += snprintf(to, (size_t)(end - to), "%s", l->directory);
        else
            *to++ = *json;
        assert_true(to < end);
    }
    *to = 0;
}

bool guest_life_start(struct guest_life *l, const char *json)
{
    write_config(l, json);
    json_error_t why;
    json_t *object = json_loads(l->json, 0, &why);
    if (!object)
        fail_msg("%s", why.text);
    if (guest_config_from_json(&l->config, object, &l->err))
        fail_msg("%s", l->err.text);
    json_decref(object);
    if (guest_files_open(&l->files, &l->config, &l->err))
        fail_msg("%s", l->err.text);
    phase = STARTING;
    assert_int_equal(pthread_create(&l->thread, NULL, live, l), 0);
    l->started = true;
    pthread_mutex_lock(&lock);
    while (phase == STARTING)
        pthread_cond_wait(&changed, &lock);
    bool runs = phase == RUNS;
    pthread_mutex_unlock(&lock);
    if (!runs)
        guest_life_wait(l);
    return runs;
}

int guest_life_wait(struct guest_life *l)
{
    pthread_join(l->thread, NULL);
    l->started = false;
    guest_files_close(&l->files);
    guest_config_fini(&l->config);
    return l->rc;
}

/* ---- control ---- */

int guest_life_join(struct guest_life *l)
{
    struct err err;
    int fd;
    if (message_connect(guest_life_path(l, "control"), &fd, &err))
        fail_msg("%s", err.text);
    return fd;
}

void guest_life_say(struct guest_life *l, int fd, enum control_type type, const char *body, int file)
{
    struct err err;
    struct message *m = &l->message;
    *m = (struct message){.type = (uint16_t)type, .id = REQUEST_ID, .body_bytes = strlen(body), .fds = {file}};
    m->fd_count = file >= 0;
    memcpy(m->body, body, m->body_bytes);
    if (message_send(fd, m, &err))
        fail_msg("%s", err.text);
}

int guest_life_hear(struct guest_life *l, int fd)
{
    struct err err;
    int rc = message_receive(fd, &l->message, &err);
    return rc ? rc : l->message.type;
}

int guest_life_ask(struct guest_life *l, enum control_type type, const char *body, int file)
{
    int fd = guest_life_join(l);
    guest_life_say(l, fd, type, body, file);
    int answer = guest_life_hear(l, fd);
    if (answer > 0)
        assert_int_equal(l->message.id, REQUEST_ID);
    close(fd);
    return answer;
}

void guest_life_until(struct guest_life *l, enum guest_state state)
{
    char text[32];
    snprintf(text, sizeof text, "\"state\":\"%s\"", control_state_name(state));
    do {
        assert_int_equal(guest_life_ask(l, CONTROL_STATUS, "{}", -1), CONTROL_OK);
        sched_yield();
    } while (!strstr(l->message.body, text));
}

int guest_life_save(struct guest_life *l, const char *name)
{
    int fd = open(guest_life_path(l, name), O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    int answer = guest_life_ask(l, CONTROL_SAVE, "{}", fd);
    close(fd);
    return answer;
}
