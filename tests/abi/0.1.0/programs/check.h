/* What every test here uses: checks that end the program, and the settings that tests/suite/host/c_tests.rs passes. */
#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ortshard.h"

#define CHECK(condition) check_((condition) != 0, #condition, __FILE__, __LINE__)

/* The call succeeds. */
#define OK(call) status_((call), ORTSHARD_OK, #call, __FILE__, __LINE__)

/* The call may end as it will. */
#define EITHER_WAY(call) \
    do {                 \
        if (call) {}     \
    } while (0)

/* The call fails with ORTSHARD_ERROR_<name>, and the message mentions `text`. Messages may change from version to version, so
 * programs of an older one are compiled with ANY_MESSAGE (tests/suite/house/abi.rs). */
#define FAILS(name, text, call)                                                   \
    do {                                                                          \
        status_((call), ORTSHARD_ERROR_##name, #call, __FILE__, __LINE__);        \
        check_(mentions_(text), ortshard_last_error(), __FILE__, __LINE__);           \
    } while (0)

static inline void check_(int holds, const char *what, const char *file, int line)
{
    if (holds) return;
    fprintf(stderr, "%s:%d: fails: %s\n", file, line, what);
    exit(1);
}

static inline int mentions_(const char *text)
{
#ifdef ANY_MESSAGE
    return text != NULL;
#else
    return strstr(ortshard_last_error(), text) != NULL;
#endif
}

static inline void status_(ortshard_status is, ortshard_status wanted, const char *what, const char *file, int line)
{
    if (is == wanted) return;
    fprintf(stderr, "%s:%d: %s is %s, not %s (last error: %s)\n", file, line, what, ortshard_status_name(is),
            ortshard_status_name(wanted), ortshard_last_error());
    exit(1);
}

static inline const char *setting(const char *name)
{
    const char *value = getenv(name);
    check_(value != NULL, name, "environment", 0);
    return value;
}

/* `folder`/`name`, in memory that is never freed but stays reachable until the test ends. */
static inline const char *join(const char *folder, const char *name)
{
    static char paths[8][4096];
    static int next;
    char *path = paths[next++ % 8];
    CHECK(snprintf(path, sizeof paths[0], "%s/%s", folder, name) < (int)sizeof paths[0]);
    return path;
}

#endif
