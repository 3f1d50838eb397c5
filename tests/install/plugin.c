/* A plugin in which the static library lies, and which gives its host one function. */
#include <stdio.h>

#include <ortshard.h>

const char *tell(const char *model, char *text, size_t capacity);

const char *tell(const char *model, char *text, size_t capacity)
{
    ortshard_generation *generation;
    ortshard_step step = ORTSHARD_STEP_INIT;
    size_t length = 0;
    if (ortshard_generation_open(model, NULL, &generation)) return ortshard_last_error();
    int failed = ortshard_generation_append_text(generation, "Once upon a time", 1) != ORTSHARD_OK;
    while (!failed && step.finish == ORTSHARD_FINISH_NONE) {
        failed = ortshard_generation_step(generation, &step) != ORTSHARD_OK;
        if (!failed && length + step.text_length < capacity)
            length += (size_t)snprintf(text + length, capacity - length, "%s", step.text);
    }
    ortshard_generation_free(generation);
    return failed ? ortshard_last_error() : NULL;
}
