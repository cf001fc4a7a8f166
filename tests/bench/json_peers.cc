/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/json_peers.h"

#include <charconv>
#include <fast_float/fast_float.h>
#include <simdjson.h>

size_t rk_peer_simdjson(const char *text, size_t bytes, double *out)
{
    static simdjson::ondemand::parser parser;
    size_t count = 0;
    auto document = parser.iterate(text, bytes, bytes + simdjson::SIMDJSON_PADDING);
    for (auto input : document["inputs"]) {
        for (auto value : input["data"])
            out[count++] = value.get_double();
    }
    return count;
}

const char *rk_peer_fast_float(const char *at, const char *end, double *value)
{
    return fast_float::from_chars(at, end, *value).ptr;
}

size_t rk_peer_to_chars(float value, char *out, size_t room)
{
    return static_cast<size_t>(std::to_chars(out, out + room, value).ptr - out);
}
