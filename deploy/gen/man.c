/* SPDX-License-Identifier: Apache-2.0 */
/* Man pages, in man(7)'s macros. */
#include <string.h>

#include "gen.h"

/* Text for roff: backslashes and leading dots are escaped, and a hyphen in an option must stay a
 * hyphen. */
static void put(FILE *out, const char *text)
{
    for (const char *at = text; *at; at++) {
        if (*at == '\\')
            fputs("\\e", out);
        else if (*at == '-')
            fputs("\\-", out);
        else if (*at == '.' && at == text)
            fputs("\\&.", out);
        else
            fputc(*at, out);
    }
}

static void line(FILE *out, const char *before, const char *text, const char *after)
{
    fputs(before, out);
    put(out, text);
    fputs(after, out);
    fputc('\n', out);
}

static void head(FILE *out, const char *name, int section, const char *what)
{
    fprintf(out, ".TH %s %d \"\" \"rankd " RK_VERSION "\" \"rankd\"\n.SH NAME\n", name, section);
    line(out, "", name, "");
    line(out, "\\- ", what, "");
}

static void option(FILE *out, const struct rk_gen_option *o, const char *dashes)
{
    fprintf(out, ".TP\n.B %s", dashes);
    put(out, o->name);
    if (dashes[0] && o->kind[0])
        fprintf(out, " \\fI%s\\fR", o->kind);
    fputc('\n', out);
    line(out, "", o->help, "");
    if (o->range[0])
        line(out, "It may be ", o->range, ".");
    line(out, "Default: ", o->preset[0] ? o->preset : "empty", ".");
}

void rk_gen_man_rankd(FILE *out)
{
    head(out, "rankd", 8, "rank-based losses and cross-batch memory for trainers");
    fputs(".SH SYNOPSIS\n.B rankd\n[\\fIoptions\\fR]\n.SH DESCRIPTION\n"
          "rankd computes losses that are defined by a ranking (average precision, recall) and their "
          "blackbox gradients, and "
          "keeps\nthe memory banks that trainers share. It answers over HTTP in the Open Inference Protocol "
          "and over shared "
          "memory.\n.PP\nOptions come from the command line, the environment (RANKD_ and the name in "
          "capitals, with _ for "
          "\\-),\nthe file of\n.B \\-\\-config\nand the defaults; the first of these that names an option "
          "wins.\n"
          ".SH OPTIONS\n.TP\n.B \\-\\-config \\fIFILE\\fR\nReads\n.BR rankd.conf (5)\nfrom there.\n"
          ".TP\n.B \\-\\-check\\-config\nChecks the configuration and stops.\n"
          ".TP\n.B \\-\\-print\\-config\nPrints the resulting configuration as a configuration file, and "
          "stops.\n"
          ".TP\n.B \\-\\-health\nAsks the daemon that runs with these options whether it is ready; exits "
          "with 0 if so.\n"
          ".TP\n.B \\-\\-tune\nTimes the engine on this machine for some seconds, prints a file for\n.BR "
          "\\-\\-tuning ,\nand stops.\n"
          ".TP\n.B \\-\\-help\n.TQ\n.B \\-\\-version\nPrint the options; print the version.\n",
          out);
    for (size_t i = 0; i < rk_gen_options_count; i++)
        option(out, &rk_gen_options[i], "\\-\\-");
    fputs(
        ".SH SIGNALS\n.TP\n.B SIGTERM, SIGINT\nRefuses new requests, finishes the running ones, closes the "
        "banks and ends. A "
        "second signal does not wait.\n.TP\n.B SIGHUP\nReads the file of tokens, the certificate and its key "
        "again.\n"
        ".SH FILES\n.TP\n.I /etc/rankd/rankd.conf\nThe service's configuration.\n"
        ".TP\n.I /var/lib/rankd\nThe service's banks and checkpoints.\n"
        ".TP\n.I /run/rankd/rankd.sock\nThe service's Unix socket.\n"
        ".SH SEE ALSO\n.BR rankctl (1),\n.BR rankd.conf (5)\n",
        out);
}

void rk_gen_man_conf(FILE *out)
{
    head(out, "rankd.conf", 5, "configuration of rankd");
    fputs(".SH DESCRIPTION\nA line is\n.IR name\\ =\\ value .\nA line that begins with # is a comment. A "
          "name that\n"
          ".BR rankd (8)\ndoes not know is an error. Bytes take the suffixes K, M and G (powers of 1024), "
          "times ms, s and "
          "min.\n.SH OPTIONS\n",
          out);
    for (size_t i = 0; i < rk_gen_options_count; i++)
        option(out, &rk_gen_options[i], "");
    fputs(".SH EXAMPLE\n.nf\nhttp = 127.0.0.1:8080\nsocket = /run/rankd/rankd.sock\ndata = "
          "/var/lib/rankd\n.fi\n"
          ".SH SEE ALSO\n.BR rankd (8),\n.BR rankctl (1)\n",
          out);
}

static void flag(FILE *out, const struct rk_gen_flag *f)
{
    fputs(".TP\n.B ", out);
    if (f->letter)
        fprintf(out, "\\-%c, ", f->letter);
    line(out, "\\-\\-", f->name, "");
    if (f->argument[0])
        fprintf(out, "\\fI%s\\fR: ", f->argument);
    line(out, "", f->help, "");
    if (f->preset[0])
        line(out, "Default: ", f->preset, ".");
}

void rk_gen_man_rankctl(FILE *out)
{
    head(out, "rankctl", 1, "command line client of rankd");
    fputs(".SH SYNOPSIS\n.B rankctl\n\\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]\n.SH COMMANDS\n",
          out);
    for (size_t c = 0; c < rk_gen_commands_count; c++) {
        line(out, ".SS ", rk_gen_commands[c].name, "");
        if (rk_gen_commands[c].arguments[0])
            line(out, "Arguments: ", rk_gen_commands[c].arguments, "\n.br");
        line(out, "", rk_gen_commands[c].help, "");
        for (size_t i = 0; i < rk_gen_flags_count; i++)
            if (rk_gen_flags[i].commands >> c & 1 && rk_gen_flags[i].commands != RK_GEN_EVERY_COMMAND)
                flag(out, &rk_gen_flags[i]);
    }
    fputs(".SH OPTIONS OF EVERY COMMAND\n", out);
    for (size_t i = 0; i < rk_gen_flags_count; i++)
        if (rk_gen_flags[i].commands == RK_GEN_EVERY_COMMAND)
            flag(out, &rk_gen_flags[i]);
    fputs(".SH EXIT STATUS\n0: done. 1: the daemon or the machine reported an error. 2: the command line is "
          "wrong.\n"
          ".SH SEE ALSO\n.BR rankd (8)\n",
          out);
}
