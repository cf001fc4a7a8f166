/* SPDX-License-Identifier: Apache-2.0 */
/* rankctl: reads the command line by the table and calls the command. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "rankd_streams.h"

static const struct command {
    const char *name, *arguments, *help;
    int (*run)(struct ctl *ctl);
} commands[] = {
#define CTL_COMMAND(name, arguments, help) {#name, arguments, help, rankd_ctl_##name},
#include "command.def"
};

static const struct option {
    const char *flag;
    char letter;
    const char *argument;
    int commands;
    const char *preset, *help;
    size_t offset; /* of the field in struct ctl */
} options[] = {
#define CTL_OPTION(name, flag, letter, argument, commands, preset, help)                                     \
    {flag, letter, argument, commands, preset, help, offsetof(struct ctl, name)},
#include "command.def"
};
enum { OPTIONS = sizeof options / sizeof options[0] };

static const char **field(struct ctl *ctl, const struct option *option)
{
    return (const char **)(void *)((char *)ctl + option->offset);
}

static void print_options(int of_command)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &options[i];
        if (!(o->commands & of_command))
            continue;
        char left[64];
        if (o->letter)
            snprintf(left, sizeof left, "-%c, --%s %s", o->letter, o->flag, o->argument);
        else
            snprintf(left, sizeof left, "    --%s %s", o->flag, o->argument);
        printf("  %-28s %s", left, o->help);
        printf(o->preset[0] ? " [%s]\n" : "\n", o->preset);
    }
}

static int help(int of)
{
    if (of < CTL_COMMANDS) {
        printf("usage: rankctl %s [options]%s%s\n\n%s\n\n", commands[of].name,
               commands[of].arguments[0] ? " " : "", commands[of].arguments, commands[of].help);
        print_options(1 << of);
        return 0;
    }
    puts("usage: rankctl COMMAND [options] [arguments]\n");
    for (int i = 0; i < CTL_COMMANDS; i++)
        printf("  %-12s %s\n", commands[i].name, commands[i].help);
    puts("\nrankctl COMMAND --help shows a command's options.\n"
         "Exit status: 0 done; 1 the daemon or the machine reported an error; 2 the command line is wrong.");
    return 0;
}

/* The command of that name, CTL_COMMANDS if there is none. */
static int find_command(const char *name)
{
    int i = 0;
    while (i < CTL_COMMANDS && strcmp(name, commands[i].name) != 0)
        i++;
    return i;
}

static int no_such_command(const char *word)
{
    char known[160] = "";
    for (int i = 0; i < CTL_COMMANDS; i++)
        (void)snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s",
                       i == 0                  ? ""
                       : i + 1 == CTL_COMMANDS ? " or "
                                               : ", ",
                       commands[i].name);
    return rankd_ctl_fail(2, "'%s' is not a command; it may be %s%s", word, known,
                          word[0] == '-' ? ", with options after it" : "");
}

/* The option that `word` names, and in *value what follows its '=' (NULL if nothing does). */
static const struct option *find_option(const char *word, const char **value)
{
    *value = NULL;
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &options[i];
        if (word[1] != '-') {
            if (o->letter && word[1] == o->letter) {
                *value = word[2] ? word + 2 : NULL;
                return o;
            }
            continue;
        }
        size_t length = strlen(o->flag);
        if (strncmp(word + 2, o->flag, length) != 0 || (word[2 + length] && word[2 + length] != '='))
            continue;
        *value = word[2 + length] ? word + 2 + length + 1 : NULL;
        return o;
    }
    return NULL;
}

/* Takes the option at argv[*at] and moves *at past it. Returns 0, or the exit status. */
static int take_option(struct ctl *ctl, int command, char **argv, int argc, int *at)
{
    const char *word = argv[*at], *value;
    const struct option *o = find_option(word, &value);
    if (!o || !(o->commands & 1 << command))
        return rankd_ctl_fail(2, "'%s' is not an option of %s; rankctl %s --help lists them", word,
                              commands[command].name, commands[command].name);
    if (!o->argument[0]) {
        if (value)
            return rankd_ctl_fail(2, "--%s takes no value, and got '%s'", o->flag, value);
        value = "yes";
    } else if (!value) {
        if (*at + 1 >= argc)
            return rankd_ctl_fail(2, "--%s needs a value: %s", o->flag, o->argument);
        value = argv[++*at];
    }
    *field(ctl, o) = value;
    if (o->offset == offsetof(struct ctl, parameter)) {
        if (ctl->parameters_count == CTL_MAX_PARAMETERS)
            return rankd_ctl_fail(2, "more than %d times --parameter", CTL_MAX_PARAMETERS);
        ctl->parameters[ctl->parameters_count++] = value;
    }
    ++*at;
    return 0;
}

static int read_token(struct ctl *ctl)
{
    const char *token = getenv("RANKD_TOKEN");
    if (token)
        snprintf(ctl->token, sizeof ctl->token, "%s", token);
    if (!ctl->token_file[0])
        return 0;
    FILE *file = fopen(ctl->token_file, "re");
    if (!file)
        return rankd_ctl_fail(2, "--token-file %s: %s", ctl->token_file, strerror(errno));
    bool got = fgets(ctl->token, sizeof ctl->token, file) != NULL;
    fclose(file);
    ctl->token[strcspn(ctl->token, "\r\n")] = 0;
    return got && ctl->token[0] ? 0 : rankd_ctl_fail(2, "--token-file %s holds no token", ctl->token_file);
}

/* A URL of the form unix:PATH is a socket; what follows a '?' is for Python's client. */
static void take_socket_from_url(struct ctl *ctl)
{
    static char path[4096];
    if (strncmp(ctl->url, "unix:", 5) != 0 || ctl->socket[0])
        return;
    const char *from = ctl->url + (strncmp(ctl->url, "unix://", 7) == 0 ? 7 : 5);
    (void)snprintf(path, sizeof path, "%.*s", (int)strcspn(from, "?"), from);
    ctl->socket = path;
}

static int read_command_line(struct ctl *ctl, int command, int argc, char **argv)
{
    for (size_t i = 0; i < OPTIONS; i++)
        *field(ctl, &options[i]) = options[i].preset;
    if (getenv("RANKD_URL"))
        ctl->url = getenv("RANKD_URL");
    ctl->arguments = argv; /* moved to the front, over what was read */
    for (int i = 2; i < argc;) {
        if (argv[i][0] != '-' || !argv[i][1]) {
            ctl->arguments[ctl->arguments_count++] = argv[i++];
            continue;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            exit(help(command));
        int status = take_option(ctl, command, argv, argc, &i);
        if (status)
            return status;
    }
    take_socket_from_url(ctl);
    return read_token(ctl);
}

int main(int argc, char **argv)
{
    if (!rankd_streams_open())
        return rankd_ctl_fail(1, "a standard stream is closed, and /dev/null can't be opened in its place");
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help(CTL_COMMANDS) + (argc < 2 ? 2 : 0);
    if (strcmp(argv[1], "help") == 0)
        return argc > 2 && find_command(argv[2]) == CTL_COMMANDS
                   ? no_such_command(argv[2])
                   : help(argc > 2 ? find_command(argv[2]) : CTL_COMMANDS);
    if (strcmp(argv[1], "--version") == 0) {
        puts("rankctl " RK_VERSION);
        return 0;
    }
    const int command = find_command(argv[1]);
    if (command == CTL_COMMANDS)
        return no_such_command(argv[1]);
    struct ctl ctl = {0};
    const int status = read_command_line(&ctl, command, argc, argv);
    return status ? status : commands[command].run(&ctl);
}
