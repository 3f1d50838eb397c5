/* Sizes are asked for and buffers filled by one rule: ask, fail without a trace, fill exactly. */
#include "check.h"

int main(void)
{
    ortshard_tokenizer *tokenizer;
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    const char *text = setting("TEST_TEXT");

    /* Numbers. */
    int64_t ids[512];
    size_t needed = 99, n;
    OK(ortshard_tokenizer_encode(tokenizer, text, 0, NULL, 0, &n));
    CHECK(n > 2 && n < 512);
    ids[0] = -5;
    FAILS(BUFFER_TOO_SMALL, "needed", ortshard_tokenizer_encode(tokenizer, text, 0, ids, n - 1, &needed));
    CHECK(needed == n && ids[0] == -5);
    ids[n] = -6;
    OK(ortshard_tokenizer_encode(tokenizer, text, 0, ids, n, &needed));
    CHECK(needed == n && ids[0] >= 0 && ids[n] == -6);
    FAILS(NULL_ARGUMENT, "ids is NULL", ortshard_tokenizer_encode(tokenizer, text, 0, NULL, 3, &needed));
    CHECK(needed == 0);

    /* Asking for the size is no failure, and leaves the last one alone. */
    CHECK(strcmp(ortshard_last_error(), "ids is NULL") == 0);
    OK(ortshard_tokenizer_encode(tokenizer, text, 0, NULL, 0, &needed));
    CHECK(needed == n && strcmp(ortshard_last_error(), "ids is NULL") == 0);

    /* An empty answer needs no buffer. */
    OK(ortshard_tokenizer_encode(tokenizer, "", 0, NULL, 0, &needed));
    CHECK(needed == 0);

    /* Text, whose final NUL counts. */
    char buffer[4096];
    size_t length = strlen(text);
    OK(ortshard_tokenizer_decode(tokenizer, ids, n, 1, NULL, 0, &needed));
    CHECK(needed == length + 1);
    buffer[0] = '#';
    FAILS(BUFFER_TOO_SMALL, "needed", ortshard_tokenizer_decode(tokenizer, ids, n, 1, buffer, length, &needed));
    CHECK(buffer[0] == '#');
    buffer[length + 1] = '#';
    OK(ortshard_tokenizer_decode(tokenizer, ids, n, 1, buffer, length + 1, &needed));
    CHECK(needed == length + 1 && strcmp(buffer, text) == 0 && buffer[length + 1] == '#');

    ortshard_tokenizer_free(tokenizer);
    return 0;
}
