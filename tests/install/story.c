/* The model `argv[1]` tells a story. */
#include <stdio.h>

#include <ortshard.h>

#define TRY(call)                                                  \
    do {                                                           \
        if (call) return fprintf(stderr, "%s\n", ortshard_last_error()), 1; \
    } while (0)

int main(int argc, char **argv)
{
    ortshard_generation *generation;
    ortshard_step step = ORTSHARD_STEP_INIT;
    TRY(ortshard_generation_open(argc > 1 ? argv[1] : ".", NULL, &generation));
    TRY(ortshard_generation_append_text(generation, "Once upon a time", 1));
    fputs("Once upon a time", stdout);
    while (step.finish == ORTSHARD_FINISH_NONE) {
        TRY(ortshard_generation_step(generation, &step));
        fwrite(step.text, 1, step.text_length, stdout);
    }
    ortshard_generation_free(generation);
    return puts("") < 0;
}
