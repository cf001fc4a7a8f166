/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the benches of stores: `ap` over a batch of embeddings, beside a bank. */
#ifndef TESTS_BENCH_STORE_REQUEST_H
#define TESTS_BENCH_STORE_REQUEST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <rankd.h>

/* A batch of the writers. */
enum { STORE_ROWS = 32, STORE_DIM = 128 };

/* A client of the daemon at `url`. Ends the program if there is none. */
static inline rankd_client *store_open(const char *url)
{
    struct rankd_error error;
    rankd_client *client;
    if (rankd_open(url, NULL, &client, &error) != RANKD_OK) {
        fprintf(stderr, "store bench: %s\n", error.text);
        exit(1);
    }
    return client;
}

/* Sends rows [count, STORE_DIM] with labels [count] and the parameters. Returns the version of the
 * bank that the batch became, if it was appended. Ends the program on an error. */
static inline uint64_t store_send(rankd_client *client, float *rows, long long *labels, size_t count,
                                  const struct rankd_parameter *parameters, size_t parameter_count)
{
    struct rankd_tensor inputs[] = {
        {RANKD_IN_EMBEDDINGS, RANKD_FP32, 2, {count, STORE_DIM}, rows, sizeof(float) * count * STORE_DIM},
        {RANKD_IN_LABELS, RANKD_INT64, 1, {count, 0}, labels, sizeof(long long) * count}};
    struct rankd_tensor outputs[] = {{.port = RANKD_OUT_LOSS}};
    struct rankd_request request = {.model = "ap",
                                    .inputs = inputs,
                                    .input_count = 2,
                                    .outputs = outputs,
                                    .output_count = 1,
                                    .parameters = parameters,
                                    .parameter_count = parameter_count};
    struct rankd_reply reply;
    if (rankd_infer(client, &request, &reply) != RANKD_OK) {
        fprintf(stderr, "store bench: %s\n", reply.error);
        exit(1);
    }
    const uint64_t version = reply.bank_version_appended;
    rankd_reply_clear(client, &reply);
    return version;
}

#endif
