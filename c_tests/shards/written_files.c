/* Files are written whole or not at all, through links, with the mode they should have; nothing that is no regular file
 * is touched. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "model.h"

static ortshard_engine *engine;
static ortshard_shard *shard;

static ortshard_status export(const char *path)
{
    return ortshard_shard_export_onnx(shard, path);
}

static ortshard_status save(const char *path)
{
    return ortshard_engine_save_checkpoint(engine, path);
}

static const char *folder(void)
{
    static char path[4096];
    if (path[0] == '\0') {
        CHECK(snprintf(path, sizeof path, "%s/XXXXXX", setting("TEST_FOLDER")) < (int)sizeof path);
        CHECK(mkdtemp(path) != NULL);
    }
    return path;
}

static void put(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0 && chmod(path, mode) == 0);
}

/* What is at `path` itself, links not followed; its mode is 0 if there is nothing. */
static struct stat at(const char *path)
{
    struct stat is;
    if (lstat(path, &is) != 0) memset(&is, 0, sizeof is);
    return is;
}

static void holds(const char *path, const char *text)
{
    char content[64] = "";
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    size_t length = fread(content, 1, sizeof content - 1, file);
    fclose(file);
    CHECK(length == strlen(text) && memcmp(content, text, length) == 0);
}

static int files(void)
{
    char command[4200];
    int count;
    CHECK(snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder()) < (int)sizeof command);
    FILE *list = popen(command, "r");
    CHECK(list != NULL && fscanf(list, "%d", &count) == 1 && pclose(list) == 0);
    return count;
}

/* A new file is as the umask says, a replaced one as it was. */
static void modes(ortshard_status (*write)(const char *), const char *path)
{
    mode_t before = umask(027);
    OK(write(path));
    CHECK(S_ISREG(at(path).st_mode) && (at(path).st_mode & 07777) == 0640 && at(path).st_size > 100);
    CHECK(chmod(path, 0604) == 0);
    OK(write(path));
    CHECK((at(path).st_mode & 07777) == 0604);
    CHECK(chmod(path, 0400) == 0);
    OK(write(path));
    CHECK((at(path).st_mode & 07777) == 0400);
    umask(before);
}

/* Through a link, and a link to a link, also to a file that is not there yet. */
static void links(ortshard_status (*write)(const char *), const char *suffix)
{
    const char *link = join(folder(), "link"), *second = join(folder(), "second"), *target = join(folder(), "target");
    put(target, "old", 0600);
    CHECK(symlink("target", link) == 0 && symlink(link, second) == 0);
    OK(write(second));
    CHECK(S_ISLNK(at(second).st_mode) && S_ISLNK(at(link).st_mode));
    CHECK(S_ISREG(at(target).st_mode) && at(target).st_size > 100 && (at(target).st_mode & 07777) == 0600);
    CHECK(unlink(target) == 0);
    OK(write(link));
    CHECK(S_ISLNK(at(link).st_mode) && S_ISREG(at(target).st_mode) && at(target).st_size > 100);
    CHECK(unlink(target) == 0 && unlink(link) == 0 && unlink(second) == 0);
    char data[4200];
    snprintf(data, sizeof data, "%s%s", link, suffix);
    if (suffix[0] != '\0') CHECK(unlink(data) == 0);
    snprintf(data, sizeof data, "%s%s", second, suffix);
    if (suffix[0] != '\0') CHECK(unlink(data) == 0);
    CHECK(symlink("link", link) == 0);
    CHECK(write(link) == ORTSHARD_ERROR_IO);
    CHECK(S_ISLNK(at(link).st_mode) && unlink(link) == 0);
}

/* Folders, FIFOs, sockets and devices are refused by name and left as they are. */
static void irregular(ortshard_status (*write)(const char *))
{
    int before = files();
    const char *fifo = join(folder(), "fifo"), *directory = join(folder(), "directory"), *sock = join(folder(), "sock");
    CHECK(mkfifo(fifo, 0600) == 0 && mkdir(directory, 0700) == 0);
    FAILS(INVALID_ARGUMENT, fifo, write(fifo));
    FAILS(INVALID_ARGUMENT, directory, write(directory));
    FAILS(INVALID_ARGUMENT, "a folder", write(directory));
    FAILS(INVALID_ARGUMENT, "/dev/null", write("/dev/null"));
    FAILS(INVALID_ARGUMENT, "name of a file", write(join(folder(), "none/")));
    FAILS(INVALID_ARGUMENT, "path is empty", write(""));
    FAILS(INVALID_ARGUMENT, "name of a file", write(".."));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(sock) < sizeof address.sun_path) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        strcpy(address.sun_path, sock);
        CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
        FAILS(INVALID_ARGUMENT, "no regular file", write(sock));
        CHECK(S_ISSOCK(at(sock).st_mode) && close(fd) == 0 && unlink(sock) == 0);
    }
    CHECK(S_ISFIFO(at(fifo).st_mode) && S_ISDIR(at(directory).st_mode) && S_ISCHR(at("/dev/null").st_mode));
    CHECK(unlink(fifo) == 0 && rmdir(directory) == 0 && files() == before);
}

/* What is in the way of one of the two files is in the way of both. */
static void both_or_none(void)
{
    const char *model = join(folder(), "pair"), *data = join(folder(), "pair.data");
    put(data, "old data", 0600);
    CHECK(mkdir(model, 0700) == 0);
    FAILS(INVALID_ARGUMENT, "a folder", export(model));
    holds(data, "old data");
    CHECK(rmdir(model) == 0 && unlink(data) == 0);

    put(model, "old model", 0600);
    CHECK(mkdir(data, 0700) == 0);
    FAILS(INVALID_ARGUMENT, "pair.data", export(model));
    holds(model, "old model");
    CHECK(rmdir(data) == 0 && symlink("pair", data) == 0);
    FAILS(INVALID_ARGUMENT, "one file", export(model));
    holds(model, "old model");
    CHECK(unlink(model) == 0 && unlink(data) == 0 && files() == 0);
}

int main(void)
{
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = setting("TEST_MODEL");
    engine = engine_on_device();
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));

    irregular(export);
    irregular(save);
    both_or_none();
    modes(export, join(folder(), "new.onnx"));
    CHECK((at(join(folder(), "new.onnx.data")).st_mode & 07777) == 0640);
    modes(save, join(folder(), "new.safetensors"));
    CHECK(unlink(join(folder(), "new.onnx")) == 0 && unlink(join(folder(), "new.onnx.data")) == 0);
    CHECK(unlink(join(folder(), "new.safetensors")) == 0);
    links(export, ".data");
    links(save, "");
    CHECK(rmdir(folder()) == 0);

    ortshard_shard_free(shard);
    ortshard_engine_free(engine);
    return 0;
}
