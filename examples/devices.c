/* Lists the devices that models can run on, or says whether one of them can.
 *
 *     devices                what there is
 *     devices cuda[:N]       status 0: it is there and runs; 1: it is there, and does not run; 2: it is not there
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ortshard.h"

enum { FAILED = 1, MISSING = 2 };

/* In the order of ORTSHARD_DEVICE_*. */
static const char *const KINDS[] = {"auto", "cpu", "cuda", "coreml"};
enum { N_KINDS = sizeof KINDS / sizeof *KINDS };

static void check(ortshard_status status)
{
    if (status == ORTSHARD_OK) return;
    fprintf(stderr, "devices: %s: %s\n", ortshard_status_name(status), ortshard_last_error());
    exit(FAILED);
}

/* Prints every device, or those of one kind and index; returns how many. */
static uint32_t list(const ortshard_engine_options *only)
{
    uint32_t count, shown = 0;
    check(ortshard_device_count(&count));
    for (uint32_t i = 0; i < count; i++) {
        ortshard_device_info device = ORTSHARD_DEVICE_INFO_INIT;
        check(ortshard_device_get_info(i, &device));
        if (only != NULL && (device.kind != only->device || device.index != only->device_index)) continue;
        printf("%s:%" PRIu32 "  %s", KINDS[device.kind], device.index, device.name);
        if (device.total_memory > 0) printf(", %.1f GB", 1e-9 * (double)device.total_memory);
        puts("");
        shown++;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("devices: cannot write the output");
        exit(FAILED);
    }
    return shown;
}

int main(int argc, char **argv)
{
    ortshard_engine_options options = ORTSHARD_ENGINE_OPTIONS_INIT;
    ortshard_engine *engine = NULL;
    if (argc < 2) return list(NULL) == 0;

    size_t length = strcspn(argv[1], ":");
    while (options.device < N_KINDS
           && (strlen(KINDS[options.device]) != length || strncmp(KINDS[options.device], argv[1], length) != 0))
        options.device++;
    if (options.device == N_KINDS) {
        fprintf(stderr, "devices: %s is none of cpu, cuda, cuda:N, coreml\n", argv[1]);
        return FAILED;
    }
    options.device_index = argv[1][length] == ':' ? (uint32_t)strtoul(argv[1] + length + 1, NULL, 10) : 0;
    options.require_device = 1;
    uint32_t there = list(&options);
    ortshard_status status = ortshard_engine_create(&options, &engine);
    ortshard_engine_free(engine);
    if (status == ORTSHARD_OK) return 0;
    fprintf(stderr, "%s: %s\n", argv[1], ortshard_last_error());
    return status == ORTSHARD_ERROR_DEVICE_UNAVAILABLE && there == 0 ? MISSING : FAILED;
}
