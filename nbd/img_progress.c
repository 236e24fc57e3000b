#include "nbd/img_progress.h"

#include <string.h>
#include <unistd.h>

#include "node/base/container.h"
#include "node/base/units.h"

enum { BAR = 24, LINE_MAX_BYTES = 128, PERIOD_NS = 200000000 };

const char *const img_progress_choices[] = {"auto", "always", "never", NULL};

static const uint64_t SECOND_NS = 1000000000;

static void format_left(uint64_t seconds, char *buffer, size_t len)
{
    if (seconds >= 3600)
        snprintf(buffer, len, "%lluh%02llum", (unsigned long long)(seconds / 3600),
                 (unsigned long long)(seconds / 60 % 60));
    else if (seconds >= 60)
        snprintf(buffer, len, "%llum%02llus", (unsigned long long)(seconds / 60), (unsigned long long)(seconds % 60));
    else
        snprintf(buffer, len, "%llus", (unsigned long long)seconds);
}

char *img_progress_line(uint64_t done_bytes, uint64_t total_bytes, uint64_t elapsed_ns, char *buffer, size_t len)
{
    double share = total_bytes ? (double)done_bytes / (double)total_bytes : 1;
    int filled = (int)(share * BAR);
    char bar[BAR + 1], done[24], total[24], rate[24] = "-", left[24] = "-";
    memset(bar, '=', BAR);
    memset(bar + filled, ' ', (size_t)(BAR - filled));
    if (filled < BAR)
        bar[filled] = '>';
    bar[BAR] = 0;
    if (elapsed_ns && done_bytes) {
        double per_second = (double)done_bytes * (double)SECOND_NS / (double)elapsed_ns;
        units_format_size((uint64_t)per_second, rate, sizeof rate);
        format_left((uint64_t)((double)(total_bytes - done_bytes) / per_second), left, sizeof left);
    }
    snprintf(buffer, len, "%5.1f%% [%s] %s of %s, %s/s, %s left", share * 100, bar,
             units_format_size(done_bytes, done, sizeof done), units_format_size(total_bytes, total, sizeof total),
             rate, left);
    return buffer;
}

static void draw(struct img_progress *p)
{
    char line[LINE_MAX_BYTES];
    uint64_t done = p->done_bytes(p->context);
    img_progress_line(done < p->total_bytes ? done : p->total_bytes, p->total_bytes, loop_now_ns(p->loop) - p->begin_ns,
                      line, sizeof line);
    fprintf(p->out, "\r%s\033[K", line); /* and clear what a longer line left */
    fflush(p->out);
}

static void tick(struct loop_timer *timer)
{
    struct img_progress *p = CONTAINER_OF(timer, struct img_progress, timer);
    draw(p);
    loop_timer_set(p->loop, &p->timer, loop_now_ns(p->loop) + PERIOD_NS);
}

void img_progress_start(struct img_progress *progress, struct loop *loop, enum img_progress_when when,
                        uint64_t total_bytes, uint64_t (*done_bytes)(void *context), void *context)
{
    *progress = (struct img_progress){
        .loop = loop,
        .timer.fire = tick,
        .out = stderr,
        .begin_ns = loop_now_ns(loop),
        .total_bytes = total_bytes,
        .done_bytes = done_bytes,
        .context = context,
        .shown = when == IMG_PROGRESS_ALWAYS || (when == IMG_PROGRESS_AUTO && isatty(STDERR_FILENO)),
    };
    if (progress->shown)
        tick(&progress->timer);
}

void img_progress_stop(struct img_progress *progress)
{
    loop_timer_clear(progress->loop, &progress->timer);
    if (progress->shown) {
        draw(progress);
        fputc('\n', progress->out);
    }
    progress->shown = false;
}
