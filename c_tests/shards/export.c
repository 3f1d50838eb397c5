/* A shard is saved as an ONNX file with its weights beside it. */
#include "model.h"

static long size_of_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) return -1;
    CHECK(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    fclose(file);
    return size;
}

int main(void)
{
    ortshard_shard *shard = load(1, 1);
    const char *path = join(setting("TEST_FOLDER"), "layer1.onnx");
    OK(ortshard_shard_export_onnx(shard, path));
    CHECK(size_of_file(path) > 100);
    CHECK(size_of_file(join(setting("TEST_FOLDER"), "layer1.onnx.data")) > 1000);
    OK(ortshard_shard_export_onnx(shard, path)); /* replaces */

    CHECK(ortshard_shard_export_onnx(shard, "/nonexistent/folder/x.onnx") != ORTSHARD_OK);
    CHECK(strstr(ortshard_last_error(), "/nonexistent/folder") != NULL);
    FAILS(INVALID_ARGUMENT, "path is empty", ortshard_shard_export_onnx(shard, ""));
    ortshard_shard_free(shard);
    return 0;
}
