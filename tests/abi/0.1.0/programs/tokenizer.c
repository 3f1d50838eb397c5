/* Text becomes ids and ids text, special ids and the chat template are found, and errors are named. */
#include "check.h"
#include "model.h"

int main(void)
{
    ortshard_tokenizer *tokenizer;
    /* There is nothing under a name that is longer than the system takes. */
    char name[5000];
    ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    FAILS(NOT_FOUND, "aaaa", ortshard_model_get_info(name, &model));
    FAILS(NOT_FOUND, "aaaa", ortshard_tokenizer_open(name, &tokenizer));

    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));

    int64_t wanted[MOST], ids[MOST];
    size_t n = ids_of("TEST_IDS", wanted), needed = 0;
    OK(ortshard_tokenizer_encode(tokenizer, setting("TEST_TEXT"), 0, ids, MOST, &needed));
    CHECK(needed == n && memcmp(ids, wanted, n * sizeof *ids) == 0);

    char text[4096];
    OK(ortshard_tokenizer_decode(tokenizer, ids, n, 1, text, sizeof text, &needed));
    CHECK(strcmp(text, setting("TEST_TEXT")) == 0 && needed == strlen(text) + 1);
    OK(ortshard_tokenizer_decode(tokenizer, NULL, 0, 1, text, sizeof text, &needed));
    CHECK(needed == 1 && text[0] == '\0');

    size_t vocab_size = 0;
    OK(ortshard_tokenizer_vocab_size(tokenizer, &vocab_size));
    CHECK(vocab_size > 100);

    /* tests/suite/host/c_tests.rs wrote the files that declare these. */
    int64_t id = 0;
    int32_t is_eos = -1;
    OK(ortshard_tokenizer_bos(tokenizer, &id));
    CHECK(id == ORTSHARD_NO_ID);
    OK(ortshard_tokenizer_pad(tokenizer, &id));
    CHECK(id == ORTSHARD_NO_ID);
    OK(ortshard_tokenizer_eos(tokenizer, ids, MOST, &needed));
    CHECK(needed == 2 && ids[0] == 5 && ids[1] == 7);
    OK(ortshard_tokenizer_is_eos(tokenizer, 7, &is_eos));
    CHECK(is_eos == 1);
    OK(ortshard_tokenizer_is_eos(tokenizer, 6, &is_eos));
    CHECK(is_eos == 0);
    OK(ortshard_tokenizer_is_eos(tokenizer, -1, &is_eos));
    CHECK(is_eos == 0);

    ortshard_chat_message messages[] = {{"user", "Hi"}, {"assistant", "Yes?"}};
    OK(ortshard_tokenizer_apply_chat_template(tokenizer, messages, 2, 1, text, sizeof text, &needed));
    CHECK(strcmp(text, "<user>Hi<assistant>Yes?<assistant>") == 0 && needed == strlen(text) + 1);
    messages[1].role = "nobody";
    FAILS(INVALID_ARGUMENT, "who is nobody?",
          ortshard_tokenizer_apply_chat_template(tokenizer, messages, 2, 1, text, sizeof text, &needed));
    messages[1].content = NULL;
    FAILS(NULL_ARGUMENT, "messages[1].content",
          ortshard_tokenizer_apply_chat_template(tokenizer, messages, 2, 1, text, sizeof text, &needed));

    int64_t bad[] = {1, -1, INT64_MAX, (int64_t)vocab_size + 1000};
    for (int i = 1; i < 4; i++)
        FAILS(OUT_OF_RANGE, "id ", ortshard_tokenizer_decode(tokenizer, &bad[i], 1, 1, text, sizeof text, &needed));
    FAILS(OUT_OF_RANGE, "index 1", ortshard_tokenizer_decode(tokenizer, bad, 2, 1, text, sizeof text, &needed));
    FAILS(INVALID_UTF8, "byte 1", ortshard_tokenizer_encode(tokenizer, "a\xff", 0, ids, MOST, &needed));
    ortshard_tokenizer_free(tokenizer);

    FAILS(NOT_FOUND, "/nonexistent", ortshard_tokenizer_open("/nonexistent/tokenizer.json", &tokenizer));
    CHECK(tokenizer == NULL);
    FAILS(MALFORMED, "Cargo.toml", ortshard_tokenizer_open(join(setting("TEST_ROOT"), "Cargo.toml"), &tokenizer));
    FAILS(INVALID_ARGUMENT, "path is empty", ortshard_tokenizer_open("", &tokenizer));
    return 0;
}
