/* Counts the names in a directory. Scalar parameters come as RUNE_PARAM_<NAME>. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(int code, const char *message) {
    printf("{\"error\":{\"code\":%d,\"message\":\"%s\"}}\n", code, message);
    return code;
}

int main(void) {
    const char *path = getenv("RUNE_PARAM_PATH");
    DIR *directory = path ? opendir(path) : NULL;
    if (!directory) return fail(3, "there is no such directory, or it may not be read");
    long entries = 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) entries++;
    printf("{\"payload\":{\"result\":\"success\",\"output_data\":{\"entries\":%ld}}}\n", entries);
    return fflush(stdout) == 0 ? 0 : 100;
}
