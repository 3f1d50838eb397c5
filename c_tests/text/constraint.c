/* A program's own loop keeps a text to a grammar: what may not come is masked, what must come is known, and a faulty grammar is
 * refused with the place of the fault. */
#include <math.h>

#include "check.h"

enum { N = 480, MOST = 32 };

static float logits[N];

static ortshard_constraint *of(const ortshard_tokenizer *tokenizer, int32_t kind, const char *grammar)
{
    ortshard_constraint *constraint;
    OK(ortshard_constraint_create(tokenizer, kind, grammar, NULL, 0, &constraint));
    return constraint;
}

/* Tokens that may come. */
static size_t may_come(ortshard_constraint *constraint)
{
    size_t count = 0;
    memset(logits, 0, sizeof logits);
    OK(ortshard_constraint_mask(constraint, logits, N));
    for (size_t i = 0; i < N; i++) count += logits[i] == 0;
    return count;
}

/* Takes the tokens of a text. */
static void say(ortshard_constraint *constraint, const ortshard_tokenizer *tokenizer, const char *text)
{
    int64_t ids[MOST];
    size_t count;
    OK(ortshard_tokenizer_encode(tokenizer, text, 0, ids, MOST, &count));
    for (size_t i = 0; i < count; i++) OK(ortshard_constraint_advance(constraint, ids[i]));
}

int main(void)
{
    ortshard_tokenizer *tokenizer;
    ortshard_constraint *digits, *fork, *schema;
    int64_t eos[2], ids[MOST];
    size_t count;
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    OK(ortshard_tokenizer_eos(tokenizer, eos, 2, &count));
    CHECK(count == 2);

    /* It ends exactly where the grammar may end. */
    digits = of(tokenizer, ORTSHARD_GRAMMAR_REGEX, "[0-9]{2,3}x");
    may_come(digits);
    CHECK(logits[eos[0]] == -INFINITY && logits[eos[1]] == -INFINITY);
    FAILS(INVALID_ARGUMENT, "ends the text where the grammar does not", ortshard_constraint_advance(digits, eos[0]));
    FAILS(INVALID_ARGUMENT, "not what the grammar allows", ortshard_constraint_advance(digits, N + 1000));
    FAILS(OUT_OF_RANGE, "id -1", ortshard_constraint_advance(digits, -1));
    say(digits, tokenizer, "12");
    OK(ortshard_constraint_clone(digits, &fork));
    say(digits, tokenizer, "x");
    CHECK(may_come(digits) == 2 && logits[eos[0]] == 0 && logits[eos[1]] == 0);
    OK(ortshard_constraint_advance(digits, eos[1]));
    FAILS(INVALID_ARGUMENT, "has ended", ortshard_constraint_mask(digits, logits, N));
    ortshard_constraint_free(digits);
    /* A clone has gone on by itself. */
    CHECK(may_come(fork) > 2 && logits[eos[0]] == -INFINITY);
    say(fork, tokenizer, "3");
    OK(ortshard_constraint_known_ids(fork, ids, MOST, &count));
    CHECK(count == 1);
    FAILS(BUFFER_TOO_SMALL, "1 are needed", ortshard_constraint_known_ids(fork, ids, 0, &count));
    OK(ortshard_constraint_advance(fork, ids[0]));
    /* Logits that have no token of the grammar stay as they were. */
    logits[0] = 7;
    FAILS(INVALID_ARGUMENT, "no token may come", ortshard_constraint_mask(fork, logits, 1));
    CHECK(logits[0] == 7);
    ortshard_constraint_free(fork);

    /* What must come can be run at once. */
    schema = of(tokenizer, ORTSHARD_GRAMMAR_JSON_SCHEMA,
                "{\"type\": \"object\", \"properties\": {\"temperature\": {\"type\": \"integer\"}},"
                " \"required\": [\"temperature\"], \"additionalProperties\": false}");
    say(schema, tokenizer, "{\"t");
    OK(ortshard_constraint_known_ids(schema, ids, MOST, &count));
    CHECK(count > 1);
    for (size_t i = 0; i < count; i++) OK(ortshard_constraint_advance(schema, ids[i]));
    const char *rest = "emperature\": 21}";
    char known[MOST];
    OK(ortshard_tokenizer_decode(tokenizer, ids, count, 0, known, sizeof known, &count));
    CHECK(count > 2 && strncmp(known, rest, count - 1) == 0);
    rest += count - 1;
    /* It keeps the tokenizer alive. */
    ortshard_tokenizer *other = tokenizer;
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    ortshard_tokenizer_free(other);
    say(schema, tokenizer, rest);
    CHECK(may_come(schema) >= 2 && logits[eos[0]] == 0);
    ortshard_constraint_free(schema);

    /* Faults have places. */
    FAILS(INVALID_ARGUMENT, "\"/items/uniqueItems\": this keyword is not supported",
          ortshard_constraint_create(tokenizer, ORTSHARD_GRAMMAR_JSON_SCHEMA, "{\"items\": {\"uniqueItems\": true}}", NULL, 0,
                                     &schema));
    CHECK(schema == NULL);
    FAILS(INVALID_ARGUMENT, "at offset 1: unclosed group",
          ortshard_constraint_create(tokenizer, ORTSHARD_GRAMMAR_REGEX, "a(", NULL, 0, &schema));
    FAILS(INVALID_ARGUMENT, "at line 1, column 8: unknown name",
          ortshard_constraint_create(tokenizer, ORTSHARD_GRAMMAR_LARK, "start: foo", NULL, 0, &schema));
    FAILS(INVALID_ARGUMENT, "grammar_kind is 9",
          ortshard_constraint_create(tokenizer, 9, "x", NULL, 0, &schema));
    FAILS(INVALID_ARGUMENT, "ORTSHARD_GRAMMAR_NONE",
          ortshard_constraint_create(tokenizer, ORTSHARD_GRAMMAR_NONE, NULL, NULL, 0, &schema));
    eos[0] = -1;
    FAILS(OUT_OF_RANGE, "id -1", ortshard_constraint_create(tokenizer, ORTSHARD_GRAMMAR_REGEX, "a", eos, 1, &schema));
    ortshard_tokenizer_free(tokenizer);
    return 0;
}
