/* SPDX-License-Identifier: Apache-2.0 */
/* The table of options, made from config.def, and their defaults. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "config/config_table.h"

/* The position of the last of them. */
#define LAST(...) (sizeof((const int[]){__VA_ARGS__}) / sizeof(int) - 1)

const struct rk_option rk_options[] = {
#define RK_OPT_TEXT(field, name, value, help)                                                                \
    {name, RK_OPTION_TEXT, offsetof(struct rk_config, field), 0, 0, 0, value, NULL, help},
#define RK_OPT_COUNT(field, name, value, min, max, help)                                                     \
    {name, RK_OPTION_COUNT, offsetof(struct rk_config, field), value, min, max, NULL, NULL, help},
#define RK_OPT_BYTES(field, name, value, min, max, help)                                                     \
    {name, RK_OPTION_BYTES, offsetof(struct rk_config, field), value, min, max, NULL, NULL, help},
#define RK_OPT_TIME(field, name, value, min, max, help)                                                      \
    {name, RK_OPTION_TIME, offsetof(struct rk_config, field), value, min, max, NULL, NULL, help},
#define RK_OPT_WORD(field, name, value, words, help, ...)                                                    \
    {name, RK_OPTION_WORD, offsetof(struct rk_config, field), value, 0, LAST(__VA_ARGS__), NULL, words, help},
#define RK_OPT_FLAG(field, name, value, help)                                                                \
    {name, RK_OPTION_FLAG, offsetof(struct rk_config, field), value, 0, 1, NULL, NULL, help},
#include "config/config.def"
#undef RK_OPT_TEXT
#undef RK_OPT_COUNT
#undef RK_OPT_BYTES
#undef RK_OPT_TIME
#undef RK_OPT_WORD
#undef RK_OPT_FLAG
};
const size_t rk_option_count = sizeof rk_options / sizeof *rk_options;

void rk_config_default(struct rk_config *config)
{
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < rk_option_count; i++) {
        const struct rk_option *option = &rk_options[i];
        void *field = (char *)config + option->offset;
        switch (option->type) {
        case RK_OPTION_TEXT:
            (void)snprintf(field, RK_CONFIG_TEXT, "%s", option->text);
            break;
        case RK_OPTION_COUNT:
        case RK_OPTION_BYTES:
        case RK_OPTION_TIME:
            *(uint64_t *)field = option->value;
            break;
        case RK_OPTION_WORD:
            *(int *)field = (int)option->value;
            break;
        case RK_OPTION_FLAG:
            *(bool *)field = option->value != 0;
            break;
        }
    }
}
