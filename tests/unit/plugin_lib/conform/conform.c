#include "rune.h"

static const char *const types[] = {"null", "boolean", "number", "string", "array", "object"};

int main(void) {
    rune_begin();
    const rune_value *what = rune_param("do", NULL), *found;
    if (!what) rune_fail(1, "do is missing", NULL, 0);
    if (!strcmp(what->text, "walk")) {
        rune_put("value", NULL);
        rune_copy(&rune_output, rune_param("value", NULL));
    } else if (!strcmp(what->text, "get")) {
        found = rune_param(NULL);
        for (const rune_value *step = rune_param("path", NULL)->first; step; step = step->next)
            found = rune_member(found, step->text);
        rune_put("type", NULL);
        rune_text(&rune_output, found ? types[found->type] : "missing");
        if (found) {
            rune_put("value", NULL);
            rune_copy(&rune_output, found);
        }
    } else if (!strcmp(what->text, "fail")) {
        rune_json details = {NULL, 0, 0};
        const rune_value *retryable = rune_param("retryable", NULL);
        if ((found = rune_param("details", NULL))) rune_copy(&details, found);
        rune_fail(atoi(rune_param("code", NULL)->text), rune_param("message", NULL)->text,
                  found ? &details : NULL, retryable && !strcmp(retryable->text, "true"));
    } else if (!strcmp(what->text, "events")) {
        const char *message = rune_param("message", NULL)->text;
        const char *labels[] = {"device", message, "kind", "a", NULL};
        const double samples[] = {411, 414};
        rune_progress(12.5, message);
        rune_log("warning", message);
        rune_metric("busbw", 412.5, "GB/s", "higher", labels, samples, 2);
        rune_metric("latency", 7, "us", "lower", NULL, NULL, 0);
    } else if (!strcmp(what->text, "left")) {
        rune_put("left", NULL);
        rune_number(&rune_output, rune_left());
        found = rune_context("target");
        rune_put("target", NULL);
        rune_string(&rune_output, found->text, found->length);
    } else if (!strcmp(what->text, "bytes")) {
        char bytes[65536];
        FILE *file = fopen("bytes", "rb");
        size_t length = file ? fread(bytes, 1, sizeof bytes, file) : 0;
        if (file) fclose(file);
        rune_put("text", NULL);
        rune_string(&rune_output, bytes, length);
    }
    rune_success();
}
