/* The inputs that fuzzing has gathered for the C interface do no harm. */
#include <dirent.h>

#include "../../fuzz/calls.c"
#include "check.h"

int main(void)
{
    static uint8_t data[1 << 16];
    const char *folder = join(setting("TEST_ROOT"), "fuzz/corpus/calls");
    DIR *inputs = opendir(folder);
    CHECK(inputs != NULL);
    int tried = 0;
    for (struct dirent *entry; (entry = readdir(inputs)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        char path[4352];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *file = fopen(path, "rb");
        CHECK(file != NULL);
        fprintf(stderr, "%s\n", entry->d_name);
        fuzz_calls(setting("TEST_ROOT"), setting("TEST_FOLDER"), data, fread(data, 1, sizeof data, file));
        fclose(file);
        tried++;
    }
    closedir(inputs);
    CHECK(tried > 10);
    return 0;
}
