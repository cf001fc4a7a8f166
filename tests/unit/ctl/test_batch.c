/* SPDX-License-Identifier: Apache-2.0 */
/* rankctl's files of several arrays: LETOR line by line, and zips with false fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "../../clients/ctl/batch.h"

static bool read_bytes(const void *bytes, size_t size, int64_t feature, bool npz, struct ctl_batch *batch,
                       char why[CTL_WHY])
{
    char *copy = malloc(size + 1); /* of that size, so that a sanitizer detects a read beyond it */
    memcpy(copy, bytes, size);
    FILE *file = size ? fmemopen(copy, size, "rb") : fopen("/dev/null", "rb");
    assert_non_null(file);
    why[0] = 0;
    bool good = npz ? rankd_ctl_npz_read(batch, "f", file, why)
                    : rankd_ctl_letor_read(batch, "f", file, feature, why);
    (void)fclose(file);
    free(copy);
    return good;
}

/* --- LETOR --- */

enum { MOST = 6 };

static const struct {
    const char *text;
    int64_t feature;
    size_t items, lists;
    float targets[MOST], scores[MOST];
    int64_t offsets[MOST];
} forms[] = {
    {"1 qid:3", -1, 1, 1, {1}, {0}, {0, 1}},
    {"2 qid:1 1:0.5 2:0.25\n0 qid:1 1:-1\n", 1, 2, 1, {2, 0}, {.5f, -1}, {0, 2}},
    {"2 qid:1 1:0.5 2:0.25\n0 qid:1 1:-1\n", 2, 2, 1, {2, 0}, {.25f, 0}, {0, 2}},
    {"# head\n\n1 qid:9 # no feature\n0.5 qid:9\t0:7\r\n  \n0 qid:2 0:8#x\n",
     0,
     3,
     2,
     {1, .5f, 0},
     {0, 7, 8},
     {0, 2, 3}},
    {"-1 qid:0 5:inf\n+1 qid:1 5:-inf\n1e0 qid:2 5:1e-3",
     5,
     3,
     3,
     {-1, 1, 1},
     {__builtin_inff(), -__builtin_inff(), 1e-3f},
     {0, 1, 2, 3}},
    {"\xef\xbb\xbf"
     "1 qid:3 1:2\n",
     1,
     1,
     1,
     {1},
     {2},
     {0, 1}},
    {"\xef\xbb\xbf# head\n1 qid:3", -1, 1, 1, {1}, {0}, {0, 1}},
    {"1 qid:9223372036854775807\n0 qid:0 4:1\n", 4, 2, 2, {1, 0}, {0, 1}, {0, 1, 2}},
};

static void letor_is_read_to_the_number(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct ctl_batch batch;
        char why[CTL_WHY];
        if (!read_bytes(forms[i].text, strlen(forms[i].text), forms[i].feature, false, &batch, why))
            fail_msg("form %zu: %s", i, why);
        assert_int_equal(batch.targets.columns, forms[i].items);
        assert_memory_equal(batch.targets.data, forms[i].targets, forms[i].items * sizeof(float));
        assert_int_equal(batch.offsets.columns, forms[i].lists + 1);
        assert_memory_equal(batch.offsets.data, forms[i].offsets, (forms[i].lists + 1) * sizeof(int64_t));
        if (forms[i].feature < 0)
            assert_null(batch.scores.data);
        else
            assert_memory_equal(batch.scores.data, forms[i].scores, forms[i].items * sizeof(float));
        rankd_ctl_batch_free(&batch);
    }
}

static void refused(const void *bytes, size_t size, bool npz, const char *sentence)
{
    struct ctl_batch batch;
    char why[CTL_WHY];
    if (read_bytes(bytes, size, 1, npz, &batch, why) || !strstr(why, sentence))
        fail_msg("said '%s', not '%s'", why, sentence);
    rankd_ctl_batch_free(&batch);
}

static void what_letor_has_wrong_is_named_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sentence;
    } wrong[] = {
        {"", "f holds no items"},
        {"# nothing\n\n", "f holds no items"},
        {"\xff\xfe"
         "1",
         "f is UTF-16; save it as UTF-8"},
        {"1 qid:1\nx qid:1", "f, line 2: 'x' is not a grade, which is a number"},
        {"1,5 qid:1", "f, line 1: '1,5' is not a grade"},
        {"1", "f, line 1 has no qid:NUMBER behind its grade"},
        {"1 1:0.5 qid:3", "f, line 1: '1:0.5' is not qid:NUMBER"},
        {"1 qid:", "'qid:' is not qid:NUMBER"},
        {"1 qid:-3", "'qid:-3' is not qid:NUMBER"},
        {"1 qid:9223372036854775808", "'qid:9223372036854775808' is not qid:NUMBER"},
        {"1 qid:1 2", "'2' is not feature:value, two numbers"},
        {"1 qid:1 a:2", "'a:2' is not feature:value"},
        {"1 qid:1 2:", "'2:' is not feature:value"},
        {"1 qid:1 2:3x", "'2:3x' is not feature:value"},
        {"1 qid:1 2:1e999", "'2:1e999' is not feature:value"},
        {"1 qid:1 3:1 3:2", "'3:2' is not behind the feature before it; their numbers must ascend"},
        {"1 qid:1 1:2\n0 qid:2\n\n0 qid:1", "f, line 4: qid:1 was there before, from line 1 on"},
        {"1 qid:1 2:3\n0 qid:1 0:1", "f: --feature is 1, and no line has a feature of that number"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(wrong[i].text, strlen(wrong[i].text), false, wrong[i].sentence);
}

/* --- zips --- */

/* A zip with two members and the offsets of its records, so that a test can change their
 * fields. */
struct zip {
    unsigned char bytes[1024];
    size_t size, local[2], data[2], entry[2], end;
};

static void put(struct zip *zip, const void *bytes, size_t size)
{
    memcpy(zip->bytes + zip->size, bytes, size);
    zip->size += size;
}

static void put_number(struct zip *zip, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        zip->bytes[zip->size++] = (unsigned char)(i < sizeof value ? value >> 8 * i : 0);
}

static void set(struct zip *zip, size_t at, uint64_t value, unsigned bytes)
{
    const size_t size = zip->size;
    zip->size = at;
    put_number(zip, value, bytes);
    zip->size = size;
}

/* An .npy file of four bytes [1, 4]. */
static size_t npy(unsigned char file[128])
{
    static const char header[] = "{'descr': '|i1', 'fortran_order': False, 'shape': (1, 4), }\n";
    memcpy(file, "\x93NUMPY\x01\x00", 8);
    file[8] = sizeof header - 1;
    file[9] = 0;
    memcpy(file + 10, header, sizeof header - 1);
    memcpy(file + 10 + sizeof header - 1, "\x00\x01\x00\x01", 4);
    return 10 + sizeof header - 1 + 4;
}

static void put_common(struct zip *zip, unsigned method, const unsigned char *file, size_t bytes,
                       size_t packed, const char *name)
{
    put_number(zip, 20, 2);
    put_number(zip, 0, 2); /* flags */
    put_number(zip, method, 2);
    put_number(zip, 0, 4); /* time */
    put_number(zip, crc32(0, file, (uInt)bytes), 4);
    put_number(zip, packed, 4);
    put_number(zip, bytes, 4);
    put_number(zip, strlen(name), 2);
    put_number(zip, 0, 2); /* extra */
}

static struct zip make_zip(bool deflated)
{
    static const char *const names[] = {"scores.npy", "targets.npy"};
    struct zip zip = {.size = 0};
    unsigned char file[128], packed[256];
    const size_t bytes = npy(file);
    size_t packed_bytes = bytes;
    memcpy(packed, file, bytes);
    if (deflated) {
        z_stream stream = {
            .next_in = file, .avail_in = (uInt)bytes, .next_out = packed, .avail_out = sizeof packed};
        assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
        packed_bytes = stream.total_out;
        (void)deflateEnd(&stream);
    }
    for (int i = 0; i < 2; i++) {
        zip.local[i] = zip.size;
        put(&zip, "PK\x03\x04", 4);
        put_common(&zip, deflated ? 8 : 0, file, bytes, packed_bytes, names[i]);
        put(&zip, names[i], strlen(names[i]));
        zip.data[i] = zip.size;
        put(&zip, packed, packed_bytes);
    }
    const size_t directory = zip.size;
    for (int i = 0; i < 2; i++) {
        zip.entry[i] = zip.size;
        put(&zip, "PK\x01\x02\x14\x00", 6);
        put_common(&zip, deflated ? 8 : 0, file, bytes, packed_bytes, names[i]);
        put_number(&zip, 0, 2 + 2 + 2 + 4); /* comment, part, attributes */
        put_number(&zip, zip.local[i], 4);
        put(&zip, names[i], strlen(names[i]));
    }
    zip.end = zip.size;
    put(&zip, "PK\x05\x06\x00\x00\x00\x00\x02\x00\x02\x00", 12);
    put_number(&zip, zip.end - directory, 4);
    put_number(&zip, directory, 4);
    put_number(&zip, 0, 2);
    return zip;
}

static void a_zip_is_read_stored_and_deflated(void **state)
{
    (void)state;
    for (int deflated = 0; deflated < 2; deflated++) {
        const struct zip zip = make_zip(deflated);
        struct ctl_batch batch;
        char why[CTL_WHY];
        if (!read_bytes(zip.bytes, zip.size, 0, true, &batch, why))
            fail_msg("%s", why);
        const double scores[] = {0, 1, 0, 1}; /* the wire has no scores of an integer type */
        assert_string_equal(batch.scores.datatype, "FP64");
        assert_int_equal(batch.scores.bytes, sizeof scores);
        assert_memory_equal(batch.scores.data, scores, sizeof scores);
        assert_memory_equal(batch.targets.data, "\x00\x01\x00\x01", 4);
        assert_int_equal(batch.targets.columns, 4);
        assert_null(batch.offsets.data);
        rankd_ctl_batch_free(&batch);
    }
}

/* A field of an entry, or of another record, is set to a false value. */
static void a_zip_that_says_what_is_not_so_is_refused(void **state)
{
    (void)state;
    const struct zip good = make_zip(true);
    const struct {
        size_t at;
        unsigned bytes;
        uint64_t value;
        const char *sentence;
    } spoilt[] = {
        {good.end, 4, 0, "its end record is missing"},
        {good.end + 20, 2, 5, "its end record is missing"},
        {good.end + 4, 2, 1, "it is one of several parts"},
        {good.end + 16, 4, 0xfffffff0, "its directory is outside of it"},
        {good.end + 12, 4, 0xfffffff0, "its directory is outside of it"},
        {good.end + 16, 4, 0xffffffff, "its zip64 record is missing"},
        {good.entry[0], 4, 0, "its directory has an invalid entry"},
        {good.entry[1] + 28, 2, 0xffff, "an entry ends behind its directory"},
        {good.entry[0] + 8, 2, 1, "scores.npy encrypted or packed by method 8"},
        {good.entry[0] + 10, 2, 14, "scores.npy encrypted or packed by method 14"},
        {good.entry[0] + 42, 4, 0xfffffff0, "a member is not where its entry says"},
        {good.entry[0] + 42, 4, 7, "a member is not where its entry says"},
        {good.entry[0] + 20, 4, 100000, "a member ends behind the file"},
        {good.entry[0] + 24, 4, 0xffffffff, "an entry has no zip64 sizes"},
        {good.entry[0] + 24, 4, 0xfffffffe, "scores.npy damaged"},
        {good.entry[0] + 24, 4, 10, "scores.npy damaged"},
        {good.entry[0] + 16, 4, 1, "scores.npy damaged"},
        {good.data[1] + 3, 1, good.bytes[good.data[1] + 3] ^ 0x55u, "targets.npy damaged"},
        {good.entry[1] + 46, 1, 'T',
         "has an array Targets.npy; it may have scores, targets, offsets and list_weight"},
    };
    for (size_t i = 0; i < sizeof spoilt / sizeof *spoilt; i++) {
        struct zip zip = good;
        set(&zip, spoilt[i].at, spoilt[i].value, spoilt[i].bytes);
        refused(zip.bytes, zip.size, true, spoilt[i].sentence);
    }
    struct zip twice = good;
    memcpy(twice.bytes + twice.entry[1], good.bytes + good.entry[0], 46 + 10);
    set(&twice, twice.entry[1] + 30, 1, 2); /* the name was longer by one */
    refused(twice.bytes, twice.size, true, "has scores.npy twice");
    for (size_t size = 0; size < good.size; size++)
        refused(good.bytes, size, true, "f");
}

/* A member with a declared size of 4 GiB or more is not inflated; for one that is smaller than
 * declared, memory is taken only for its real bytes. */
static void what_a_deflated_member_may_become_is_bounded(void **state)
{
    (void)state;
    struct zip zip = make_zip(true);
    /* The second entry's name gives room for the wide size: the directory grows. */
    const size_t size = zip.size;
    memmove(zip.bytes + zip.entry[1] + 12, zip.bytes + zip.entry[1], size - zip.entry[1]);
    zip.size = zip.entry[1];
    put_number(&zip, 1, 2);
    put_number(&zip, 8, 2);
    put_number(&zip, UINT64_C(5) << 30, 8);
    zip.size = size + 12;
    set(&zip, zip.entry[0] + 24, 0xffffffff, 4);
    set(&zip, zip.entry[0] + 30, 12, 2);
    set(&zip, zip.end + 12 + 12, zip.end + 12 - zip.entry[0], 4);
    refused(zip.bytes, zip.size, true,
            "has scores.npy of 5368709120 bytes deflated; at most 4294967296 are inflated");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letor_is_read_to_the_number),
        cmocka_unit_test(what_letor_has_wrong_is_named_with_its_line),
        cmocka_unit_test(a_zip_is_read_stored_and_deflated),
        cmocka_unit_test(a_zip_that_says_what_is_not_so_is_refused),
        cmocka_unit_test(what_a_deflated_member_may_become_is_bounded),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
