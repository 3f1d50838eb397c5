/* Loads the plugin `argv[1]` with dlopen() and has it tell the story of the model `argv[2]`. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    static char text[1 << 16];
    const char *(*tell)(const char *, char *, size_t);
    void *plugin = argc == 3 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (plugin == NULL) return fprintf(stderr, "%s\n", dlerror()), 1;
    void *symbol = dlsym(plugin, "tell");
    if (symbol == NULL) return fprintf(stderr, "%s\n", dlerror()), 1;
    memcpy(&tell, &symbol, sizeof tell);
    const char *why = tell(argv[2], text, sizeof text);
    if (why != NULL) return fprintf(stderr, "%s\n", why), 1;
    return printf("Once upon a time%s\n", text) < 0 || dlclose(plugin);
}
