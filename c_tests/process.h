/* This process as Linux shows it; elsewhere everything is 0. */
#ifndef PROCESS_H
#define PROCESS_H

#include <dirent.h>

#include "check.h"

/* A number from /proc/self/status, such as "RssAnon" (kB) or "Threads". */
static inline long proc_status(const char *name)
{
    char line[256];
    long value = 0;
    size_t length = strlen(name);
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL) return 0;
    while (fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, name, length) == 0 && line[length] == ':') value = atol(line + length + 1);
    fclose(status);
    return value;
}

/* Files that are open now. */
static inline int open_files(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL) return 0;
    while (readdir(folder) != NULL) count++;
    closedir(folder);
    return count;
}

/* Memory of this process alone, in kB; 0 under a sanitizer, whose own memory hides it. */
static inline long private_memory(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;
#else
    return proc_status("RssAnon");
#endif
}

#endif
