/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <ctype.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_table.h"
#include "config/file_read.h"

enum { FILE_MOST = 1 << 20 /* bytes */, OPTIONS_MOST = 128 };

struct file_reader {
    struct rk_config *config;
    const char *path;
    struct rk_err *err;
    bool seen[OPTIONS_MOST];
};

static int take_pair(void *user, const char *section, const char *name, const char *value)
{
    struct file_reader *reader = user;
    if (*section) {
        (void)rk_fail(reader->err, RANKD_INVALID,
                      "%s: section [%.64s] is not known; options stand without one", reader->path, section);
        return 0;
    }
    if (rk_config_set(reader->config, name, value, reader->path, reader->err) != RANKD_OK)
        return 0;
    const ptrdiff_t position = rk_option_find(name) - rk_options;
    if (reader->seen[position])
        (void)rk_fail(reader->err, RANKD_INVALID, "%s: %s is set a second time; it may stand once",
                      reader->path, name);
    reader->seen[position] = true;
    return reader->err->status == RANKD_OK;
}

/* By default inih reads a line of more than 200 bytes as two. */
static void take_lines_whole(void)
{
    ini_use_stack = false;
    ini_allow_realloc = true;
    ini_max_line = FILE_MOST + 3;
}

static enum rankd_status read_file(struct rk_config *config, const char *path, struct rk_err *err)
{
    struct file_reader reader = {.config = config, .path = path, .err = err};
    size_t bytes;
    char *text = rk_file_read_new("--config", path, FILE_MOST, &bytes, err);
    if (!text)
        return err->status;
    assert(rk_option_count <= OPTIONS_MOST);
    take_lines_whole();
    int line = 0;
    if (strlen(text) != bytes)
        (void)rk_fail(err, RANKD_INVALID, "%s has a NUL byte; it must be text", path);
    else
        line = ini_parse_string(text, take_pair, &reader);
    free(text);
    if (err->status != RANKD_OK)
        return err->status;
    if (line != 0)
        return rk_fail(err, RANKD_INVALID, "%s: line %d is not `option = value`", path, line);
    return RANKD_OK;
}

/* "RANKD_QUEUE_REQUESTS" for "queue-requests". */
static void environment_name(const char *option, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "RANKD_");
    for (; *option && at + 1 < size; option++)
        out[at++] = *option == '-' ? '_' : (char)toupper((unsigned char)*option);
    out[at] = '\0';
}

static const char *look_up(char *const *environment, const char *name)
{
    const size_t length = strlen(name);
    for (; environment && *environment; environment++) {
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    }
    return NULL;
}

static enum rankd_status read_environment(struct rk_config *config, char *const *environment,
                                          struct rk_err *err)
{
    for (size_t i = 0; i < rk_option_count; i++) {
        char name[64];
        environment_name(rk_options[i].name, name, sizeof name);
        const char *value = look_up(environment, name);
        if (value && rk_config_set(config, rk_options[i].name, value, name, err) != RANKD_OK)
            return err->status;
    }
    return RANKD_OK;
}

static bool is_action(const char *argument, enum rk_config_action *action)
{
    static const struct {
        const char *flag;
        enum rk_config_action action;
    } actions[] = {
        {"--help", RK_CONFIG_HELP},          {"-h", RK_CONFIG_HELP},
        {"--version", RK_CONFIG_VERSION},    {"--print-config", RK_CONFIG_PRINT},
        {"--check-config", RK_CONFIG_CHECK}, {"--print-reference", RK_CONFIG_MARKDOWN},
        {"--health", RK_CONFIG_HEALTH},      {"--tune", RK_CONFIG_TUNE},
    };
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(argument, actions[i].flag) == 0) {
            *action = actions[i].action;
            return true;
        }
    }
    return false;
}

static bool is_flag(const char *name)
{
    for (size_t i = 0; i < rk_option_count; i++) {
        if (rk_options[i].type == RK_OPTION_FLAG && strcmp(rk_options[i].name, name) == 0)
            return true;
    }
    return false;
}

/* One option of the command line: `--name=value`, `--name value`; a flag alone, too. */
struct argument {
    char name[64];
    const char *value;
};

/* A flag stands alone, or before one of the words that it takes. */
static const char *flag_value(int argc, char *const *argv, int *at)
{
    static const char *const words[] = {"true", "false", "1", "0"};
    for (size_t i = 0; i < sizeof words / sizeof *words && *at + 1 < argc; i++) {
        if (strcmp(argv[*at + 1], words[i]) == 0)
            return argv[++*at];
    }
    return "true";
}

static enum rankd_status split(int argc, char *const *argv, int *at, struct argument *argument,
                               struct rk_err *err)
{
    const char *text = argv[*at], *before = *at > 1 ? argv[*at - 1] : "";
    const bool is_option = strncmp(text, "--", 2) == 0 && text[2] != '\0';
    if (!is_option && strncmp(before, "--", 2) == 0 && is_flag(before + 2))
        return rk_fail(err, RANKD_INVALID, "%.64s was \"%.64s\"; it may be true or false, or stand alone",
                       before + 2, text);
    if (!is_option)
        return rk_fail(err, RANKD_INVALID,
                       "\"%.64s\" is not an option; options begin with --, --help lists them", text);
    const size_t length = strcspn(text + 2, "=");
    (void)snprintf(argument->name, sizeof argument->name, "%.*s", (int)(length < 63 ? length : 63), text + 2);
    if (text[2 + length] == '=')
        argument->value = text + 3 + length;
    else if (is_flag(argument->name))
        argument->value = flag_value(argc, argv, at);
    else if (*at + 1 < argc)
        argument->value = argv[++*at];
    else
        return rk_fail(err, RANKD_INVALID, "--%s needs a value", argument->name);
    return RANKD_OK;
}

/* Goes through the arguments. With `config` NULL only the path after --config is looked for. */
static enum rankd_status read_arguments(struct rk_config *config, int argc, char *const *argv,
                                        const char **path, enum rk_config_action *action, struct rk_err *err)
{
    for (int at = 1; at < argc; at++) {
        struct argument argument = {0};
        char where[72];
        if (is_action(argv[at], action))
            continue;
        if (split(argc, argv, &at, &argument, err) != RANKD_OK)
            return err->status;
        if (strcmp(argument.name, "config") == 0) {
            *path = argument.value;
            continue;
        }
        (void)snprintf(where, sizeof where, "--%s", argument.name);
        if (config && rk_config_set(config, argument.name, argument.value, where, err) != RANKD_OK)
            return err->status;
    }
    return RANKD_OK;
}

enum rankd_status rk_config_read(struct rk_config *config, int argc, char *const *argv,
                                 char *const *environment, enum rk_config_action *action, struct rk_err *err)
{
    const char *path = look_up(environment, "RANKD_CONFIG");
    *action = RK_CONFIG_RUN;
    rk_config_default(config);
    if (read_arguments(NULL, argc, argv, &path, action, err) != RANKD_OK)
        return err->status;
    if (path && *path && read_file(config, path, err) != RANKD_OK)
        return err->status;
    if (read_environment(config, environment, err) != RANKD_OK)
        return err->status;
    return read_arguments(config, argc, argv, &path, action, err);
}
