#include "node/agent/balance_part.h"

#include <jansson.h>

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

unsigned balance_part(json_t *value, unsigned percent)
{
    json_t *spec = json_object_get(value, "spec"), *waves = json_object_get(spec, "waves"), *kept = json_array();
    double before = number(spec, "score_before"), score = before;
    double enough = before - (before - number(spec, "score_after")) * percent / 100;
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
    json_object_set_new(spec, "score_after", json_real(score));
    json_object_set_new(spec, "part", json_integer(percent));
    return moves;
}
