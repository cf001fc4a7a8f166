/* SPDX-License-Identifier: Apache-2.0 */
/* A bank's configuration as JSON: the body of PUT, and part of manifests on disk. */
#ifndef RK_BANK_CONFIG_H
#define RK_BANK_CONFIG_H

#include "bank/banks.h"

enum rankd_status rk_bank_config_parse(const void *body, size_t bytes, struct rk_bank_config *config,
                                       uint64_t *live, struct rk_err *err)
    __attribute__((warn_unused_result));
/* From a checkpoint's manifest, which holds more than the configuration. */
struct rk_checkpoint {
    struct rk_bank_config config;
    uint64_t version, generation, items, created;
};
enum rankd_status rk_checkpoint_parse(const void *body, size_t bytes, struct rk_checkpoint *checkpoint,
                                      struct rk_err *err) __attribute__((warn_unused_result));
void rk_bank_config_write(struct rk_text *out, const struct rk_bank_config *config);
bool rk_bank_config_same(const struct rk_bank_config *a, const struct rk_bank_config *b);
/* Of two that are not the same, the first member that differs: `, "dim":8 and not "dim":9`. */
void rk_bank_config_tell(const struct rk_bank_config *have, const struct rk_bank_config *want, char *text,
                         size_t size);

#endif
