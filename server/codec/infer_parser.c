/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/infer_parser.h"

#include <stdio.h>
#include <string.h>

enum rankd_status rk_parse_wrong(struct rk_parser *p, const char *field, const json_t *value, const char *may)
{
    char shown[RK_JSON_SHOWN];
    return rk_fail(p->err, RANKD_INVALID, "%s is %s; it must be %s", field,
                   rk_json_show(&p->source, value, shown), may);
}

enum rankd_status rk_parse_size(struct rk_parser *p, const char *owner, const json_t *object, const char *key,
                                size_t *out)
{
    const json_t *value = rk_json_member(object, key);
    if (!value)
        return RANKD_OK;
    char field[128];
    int64_t number;
    (void)snprintf(field, sizeof field, "%s of %s", key, owner);
    if (!rk_json_whole(value, &number) || number < 0)
        return rk_parse_wrong(p, field, value, "a whole number, 0 or more");
    *out = (size_t)number;
    return RANKD_OK;
}

enum rankd_status rk_parse_only_ours(struct rk_parser *p, const json_t *parameters, const char *const *known,
                                     const char *where)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)parameters, key, value)
    {
        bool found = strncmp(key, "binary_", 7) != 0 && strncmp(key, "shared_memory_", 14) != 0;
        for (size_t i = 0; known[i] && !found; i++)
            found = strcmp(known[i], key) == 0;
        if (!found)
            return rk_json_only(parameters, known, where, p->err) ? RANKD_OK : p->err->status;
    }
    return RANKD_OK;
}

enum rankd_status rk_parse_region(struct rk_parser *p, const char *owner, const json_t *parameters,
                                  enum rk_region_use use, size_t *bytes, void **at, bool *on_device)
{
    const json_t *name = rk_json_member(parameters, "shared_memory_region");
    size_t offset = 0;
    *bytes = 0;
    if (!json_is_string(name))
        return rk_fail(p->err, RANKD_INVALID,
                       "shared_memory_region of %s must be the name of a registered region", owner);
    if (!p->finder)
        return rk_fail(p->err, RANKD_UNSUPPORTED,
                       "%s is in a shared memory region; regions are switched off (--allow-shm-regions)",
                       owner);
    enum rankd_status status = rk_parse_size(p, owner, parameters, "shared_memory_byte_size", bytes);
    if (status == RANKD_OK)
        status = rk_parse_size(p, owner, parameters, "shared_memory_offset", &offset);
    if (status != RANKD_OK)
        return status;
    *at = p->finder->find(p->finder, json_string_value(name), offset, *bytes, use, owner, on_device, p->err);
    return *at ? RANKD_OK : p->err->status;
}
