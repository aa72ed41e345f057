/* Echoes input_parameters as output_data, byte for byte. Needs nothing but the C library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text, *end; /* what is still to be read, and where it ends */

static int fail(int code, const char *message) {
    printf("{\"error\":{\"code\":%d,\"message\":\"%s\"}}\n", code, message);
    return code;
}

static void skip_any(const char *of) {
    while (text < end && *text && strchr(of, *text)) text++;
}

/* Skips one JSON value, without a stack: only the depth counts. False where there is none. */
static int skip_value(void) {
    long depth = 0;
    do {
        skip_any(" \t\r\n,:");
        if (text == end) return 0;
        if (*text == '{' || *text == '[') {
            depth++;
            text++;
        } else if (*text == '}' || *text == ']') {
            depth--;
            text++;
        } else if (*text == '"') {
            for (text++; text < end && *text != '"'; text++)
                if (*text == '\\') text++;
            if (text >= end) return 0;
            text++;
        } else {
            const char *start = text;
            while (text < end && *text && !strchr(" \t\r\n,:{}[]\"", *text)) text++;
            if (text == start) return 0;
        }
    } while (depth > 0);
    return depth == 0;
}

/* Moves from an object to the value of its member; name has its quotes. */
static int enter(const char *name) {
    skip_any(" \t\r\n");
    if (text == end || *text++ != '{') return 0;
    for (;;) {
        skip_any(" \t\r\n,");
        if (text == end || *text != '"') return 0;
        const char *key = text;
        if (!skip_value()) return 0;
        size_t length = (size_t)(text - key);
        skip_any(" \t\r\n:");
        if (length == strlen(name) && memcmp(key, name, length) == 0) return 1;
        if (!skip_value()) return 0;
    }
}

int main(void) {
    size_t size = 0, room = 65536;
    char *input = malloc(room);
    while (input) {
        size_t got = fread(input + size, 1, room - size, stdin);
        size += got;
        if (got == 0) break;
        if (size == room) input = realloc(input, room *= 2);
    }
    if (!input) return fail(2, "out of memory");
    text = input;
    end = input + size;
    if (enter("\"payload\"") && enter("\"input_parameters\"") && text < end && *text == '{') {
        const char *start = text;
        if (skip_value()) {
            fputs("{\"payload\":{\"result\":\"success\",\"output_data\":", stdout);
            fwrite(start, 1, (size_t)(text - start), stdout);
            fputs("}}\n", stdout);
            return fflush(stdout) == 0 ? 0 : 100;
        }
    }
    return fail(1, "the input has no object payload.input_parameters");
}
