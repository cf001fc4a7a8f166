/* SPDX-License-Identifier: Apache-2.0 */
/* Completion for bash. */
#include <string.h>

#include "gen.h"

void rk_gen_completion_rankd(FILE *out)
{
    fputs(
        "# bash completion for rankd\n_rankd() {\n"
        "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n    case $before in\n",
        out);
    for (size_t i = 0; i < rk_gen_options_count; i++) {
        const struct rk_gen_option *o = &rk_gen_options[i];
        if (!o->words)
            continue;
        fprintf(out, "    --%s) COMPREPLY=($(compgen -W \"", o->name);
        for (const char *at = o->words; *at; at++)
            fputc(*at == '|' ? ' ' : *at, out);
        fputs("\" -- \"$word\")); return ;;\n", out);
    }
    fputs("    --config|--data|--tuning|--socket|--tokens|--tls-*) COMPREPLY=($(compgen -f -- \"$word\")); return "
          ";;\n    esac\n"
          "    COMPREPLY=($(compgen -W \"",
          out);
    for (size_t i = 0; i < rk_gen_options_count; i++)
        fprintf(out, "--%s ", rk_gen_options[i].name);
    fputs("--config --check-config --print-config --health --tune --help --version\" -- \"$word\"))\n}\ncomplete -F "
          "_rankd rankd\n",
          out);
}

static void command(FILE *out, size_t c)
{
    static const struct {
        const char *command, *words;
    } verbs[] = {{"banks", "list show create clear delete"}, {"checkpoint", "list create restore delete"}};
    const char *name = rk_gen_commands[c].name;
    fprintf(out, "    %s) COMPREPLY=($(compgen -W \"--help", name);
    for (size_t i = 0; i < rk_gen_flags_count; i++)
        if (rk_gen_flags[i].commands >> c & 1)
            fprintf(out, " --%s", rk_gen_flags[i].name);
    for (size_t v = 0; v < sizeof verbs / sizeof verbs[0]; v++)
        if (strcmp(name, verbs[v].command) == 0)
            fprintf(out, " %s", verbs[v].words);
    fprintf(out, "\" -- \"$word\")%s) ;;\n", strcmp(name, "loss") == 0 ? " $(compgen -f -- \"$word\")" : "");
}

void rk_gen_completion_rankctl(FILE *out)
{
    fputs("# bash completion for rankctl\n_rankctl() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    if [ \"$COMP_CWORD\" = 1 ]; then COMPREPLY=($(compgen -W \"",
          out);
    for (size_t c = 0; c < rk_gen_commands_count; c++)
        fprintf(out, "%s ", rk_gen_commands[c].name);
    fputs("--help --version\" -- \"$word\")); return; fi\n    case $before in\n"
          "    --socket|--token-file|--ca-file|--gradient|--data) COMPREPLY=($(compgen -f -- \"$word\")); "
          "return ;;\n"
          "    --model) COMPREPLY=($(compgen -W \""
#define RK_LOSS(number, name, takes, help) #name " "
#define RK_METRIC(number, name, takes, help)
#include "losses/losses.def"
          "\" -- \"$word\")); return ;;\n    esac\n"
          "    case ${COMP_WORDS[1]} in\n",
          out);
    for (size_t c = 0; c < rk_gen_commands_count; c++)
        command(out, c);
    fputs("    esac\n}\ncomplete -o filenames -F _rankctl rankctl\n", out);
}
