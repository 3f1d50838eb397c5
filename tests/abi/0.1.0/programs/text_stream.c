/* Pieces of text are whole characters, and together they are the decoded text. */
#include "check.h"
#include "model.h"

/* Whether the bytes end within a UTF-8 character. */
static int torn(const char *text, size_t length)
{
    size_t tail = 0;
    while (tail < length && ((unsigned char)text[length - 1 - tail] & 0xC0) == 0x80) tail++;
    if (tail == length) return length > 0;
    unsigned char lead = (unsigned char)text[length - 1 - tail];
    return tail != (lead >= 0xF0 ? 3u : lead >= 0xE0 ? 2u : lead >= 0xC0 ? 1u : 0u);
}

int main(void)
{
    ortshard_tokenizer *tokenizer;
    ortshard_text_stream *stream;
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    OK(ortshard_text_stream_create(tokenizer, 1, &stream));

    int64_t ids[MOST];
    size_t n = 0, needed, length, total = 0, silent = 0;
    OK(ortshard_tokenizer_encode(tokenizer, "caf\xc3\xa9 \xf0\x9f\x8c\x8d!", 0, ids, MOST, &n));
    char decoded[256], streamed[256];
    OK(ortshard_tokenizer_decode(tokenizer, ids, n, 1, decoded, sizeof decoded, &needed));
    ortshard_tokenizer_free(tokenizer); /* the stream keeps what it needs */

    const char *text;
    for (int round = 0; round < 2; round++) { /* _finish leads back to the start */
        total = 0;
        for (size_t i = 0; i < n; i++) {
            OK(ortshard_text_stream_push(stream, ids[i], &text, &length));
            CHECK(text[length] == '\0' && !torn(text, length));
            silent += length == 0;
            memcpy(streamed + total, text, length);
            total += length;
        }
        OK(ortshard_text_stream_finish(stream, &text, &length));
        memcpy(streamed + total, text, length + 1);
        CHECK(strcmp(streamed, decoded) == 0);
    }
    CHECK(silent > 0); /* the globe takes several tokens */

    /* A character that never ends. */
    size_t begun = 0;
    do OK(ortshard_text_stream_push(stream, ids[begun++], &text, &length));
    while (length > 0);
    FAILS(OUT_OF_RANGE, "id -1", ortshard_text_stream_push(stream, -1, &text, &length));
    CHECK(text == NULL && length == 0);
    FAILS(OUT_OF_RANGE, "99999", ortshard_text_stream_push(stream, 99999, &text, &length));
    OK(ortshard_text_stream_finish(stream, &text, &length));
    CHECK(strstr(text, "\xef\xbf\xbd") != NULL);
    ortshard_text_stream_free(stream);
    return 0;
}
