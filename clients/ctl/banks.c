/* SPDX-License-Identifier: Apache-2.0 */
/* rankctl banks and rankctl checkpoint: small documents from the control API, as a table or
 * unchanged. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http.h"
#include "table.h"

/* A verb of a command, and its call to the daemon. */
struct verb {
    const char *name;
    const char *words; /* words that follow it on the command line */
    int count;         /* of them: the bank's name, then the tag or the configuration */
    const char *method, *suffix;
    const char *done;                    /* the message on success; NULL = the answer is shown */
    void (*print)(const json_t *answer); /* as a table; NULL = as JSON */
};

static int64_t number(const json_t *object, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(object, key));
}

/* The width of the longest name under `key`, at least `least`. */
static int width_of(const json_t *array, const char *key, int least)
{
    size_t i;
    json_t *one;
    json_array_foreach(array, i, one)
    {
        const int length = (int)strlen(rankd_ctl_http_string(one, key));
        least = length > least ? length : least;
    }
    return least;
}

static void print_banks(const json_t *banks)
{
    size_t i;
    json_t *bank;
    const int width = width_of(banks, "name", 16);
    if (!json_array_size(banks)) {
        puts("no banks; rankctl banks create NAME CONFIGURATION makes one");
        return;
    }
    printf("%-*s %-10s %10s %10s %9s %10s %10s %10s  %s\n", width, "bank", "kind", "items", "capacity",
           "dim/lists", "version", "bytes", "durability", "state");
    json_array_foreach(banks, i, bank)
    {
        const bool scores = strcmp(rankd_ctl_http_string(bank, "kind"), "scores") == 0;
        const bool read_only = json_is_true(json_object_get(bank, "read_only"));
        char bytes[16];
        rankd_ctl_bytes(bytes, (double)number(bank, "bytes"));
        printf("%-*s %-10s %10" PRId64 " %10" PRId64 " %9" PRId64 " %10" PRId64 " %10s %10s  %s%s%s\n", width,
               rankd_ctl_http_string(bank, "name"), rankd_ctl_http_string(bank, "kind"),
               number(bank, "items"), number(bank, "capacity"), number(bank, scores ? "lists" : "dim"),
               number(bank, "version"), bytes, rankd_ctl_http_string(bank, "durability"),
               rankd_ctl_bank_state(bank), read_only ? ": " : "",
               read_only ? rankd_ctl_http_string(bank, "reason") : "");
    }
}

static void print_checkpoints(const json_t *checkpoints)
{
    size_t i;
    json_t *one;
    const int width = width_of(checkpoints, "tag", 16);
    if (!json_array_size(checkpoints)) {
        puts("no checkpoints; rankctl checkpoint create BANK TAG takes one");
        return;
    }
    printf("%-*s %10s %10s  %s\n", width, "tag", "items", "version", "taken");
    json_array_foreach(checkpoints, i, one)
    {
        char when[32] = "?";
        const time_t taken = (time_t)number(one, "created");
        struct tm local;
        if (localtime_r(&taken, &local))
            (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
        printf("%-*s %10" PRId64 " %10" PRId64 "  %s\n", width, rankd_ctl_http_string(one, "tag"),
               number(one, "items"), number(one, "version"), when);
    }
}

static const struct verb banks_verbs[] = {
    {"list", "nothing", 0, "GET", "", NULL, print_banks},
    {"show", "NAME", 1, "GET", "", NULL, NULL},
    {"create", "NAME CONFIGURATION", 2, "PUT", "", "created", NULL},
    {"clear", "NAME", 1, "POST", "/clear", "cleared", NULL},
    {"delete", "NAME", 1, "DELETE", "", "deleted", NULL},
    {0},
};
static const struct verb checkpoint_verbs[] = {
    {"list", "BANK", 1, "GET", "/checkpoints", NULL, print_checkpoints},
    {"create", "BANK TAG", 2, "PUT", "", "taken", NULL},
    {"restore", "BANK TAG", 2, "POST", "/restore", "restored", NULL},
    {"delete", "BANK TAG", 2, "DELETE", "", "deleted", NULL},
    {0},
};

/* The verb on the command line, with all its words; otherwise prints the valid ones and exits. */
static const struct verb *find_verb(const struct ctl *ctl, const char *command, const struct verb *verbs)
{
    const char *name = ctl->arguments_count ? ctl->arguments[0] : "";
    const int got = ctl->arguments_count - 1;
    char known[128] = "";
    for (const struct verb *verb = verbs; verb->name; verb++) {
        if (strcmp(verb->name, name) == 0 && verb->count == got)
            return verb;
        if (strcmp(verb->name, name) == 0)
            exit(rankd_ctl_fail(2, "%s %s needs %s; it got %d %s", command, name, verb->words, got,
                                got == 1 ? "word" : "words"));
        const char *between = verb == verbs ? "" : verb[1].name ? ", " : " or ";
        (void)snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", between, verb->name);
    }
    if (!name[0])
        exit(rankd_ctl_fail(2, "%s needs a verb: %s", command, known));
    exit(rankd_ctl_fail(2, "'%s' is not a verb of %s; it may be %s", name, command, known));
}

/* A name goes into the path unchanged, so it must be a valid one. */
static const char *checked(const char *what, const char *name)
{
    size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (!length || name[length] || length > 64 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        exit(rankd_ctl_fail(2, "the %s is '%s'; a name is 1 to 64 of A-Z a-z 0-9 . _ -", what, name));
    return name;
}

static int ask_banks(const struct ctl *ctl, const struct verb *verb, const char *path, const char *body)
{
    int status = 0;
    struct ctl_http *http = rankd_ctl_http_open(ctl);
    json_t *answer = rankd_ctl_http_json(http, verb->method, path, body);
    if (!answer) {
        status = rankd_ctl_fail(1, "%s", rankd_ctl_http_why(http));
    } else if (verb->print && !ctl->json[0] && !rankd_ctl_http_is_list(answer)) {
        status = rankd_ctl_fail(1, "%s%s did not answer with a list", rankd_ctl_http_url(http), path);
    } else if (verb->print && !ctl->json[0]) {
        verb->print(answer);
    } else if (verb->done && !ctl->json[0]) {
        puts(verb->done);
    } else {
        json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
        putchar('\n');
    }
    json_decref(answer);
    rankd_ctl_http_close(http);
    return status;
}

int rankd_ctl_banks(struct ctl *ctl)
{
    const struct verb *verb = ctl->arguments_count ? find_verb(ctl, "banks", banks_verbs) : banks_verbs;
    char path[160] = "/v2/banks";
    if (verb->count)
        snprintf(path, sizeof path, "/v2/banks/%s%s", checked("bank", ctl->arguments[1]), verb->suffix);
    return ask_banks(ctl, verb, path, verb->count == 2 ? ctl->arguments[2] : NULL);
}

int rankd_ctl_checkpoint(struct ctl *ctl)
{
    const struct verb *verb = find_verb(ctl, "checkpoint", checkpoint_verbs);
    const char *bank = checked("bank", ctl->arguments[1]);
    char path[256];
    if (verb->count == 1)
        snprintf(path, sizeof path, "/v2/banks/%s%s", bank, verb->suffix);
    else
        snprintf(path, sizeof path, "/v2/banks/%s/checkpoints/%s%s", bank, checked("tag", ctl->arguments[2]),
                 verb->suffix);
    return ask_banks(ctl, verb, path, NULL);
}
