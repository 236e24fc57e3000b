#include "node/agent/balance_part.h"

#include <jansson.h>
#include <stdio.h>

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* Of this wave, those until the score has come to `enough`; *score: after the last one that stays. */
static json_t *cut(const json_t *wave, double enough, double *score)
{
    json_t *kept = json_array();
    for (size_t i = 0; i < json_array_size(wave) && *score > enough; i++) {
        json_t *move = json_array_get(wave, i);
        json_array_append(kept, move);
        *score = number(move, "score_after");
    }
    return kept;
}

/* As balancer/plan.h has them: a wave takes as long as its longest move. */
static void put_sums(json_t *spec, json_t *waves)
{
    double seconds = 0, bytes = 0;
    for (size_t w = 0; w < json_array_size(waves); w++) {
        double longest = 0;
        size_t i;
        json_t *move;
        json_array_foreach (json_array_get(waves, w), i, move) {
            double takes = number(move, "seconds");
            longest = takes > longest ? takes : longest;
            bytes += number(move, "bytes");
        }
        seconds += longest;
    }
    json_object_set_new(spec, "seconds", json_real(seconds));
    json_object_set_new(spec, "bytes", json_real(bytes));
}

static void put_summary(json_t *spec, unsigned moves, long long of, double before, double after)
{
    char text[200];
    snprintf(text, sizeof text, "%u of %lld moves take the score from %.8f to %.8f", moves, of, before, after);
    json_object_set_new(spec, "summary", json_string(text));
}

unsigned balance_part(json_t *value, unsigned percent)
{
    json_t *spec = json_object_get(value, "spec"), *waves = json_object_get(spec, "waves"), *kept = json_array();
    double before = number(spec, "score_before"), score = before;
    double enough = before - (before - number(spec, "score_after")) * percent / 100;
    long long all = json_integer_value(json_object_get(spec, "moves"));
    unsigned moves = 0;
    for (size_t w = 0; w < json_array_size(waves); w++) {
        json_t *wave =
            percent < 100 ? cut(json_array_get(waves, w), enough, &score) : json_incref(json_array_get(waves, w));
        moves += (unsigned)json_array_size(wave);
        if (json_array_size(wave))
            json_array_append(kept, wave);
        json_decref(wave);
    }
    json_object_set_new(spec, "waves", kept);
    json_object_set_new(spec, "moves", json_integer(moves));
    if (percent == 100)
        return moves;
    put_sums(spec, kept);
    put_summary(spec, moves, all, before, score);
    json_object_set_new(spec, "score_after", json_real(score));
    json_object_set_new(spec, "frontier", json_array()); /* of the whole, and that is not to be had any more */
    json_object_set_new(spec, "part", json_integer(percent));
    return moves;
}
