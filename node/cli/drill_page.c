#include "node/cli/drill_page.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { WIDTH = 960, LEFT = 150, RIGHT = 20, LANE = 26, BAR = 14, TOP = 34, TICKS = 8, LANES_MAX = 64 };

static const json_t *member(const json_t *object, const char *key)
{
    return json_object_get(object, key);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(member(object, key));
    return text ? text : "";
}

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(member(object, key));
}

static bool is_so(const json_t *object, const char *key)
{
    return json_is_true(member(object, key));
}

/* As text of HTML and of attributes; control characters, which XML does not have, are left out. */
static void put(FILE *f, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '&':
            fputs("&amp;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        default:
            if ((unsigned char)*text >= ' ')
                fputc(*text, f);
        }
}

/* ---- the picture ---- */

struct picture {
    FILE *file;
    int64_t span_ms, began_ms;
    int y;
};

static double x_of(const struct picture *p, int64_t ms)
{
    int64_t at = ms < 0 ? 0 : ms > p->span_ms ? p->span_ms : ms;
    return LEFT + (double)at * (WIDTH - LEFT - RIGHT) / (double)p->span_ms;
}

static void put_lane(struct picture *p, const char *name)
{
    fprintf(p->file,
            "<line class=\"lane\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n<text x=\"%d\" y=\"%d\" class=\"name\">",
            LEFT, p->y + BAR / 2, WIDTH - RIGHT, p->y + BAR / 2, LEFT - 8, p->y + BAR - 3);
    put(p->file, name);
    fputs("</text>\n", p->file);
}

/* from and to: milliseconds since the beginning. */
static void put_bar(const struct picture *p, const char *class, int64_t from, int64_t to, const char *title)
{
    double x = x_of(p, from), width = x_of(p, to) - x;
    fprintf(p->file, "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"><title>", class, x, p->y,
            width < 1 ? 1 : width, BAR);
    put(p->file, title);
    fputs("</title></rect>\n", p->file);
}

/* A step of 1, 2 or 5 times a power of ten seconds, so that there are few. */
static int64_t tick_ms(int64_t span_ms)
{
    static const int64_t steps[] = {1000, 2000, 5000, 10000, 20000, 30000, 60000, 120000, 300000, 600000, 1800000};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (span_ms / steps[i] <= TICKS)
            return steps[i];
    return span_ms / TICKS + 1;
}

static void put_axis(const struct picture *p, int bottom)
{
    int64_t step = tick_ms(p->span_ms);
    for (int64_t ms = 0; ms <= p->span_ms; ms += step) {
        double x = x_of(p, ms);
        fprintf(p->file, "<line class=\"tick\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", x, TOP - 8, x, bottom);
        fprintf(p->file, "<text class=\"time\" x=\"%.1f\" y=\"%d\">%" PRId64 " s</text>\n", x, TOP - 14, ms / 1000);
    }
}

static int64_t since(const struct picture *p, int64_t at_ms)
{
    return at_ms ? at_ms - p->began_ms : 0;
}

static void put_guest(struct picture *p, const json_t *guest, const json_t *state)
{
    int64_t fault = number_of(state, "fault_ms"), outage = number_of(guest, "outage_ms"),
            up = number_of(guest, "up_ms");
    bool down = number_of(guest, "down_ms");
    char title[160];
    put_lane(p, text_of(guest, "guest"));
    put_bar(p, "runs", 0, p->span_ms, text_of(guest, "guest"));
    if (!fault || (!outage && !down))
        return;
    snprintf(title, sizeof title, "down for %" PRId64 " ms", down ? p->span_ms - since(p, fault) : outage);
    put_bar(p, "down", since(p, fault), down ? p->span_ms : since(p, up), title);
}

static void put_dots(const struct picture *p, const json_t *timeline, int y)
{
    size_t i;
    json_t *line;
    json_array_foreach (timeline, i, line) {
        fprintf(p->file, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%d\" r=\"5\"><title>", text_of(line, "kind"),
                x_of(p, number_of(line, "ms")), y + BAR / 2);
        put(p->file, text_of(line, "text"));
        fputs("</title></circle>\n", p->file);
    }
}

/* When the node was seen to be away, from the timeline's words of kind "node": by turns it is lost and back. */
static void put_node(struct picture *p, const json_t *timeline, const char *node)
{
    size_t i;
    json_t *line;
    int64_t lost = -1;
    put_lane(p, node);
    put_bar(p, "runs", 0, p->span_ms, node);
    json_array_foreach (timeline, i, line) {
        if (strcmp(text_of(line, "kind"), "node") != 0)
            continue;
        if (lost < 0)
            lost = number_of(line, "ms");
        else {
            put_bar(p, "down", lost, number_of(line, "ms"), "without a lease");
            lost = -1;
        }
    }
    if (lost >= 0)
        put_bar(p, "down", lost, p->span_ms, "without a lease");
}

static void put_picture(FILE *f, const json_t *drill)
{
    const json_t *state = member(drill, "state"), *timeline = member(state, "timeline"),
                 *guests = member(state, "guests");
    const json_t *last = json_array_get(timeline, json_array_size(timeline) - 1);
    struct picture p = {
        .file = f, .span_ms = number_of(last, "ms"), .began_ms = number_of(state, "began_ms"), .y = TOP};
    size_t lanes = json_array_size(guests) < LANES_MAX ? json_array_size(guests) : LANES_MAX;
    int height = TOP + LANE * (int)(lanes + 3) + 8;
    int64_t fault = number_of(state, "fault_ms"), heal = number_of(state, "heal_at_ms");
    p.span_ms = p.span_ms < 1000 ? 1000 : p.span_ms;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"timeline\">\n",
            WIDTH, height);
    put_axis(&p, height - 8);
    put_lane(&p, "fault");
    if (fault)
        put_bar(&p, "fault", since(&p, fault), heal ? since(&p, heal) : p.span_ms,
                text_of(member(drill, "spec"), "kind"));
    p.y += LANE;
    put_node(&p, timeline, text_of(member(drill, "spec"), "node"));
    for (size_t i = 0; i < lanes; i++) {
        p.y += LANE;
        put_guest(&p, json_array_get(guests, i), state);
    }
    p.y += LANE;
    put_lane(&p, "events");
    put_dots(&p, timeline, p.y);
    fputs("</svg>\n", f);
}

/* ---- the tables ---- */

static const char style[] =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 "
    "1rem;color:#1c2530;background:#fff}"
    "h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #dde3ea;vertical-align:top}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}.sum{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}"
    ".sum div{border:1px solid #dde3ea;border-radius:6px;padding:.5rem 1rem}.sum b{display:block;font-size:1.3rem}"
    ".bad{color:#b3261e}.good{color:#1b7f4b}svg{width:100%;height:auto;margin-top:.5rem}"
    "svg text{font-size:12px;fill:#44515f}svg .name{text-anchor:end}svg .time{text-anchor:middle}.lane{stroke:#eef1f5}"
    ".tick{stroke:#dde3ea}rect.runs{fill:#bfe3cf}rect.down{fill:#d9534f}rect.fault{fill:#e0a030}"
    "circle{fill:#44515f}circle.fault{fill:#e0a030}circle.node{fill:#3465a4}circle.guest{fill:#1b7f4b}"
    "circle.canary{fill:#8e44ad}@media(prefers-color-scheme:dark){body{color:#dbe2ea;background:#14191f}"
    "td,th,.sum div{border-color:#2c3642}svg text{fill:#aab6c3}.lane,.tick{stroke:#2c3642}rect.runs{fill:#27553d}}";

__attribute__((format(printf, 4, 5))) static void put_sum(FILE *f, const char *title, const char *class,
                                                          const char *format, ...)
{
    va_list args;
    fprintf(f, "<div>%s<b class=\"%s\">", title, class);
    va_start(args, format);
    vfprintf(f, format, args);
    va_end(args);
    fputs("</b></div>\n", f);
}

static void put_summary(FILE *f, const json_t *drill)
{
    const json_t *state = member(drill, "state"), *result = member(state, "result");
    bool is_good = !strcmp(text_of(state, "phase"), "done"), has_canary = number_of(result, "canaries");
    int64_t lost = number_of(result, "lost_writes");
    fputs("<div class=\"sum\">\n", f);
    put_sum(f, "outcome", is_good ? "good" : "bad", "%s", text_of(state, "phase"));
    put_sum(f, "longest outage of a guest (RTO)", "", "%.1f s", (double)number_of(result, "rto_ms") / 1e3);
    if (has_canary) {
        put_sum(f, "acknowledged writes lost (RPO)", lost ? "bad" : "good", "%" PRId64, lost);
        put_sum(f, "longest silence of a canary", "", "%.1f s", (double)number_of(result, "silent_ms") / 1e3);
    }
    fputs("</div>\n", f);
}

static void put_cell(FILE *f, const char *text)
{
    fputs("<td>", f);
    put(f, text);
    fputs("</td>", f);
}

static void put_guests(FILE *f, const json_t *guests)
{
    size_t i;
    json_t *g;
    fputs(
        "<h2>Guests</h2>\n<table><tr><th>guest</th><th>was on</th><th>protected</th><th>outage</th><th>taken over</th>"
        "<th>acknowledged</th><th>lost</th><th>silent</th></tr>\n",
        f);
    json_array_foreach (guests, i, g) {
        fputs("<tr>", f);
        put_cell(f, text_of(g, "guest"));
        put_cell(f, text_of(g, "node"));
        put_cell(f, is_so(g, "protected") ? "yes" : "no");
        if (number_of(g, "down_ms"))
            fputs("<td class=\"n bad\">down</td>", f);
        else
            fprintf(f, "<td class=\"n\">%" PRId64 " ms</td>", number_of(g, "outage_ms"));
        fprintf(f, "<td class=\"n\">%" PRId64 " times so far</td>", number_of(g, "failovers"));
        if (is_so(g, "canary"))
            fprintf(f,
                    "<td class=\"n\">%" PRId64 "</td><td class=\"n\">%" PRId64 "</td><td class=\"n\">%" PRId64
                    " ms</td>",
                    number_of(g, "acked"), number_of(g, "lost"), number_of(g, "silent_ms"));
        else
            fputs("<td></td><td></td><td></td>", f);
        fputs("</tr>\n", f);
    }
    fputs("</table>\n", f);
}

static void put_blast(FILE *f, const json_t *blast)
{
    size_t i;
    json_t *line;
    fputs("<h2>Declared before</h2>\n<table><tr><th>guest or volume</th><th>what was expected</th></tr>\n", f);
    json_array_foreach (member(blast, "guests"), i, line) {
        fputs("<tr>", f);
        put_cell(f, text_of(line, "guest"));
        fputs("<td>", f);
        put(f, text_of(line, "effect"));
        if (*text_of(line, "next")) {
            fputs(": ", f);
            put(f, text_of(line, "next"));
        }
        fputs("</td></tr>\n", f);
    }
    json_array_foreach (member(blast, "volumes"), i, line) {
        fputs("<tr>", f);
        put_cell(f, text_of(line, "volume"));
        fprintf(f, "<td>%" PRId64 " of %" PRId64 " members in sync left, %" PRId64 " needed</td></tr>\n",
                number_of(line, "left"), number_of(line, "members"), number_of(line, "needed"));
    }
    fputs("</table>\n", f);
}

static void put_timeline(FILE *f, const json_t *timeline)
{
    size_t i;
    json_t *line;
    fputs("<h2>Moment by moment</h2>\n<table><tr><th>s</th><th>time of day</th><th>of</th><th>what</th></tr>\n", f);
    json_array_foreach (timeline, i, line) {
        fprintf(f, "<tr><td class=\"n\">%.2f</td>", (double)number_of(line, "ms") / 1e3);
        put_cell(f, text_of(line, "at"));
        put_cell(f, text_of(line, "kind"));
        put_cell(f, text_of(line, "text"));
        fputs("</tr>\n", f);
    }
    fputs("</table>\n", f);
}

void drill_page_write(FILE *f, const json_t *drill)
{
    const json_t *spec = member(drill, "spec"), *state = member(drill, "state");
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
          "<meta name=\"viewport\" content=\"width=device-width\"/><title>",
          f);
    put(f, text_of(spec, "kind"));
    fputs(" of ", f);
    put(f, text_of(spec, "node"));
    fprintf(f, "</title><style>%s</style></head>\n<body>\n<h1>Drill: ", style);
    put(f, text_of(spec, "kind"));
    fputs(" of node ", f);
    put(f, text_of(spec, "node"));
    fputs("</h1>\n<p>", f);
    put(f, text_of(drill, "name"));
    fputs(", asked for by ", f);
    put(f, text_of(spec, "by"));
    fprintf(f, ", for %.1f s, aborted if ", (double)number_of(spec, "for_ms") / 1e3);
    put(f, *text_of(spec, "abort_if") ? text_of(spec, "abort_if") : "never");
    fputs(". Conducted by ", f);
    put(f, text_of(state, "conductor"));
    fputs(".</p>\n", f);
    put_summary(f, drill);
    if (*text_of(state, "reason")) {
        fputs("<p class=\"bad\">", f);
        put(f, text_of(state, "reason"));
        fputs("</p>\n", f);
    }
    put_picture(f, drill);
    put_guests(f, member(state, "guests"));
    put_blast(f, member(state, "blast"));
    put_timeline(f, member(state, "timeline"));
    fputs("<p>Outages count from the moment at which the node said that it puts the fault in; the cluster is looked at "
          "every 250 ms. "
          "A write is lost if a canary had said that it is on its disk and did not find it there when it began "
          "again.</p>\n"
          "</body></html>\n",
          f);
}

/* ---- as text ---- */

void drill_page_text(FILE *f, const json_t *drill)
{
    const json_t *spec = member(drill, "spec"), *state = member(drill, "state"), *result = member(state, "result");
    size_t i;
    json_t *line;
    fprintf(f, "%s of %s: %s%s%s\n", text_of(spec, "kind"), text_of(spec, "node"), text_of(state, "phase"),
            *text_of(state, "reason") ? ": " : "", text_of(state, "reason"));
    fprintf(f, "RTO %.1f s", (double)number_of(result, "rto_ms") / 1e3);
    if (number_of(result, "canaries"))
        fprintf(f, ", %" PRId64 " acknowledged writes lost, a canary silent for %.1f s",
                number_of(result, "lost_writes"), (double)number_of(result, "silent_ms") / 1e3);
    fputs("\n\n", f);
    json_array_foreach (member(state, "timeline"), i, line)
        fprintf(f, "%8.2f s  %-6s  %s\n", (double)number_of(line, "ms") / 1e3, text_of(line, "kind"),
                text_of(line, "text"));
}
