/* rankctl banks and rankctl checkpoint: small documents out of the control API, as a table or as they came.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "table.h"

static int say(struct ctl *ctl, struct ctl_http *http, json_t *value, const char *done)
{
    int status = 0;
    if (!value)
        status = rankd_ctl_fail(1, "%s", rankd_ctl_http_why(http));
    else if (ctl->json[0] || !done) {
        json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
        putchar('\n');
    } else {
        puts(done);
    }
    json_decref(value);
    rankd_ctl_http_close(http);
    return status;
}

static void list_banks(const json_t *banks)
{
    size_t i;
    json_t *bank;
    printf("%-24s %-10s %10s %10s %8s %10s %10s  %s\n", "bank", "kind", "items", "capacity", "dim", "version",
           "bytes", "state");
    json_array_foreach(banks, i, bank)
    {
        const char *kind = json_string_value(json_object_get(bank, "kind"));
        json_t *width = json_object_get(bank, kind && kind[0] == 's' ? "lists" : "dim");
        json_t *read_only = json_object_get(bank, "read_only");
        char bytes[16];
        rankd_ctl_bytes(bytes, (double)json_integer_value(json_object_get(bank, "bytes")));
        printf("%-24s %-10s %10" PRId64 " %10" PRId64 " %8" PRId64 " %10" PRId64 " %10s  %s\n",
               json_string_value(json_object_get(bank, "name")), kind ? kind : "?",
               (int64_t)json_integer_value(json_object_get(bank, "items")),
               (int64_t)json_integer_value(json_object_get(bank, "capacity")),
               (int64_t)json_integer_value(width),
               (int64_t)json_integer_value(json_object_get(bank, "version")), bytes,
               json_is_true(read_only) ? "read-only" : "ready");
    }
}

/* A name goes into the path as it is, so it must be one the daemon could have. */
static void check_name(const char *what, const char *name)
{
    size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (!length || name[length] || length > 64 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        exit(rankd_ctl_fail(2, "%s is '%s'; a name is 1 to 64 of A-Z a-z 0-9 . _ -", what, name));
}

static int usage(const char *command)
{
    return rankd_ctl_fail(2, "rankctl %s --help shows what may follow", command);
}

int rankd_ctl_banks(struct ctl *ctl)
{
    const char *verb = ctl->arguments_count ? ctl->arguments[0] : "list";
    bool list = strcmp(verb, "list") == 0, create = strcmp(verb, "create") == 0;
    if (ctl->arguments_count != (list ? ctl->arguments_count > 0 : create ? 3 : 2))
        return usage("banks");
    char path[160] = "/v2/banks";
    if (!list) {
        check_name("the bank", ctl->arguments[1]);
        snprintf(path, sizeof path, "/v2/banks/%s", ctl->arguments[1]);
    }
    struct ctl_http *http = rankd_ctl_http_open(ctl);
    if (create)
        return say(ctl, http, rankd_ctl_http_json(http, "PUT", path, ctl->arguments[2]), "created");
    if (strcmp(verb, "show") == 0)
        return say(ctl, http, rankd_ctl_http_json(http, "GET", path, NULL), NULL);
    if (strcmp(verb, "delete") == 0)
        return say(ctl, http, rankd_ctl_http_json(http, "DELETE", path, NULL), "deleted");
    if (strcmp(verb, "clear") == 0) {
        snprintf(path, sizeof path, "/v2/banks/%s/clear", ctl->arguments[1]);
        return say(ctl, http, rankd_ctl_http_json(http, "POST", path, NULL), "cleared");
    }
    if (!list) {
        rankd_ctl_http_close(http);
        return usage("banks");
    }
    json_t *banks = rankd_ctl_http_json(http, "GET", path, NULL);
    if (!banks || ctl->json[0])
        return say(ctl, http, banks, NULL);
    list_banks(json_is_array(banks) ? banks : json_object_get(banks, "banks"));
    json_decref(banks);
    rankd_ctl_http_close(http);
    return 0;
}

int rankd_ctl_checkpoint(struct ctl *ctl)
{
    const char *verb = ctl->arguments_count ? ctl->arguments[0] : "";
    bool list = strcmp(verb, "list") == 0;
    bool create = strcmp(verb, "create") == 0, restore = strcmp(verb, "restore") == 0,
         delete = strcmp(verb, "delete") == 0;
    if (!(list || create || restore || delete) || ctl->arguments_count != (list ? 2 : 3))
        return usage("checkpoint");
    char path[256];
    check_name("the bank", ctl->arguments[1]);
    if (!list)
        check_name("the tag", ctl->arguments[2]);
    snprintf(path, sizeof path, "/v2/banks/%s/checkpoints%s%s%s", ctl->arguments[1], list ? "" : "/",
             list ? "" : ctl->arguments[2], restore ? "/restore" : "");
    struct ctl_http *http = rankd_ctl_http_open(ctl);
    json_t *answer = rankd_ctl_http_json(http,
                                         list      ? "GET"
                                         : create  ? "PUT"
                                         : restore ? "POST"
                                                   : "DELETE",
                                         path, NULL);
    return say(ctl, http, answer, list ? NULL : create ? "taken" : restore ? "restored" : "deleted");
}
