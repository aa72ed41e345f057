/* What a C plugin needs to talk to RUNE, with C99 and its library on POSIX; one header, no other file.
   Copy it beside the plugin's own source: the plugin travels as the compiled program.

     #include "rune.h"
     int main(void) {
         rune_begin();
         const rune_value *path = rune_param("path", NULL);
         if (!path || path->type != RUNE_STRING) rune_fail(1, "path is not a text", NULL, 0);
         rune_put("path", NULL);
         rune_string(&rune_output, path->text, path->length);
         rune_success();
     }

   What goes into JSON as text may hold any byte: those that are no UTF-8 become U+FFFD. */
#ifndef RUNE_H
#define RUNE_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__GNUC__)
#define RUNE_API static __attribute__((unused))
#else
#define RUNE_API static
#endif

enum rune_type { RUNE_NULL, RUNE_BOOLEAN, RUNE_NUMBER, RUNE_STRING, RUNE_ARRAY, RUNE_OBJECT };

/* A value of the request. text is that of a string, or what stands in the JSON of another scalar; it has
   length bytes, NUL may be among them, and a NUL after them. */
typedef struct rune_value {
    enum rune_type type;
    char *text, *key;
    size_t length, key_length;
    struct rune_value *first, *next; /* of its members or items; after it in its parent */
} rune_value;

/* JSON that grows. Commas come by themselves. */
typedef struct {
    char *text;
    size_t length, room;
} rune_json;

static rune_value *rune_request;
static rune_json rune_output, rune_metrics;
static time_t rune_started;

RUNE_API void rune_fail(int code, const char *message, const rune_json *details, int retryable);

/* -- writing ------------------------------------------------------------------------------------- */

static void rune_append(rune_json *to, const char *bytes, size_t length) {
    if (to->room - to->length <= length) {
        size_t room = (to->length + length + 64) * 2;
        char *text = realloc(to->text, room);
        if (!text) {
            fputs("{\"error\":{\"code\":2,\"message\":\"out of memory\"}}\n", stdout);
            exit(2);
        }
        to->text = text;
        to->room = room;
    }
    memcpy(to->text + to->length, bytes, length);
    to->length += length;
    to->text[to->length] = 0;
}

static void rune_comma(rune_json *to) {
    if (to->length && !strchr("{[:", to->text[to->length - 1])) rune_append(to, ",", 1);
}

/* Appends JSON as it stands: "{", "[", "true", the text of a number, … */
RUNE_API void rune_raw(rune_json *to, const char *json) {
    if (*json != '}' && *json != ']') rune_comma(to);
    rune_append(to, json, strlen(json));
}

/* How many bytes the character at text has, 0 if there is none (RFC 3629). */
static size_t rune_character(const unsigned char *text, size_t length) {
    static const struct { unsigned char first, last, low, high, size; } kinds[] = {
        {0x00, 0x7f, 0, 0, 1},          {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3},    {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4},    {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        size_t size = kinds[kind].size;
        if (*text < kinds[kind].first || *text > kinds[kind].last) continue;
        if (size > length) return 0;
        if (size > 1 && (text[1] < kinds[kind].low || text[1] > kinds[kind].high)) return 0;
        for (size_t at = 2; at < size; at++)
            if ((text[at] & 0xc0) != 0x80) return 0;
        return size;
    }
    return 0;
}

RUNE_API void rune_string(rune_json *to, const char *text, size_t length) {
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    rune_comma(to);
    rune_append(to, "\"", 1);
    while (at < end) {
        size_t size = rune_character(at, (size_t)(end - at));
        char escape[8];
        if (size == 0) {
            rune_append(to, "\\ufffd", 6);
        } else if (size == 1 && (*at < 0x20 || *at == 0x7f)) {
            rune_append(to, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", *at));
        } else {
            if (*at == '"' || *at == '\\') rune_append(to, "\\", 1);
            rune_append(to, (const char *)at, size);
        }
        at += size ? size : 1;
    }
    rune_append(to, "\"", 1);
}

RUNE_API void rune_text(rune_json *to, const char *text) { rune_string(to, text, strlen(text)); }

RUNE_API void rune_key(rune_json *to, const char *key) {
    rune_text(to, key);
    rune_append(to, ":", 1);
}

/* The shortest text that reads back as the same number; null for what JSON has no number for. */
RUNE_API void rune_number(rune_json *to, double number) {
    char text[40] = "null";
    for (int digits = 15; digits <= 17 && isfinite(number); digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) break;
    }
    rune_raw(to, text);
}

/* Appends a value of the request as it came. */
RUNE_API void rune_copy(rune_json *to, const rune_value *value) {
    if (value->type == RUNE_STRING) {
        rune_string(to, value->text, value->length);
    } else if (value->type < RUNE_STRING) {
        rune_raw(to, value->text);
    } else {
        rune_raw(to, value->type == RUNE_OBJECT ? "{" : "[");
        for (const rune_value *one = value->first; one; one = one->next) {
            if (one->key) {
                rune_string(to, one->key, one->key_length);
                rune_append(to, ":", 1);
            }
            rune_copy(to, one);
        }
        rune_raw(to, value->type == RUNE_OBJECT ? "}" : "]");
    }
}

/* -- reading ------------------------------------------------------------------------------------- */

static const char *rune_at, *rune_end;

static void rune_bad(void) { rune_fail(1, "what stands on stdin is not one JSON object", NULL, 0); }

static int rune_next(void) { /* the next character that is no white space */
    while (rune_at < rune_end && *rune_at && strchr(" \t\r\n", *rune_at)) rune_at++;
    return rune_at < rune_end ? *rune_at : 0;
}

static unsigned rune_hex(void) {
    unsigned code = 0;
    if (rune_end - rune_at < 4) rune_bad();
    for (int digit = 0; digit < 4; digit++) {
        const char *hex = "0123456789abcdef", *found = strchr(hex, *rune_at | 0x20);
        if (!*rune_at || !found) rune_bad();
        code = code * 16 + (unsigned)(found - hex);
        rune_at++;
    }
    return code;
}

static char *rune_read_string(size_t *length) {
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    char *text, *to;
    const char *last = ++rune_at;
    while (last < rune_end && *last != '"') last += *last == '\\' ? 2 : 1;
    if (last >= rune_end) rune_bad();
    to = text = malloc((size_t)(last - rune_at) + 1); /* escapes are longer than what they stand for */
    if (!text) rune_fail(2, "out of memory", NULL, 0);
    while (rune_at < last) {
        if (*rune_at != '\\') {
            *to++ = *rune_at++;
            continue;
        }
        const char *found = rune_at[1] ? strchr(from, rune_at[1]) : NULL;
        rune_at += 2;
        if (found) {
            *to++ = into[found - from];
            continue;
        }
        if (rune_at[-1] != 'u') rune_bad();
        unsigned code = rune_hex();
        if (code >> 10 == 0xd800 >> 10 && last - rune_at >= 6 && !memcmp(rune_at, "\\u", 2)) {
            const char *before = rune_at;
            rune_at += 2;
            unsigned low = rune_hex();
            if (low >> 10 == 0xdc00 >> 10) code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff);
            else rune_at = before;
        }
        if (code >> 11 == 0xd800 >> 11) code = 0xfffd;
        if (code < 0x80) {
            *to++ = (char)code;
        } else {
            int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
            *to++ = (char)((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | code >> 6 * more);
            while (more--) *to++ = (char)(0x80 | (code >> 6 * more & 0x3f));
        }
    }
    rune_at = last + 1;
    *to = 0;
    *length = (size_t)(to - text);
    return text;
}

static rune_value *rune_read(int depth) {
    rune_value *value = calloc(1, sizeof *value), **tail = &value->first;
    if (!value) rune_fail(2, "out of memory", NULL, 0);
    int first = rune_next();
    if (first == '"') {
        value->type = RUNE_STRING;
        value->text = rune_read_string(&value->length);
    } else if (first == '{' || first == '[') {
        int end = first == '{' ? '}' : ']';
        value->type = first == '{' ? RUNE_OBJECT : RUNE_ARRAY;
        rune_at++;
        if (depth > 1000) rune_bad();
        while (rune_next() != end) {
            char *key = NULL;
            size_t key_length = 0;
            if (value->first && *rune_at++ != ',') rune_bad();
            if (value->type == RUNE_OBJECT) {
                if (rune_next() != '"') rune_bad();
                key = rune_read_string(&key_length);
                if (rune_next() != ':') rune_bad();
                rune_at++;
            }
            *tail = rune_read(depth + 1);
            (*tail)->key = key;
            (*tail)->key_length = key_length;
            tail = &(*tail)->next;
        }
        rune_at++;
    } else {
        size_t length = 0;
        while (rune_at + length < rune_end && rune_at[length] && !strchr(" \t\r\n,:{}[]\"", rune_at[length]))
            length++;
        if (!(value->text = calloc(1, length + 1))) rune_fail(2, "out of memory", NULL, 0);
        memcpy(value->text, rune_at, value->length = length);
        rune_at += length;
        if (!strcmp(value->text, "null")) value->type = RUNE_NULL;
        else if (!strcmp(value->text, "true") || !strcmp(value->text, "false")) value->type = RUNE_BOOLEAN;
        else if (length && strchr("-0123456789", first)) value->type = RUNE_NUMBER;
        else rune_bad();
    }
    return value;
}

/* Reads the request from stdin; call it first. */
RUNE_API void rune_begin(void) {
    rune_json input = {NULL, 0, 0};
    char block[65536];
    size_t got;
    rune_started = time(NULL);
    while ((got = fread(block, 1, sizeof block, stdin)) > 0) rune_append(&input, block, got);
    rune_at = input.text;
    rune_end = input.text + input.length;
    if (!input.length || rune_next() != '{') rune_bad();
    rune_request = rune_read(0);
    if (rune_next()) rune_bad();
}

/* The member of that key, or the item of that index in decimal; NULL if there is none. */
RUNE_API const rune_value *rune_member(const rune_value *in, const char *key) {
    size_t index = 0;
    for (const rune_value *one = in ? in->first : NULL; one; one = one->next, index++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", index);
        if (one->key ? one->key_length == strlen(key) && !memcmp(one->key, key, one->key_length)
                     : !strcmp(number, key))
            return one;
    }
    return NULL;
}

/* The parameter that keys and indices lead to, NULL if it is missing: rune_param("disks", "0", NULL). */
RUNE_API const rune_value *rune_param(const char *key, ...) {
    const rune_value *value = rune_member(rune_member(rune_request, "payload"), "input_parameters");
    va_list more;
    va_start(more, key);
    for (; key; key = va_arg(more, const char *)) value = rune_member(value, key);
    va_end(more);
    return value;
}

/* target, action, run_id, attempt, deadline or timeout_s; NULL if not given. */
RUNE_API const rune_value *rune_context(const char *name) {
    return rune_member(rune_member(rune_member(rune_request, "payload"), "context"), name);
}

/* The seconds until the host ends the plugin, -1 if nobody said; counted from the start, so that a wrong
   clock of the host does no harm. */
RUNE_API double rune_left(void) {
    const rune_value *timeout = rune_context("timeout_s");
    if (!timeout || timeout->type != RUNE_NUMBER) return -1;
    double left = strtod(timeout->text, NULL) - difftime(time(NULL), rune_started);
    return left > 0 ? left : 0;
}

/* -- the answer ---------------------------------------------------------------------------------- */

static void rune_event(const char *kind, const rune_json *rest) {
    fprintf(stderr, "##rune {\"kind\":\"%s\"%s%s}\n", kind, rest->length ? "," : "", rest->length ? rest->text : "");
}

/* Begins a member of output_data; json is its value, NULL if that is appended to rune_output next. */
RUNE_API void rune_put(const char *key, const char *json) {
    rune_key(&rune_output, key);
    if (json) rune_raw(&rune_output, json);
}

/* Adds to output_data.metrics and tells RUNE at once. better is "higher" or "lower"; labels are pairs of
   texts that end with NULL, or NULL; count numbers are in samples. */
RUNE_API void rune_metric(const char *name, double value, const char *unit, const char *better,
                          const char *const *labels, const double *samples, size_t count) {
    rune_json one = {NULL, 0, 0};
    rune_key(&one, "name"), rune_text(&one, name);
    rune_key(&one, "value"), rune_number(&one, value);
    rune_key(&one, "unit"), rune_text(&one, unit);
    rune_key(&one, "better"), rune_text(&one, better);
    if (labels && *labels) {
        rune_key(&one, "labels"), rune_raw(&one, "{");
        for (; *labels; labels += 2) rune_key(&one, labels[0]), rune_text(&one, labels[1]);
        rune_raw(&one, "}");
    }
    rune_event("metric", &one);
    if (count) {
        rune_key(&one, "samples"), rune_raw(&one, "[");
        for (size_t at = 0; at < count; at++) rune_number(&one, samples[at]);
        rune_raw(&one, "]");
    }
    rune_raw(&rune_metrics, "{");
    rune_append(&rune_metrics, one.text, one.length);
    rune_raw(&rune_metrics, "}");
    free(one.text);
}

/* How far the plugin is, 0 to 100; message may be NULL. */
RUNE_API void rune_progress(double percent, const char *message) {
    rune_json one = {NULL, 0, 0};
    rune_key(&one, "percent"), rune_number(&one, percent);
    if (message) rune_key(&one, "message"), rune_text(&one, message);
    rune_event("progress", &one);
    free(one.text);
}

/* level is debug, info, warning or error. */
RUNE_API void rune_log(const char *level, const char *message) {
    rune_json one = {NULL, 0, 0};
    rune_key(&one, "level"), rune_text(&one, level);
    rune_key(&one, "message"), rune_text(&one, message);
    rune_event("log", &one);
    free(one.text);
}

/* Answers with what was put, and the metrics, and exits. */
RUNE_API void rune_success(void) {
    if (rune_metrics.length) {
        rune_put("metrics", NULL), rune_raw(&rune_output, "[");
        rune_append(&rune_output, rune_metrics.text, rune_metrics.length);
        rune_raw(&rune_output, "]");
    }
    printf("{\"payload\":{\"result\":\"success\",\"output_data\":{%s}}}\n", rune_output.length ? rune_output.text : "");
    exit(fflush(stdout) == 0 ? 0 : 100);
}

/* Answers with an error and exits with code; details is a JSON object or NULL. */
RUNE_API void rune_fail(int code, const char *message, const rune_json *details, int retryable) {
    rune_json error = {NULL, 0, 0};
    rune_text(&error, message);
    printf("{\"error\":{\"code\":%d,\"message\":%s%s%s%s}}\n", code, error.text, details ? ",\"details\":" : "",
           details ? details->text : "", retryable ? ",\"retryable\":true" : "");
    fflush(stdout);
    exit(code);
}

#endif
