/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "gen.h"

static const struct page {
    const char *name;
    void (*write)(FILE *out);
} pages[] = {
    {"rankd.8", rk_gen_man_rankd},
    {"rankd.conf.5", rk_gen_man_conf},
    {"rankctl.1", rk_gen_man_rankctl},
    {"rankd.bash", rk_gen_completion_rankd},
    {"rankctl.bash", rk_gen_completion_rankctl},
    {"rankd.conf", rk_gen_example},
    {"configuration.md", rk_gen_configuration_md},
    {"tuning.md", rk_gen_tuning_md},
    {"parameters.md", rk_gen_parameters_md},
    {"metrics.md", rk_gen_metrics_md},
    {"routes.md", rk_gen_routes_md},
    {"rankctl.md", rk_gen_rankctl_md},
    {"models.md", rk_gen_models_md},
    {"_names.py", rk_gen_names_py},
    {"openapi.yaml", rk_gen_openapi},
};

int main(int argc, char **argv)
{
    rk_gen_tables();
    for (size_t i = 0; argc == 2 && i < sizeof pages / sizeof pages[0]; i++) {
        if (strcmp(argv[1], pages[i].name) != 0)
            continue;
        pages[i].write(stdout);
        return fflush(stdout) != 0 || ferror(stdout);
    }
    fputs("usage: gen PAGE, one of", stderr);
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
        fprintf(stderr, " %s", pages[i].name);
    fputc('\n', stderr);
    return 2;
}
