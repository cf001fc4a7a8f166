/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens, scopes, and the web pages that may use the daemon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "access/access.h"
#include "base/uids.h"

static char path[] = "/tmp/rankd-tokens-XXXXXX";

static void write_tokens(const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_file(void **state)
{
    (void)state;
    strcpy(path, "/tmp/rankd-tokens-XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    return fd < 0;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static struct rk_config with_tokens(void)
{
    struct rk_config config = {0};
    strcpy(config.http, "127.0.0.1:8080");
    strcpy(config.tokens, path);
    return config;
}

static unsigned scopes_of(struct rk_access *access, const char *header, enum rankd_status expected)
{
    struct rk_principal who;
    struct rk_err err = {0};
    assert_int_equal(rk_access_identify(access, header, &who, &err), expected);
    return who.scopes;
}

static void each_token_has_its_own_scopes(void **state)
{
    (void)state;
    write_tokens("# who may do what\n\ntrainer infer trainer-token-0123456789\nops infer,banks,metrics "
                 "sha256:fc8d5fa63b4dba15ff0a0ecd8c2a1d9eeb1a0d66ae9e0e2b08a7b3a9f4a4c3d0\nscraper metrics "
                 "scraper-token-012345");
    struct rk_config config = with_tokens();
    struct rk_err err = {0};
    struct rk_access *access = rk_access_new(&config, &err);
    assert_non_null(access);
    assert_true(rk_access_has_tokens(access));
    assert_int_equal(scopes_of(access, "Bearer trainer-token-0123456789", RANKD_OK), RK_SCOPE_INFER);
    assert_int_equal(scopes_of(access, "bearer  scraper-token-012345", RANKD_OK), RK_SCOPE_METRICS);
    const char *const wrong[] = {"Bearer trainer-token-012345678",
                                 "Bearer trainer-token-01234567890",
                                 "Bearer ",
                                 "Bearer",
                                 "Basic trainer-token-0123456789",
                                 "",
                                 NULL};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(scopes_of(access, wrong[i], RANKD_UNAUTHORIZED), 0);
    rk_access_free(access);
}

static void a_digest_in_the_file_admits_the_token_it_is_of(void **state)
{
    (void)state;
    FILE *pipe = popen("printf %s the-operators-token | sha256sum", "r");
    char digest[65] = "", text[160];
    assert_non_null(pipe);
    assert_int_equal(fread(digest, 1, 64, pipe), 64);
    pclose(pipe);
    snprintf(text, sizeof text, "ops banks sha256:%s\n", digest);
    write_tokens(text);
    struct rk_config config = with_tokens();
    struct rk_err err = {0};
    struct rk_access *access = rk_access_new(&config, &err);
    assert_non_null(access);
    assert_int_equal(scopes_of(access, "Bearer the-operators-token", RANKD_OK), RK_SCOPE_BANKS);
    snprintf(text, sizeof text, "Bearer sha256:%s", digest);
    assert_int_equal(scopes_of(access, text, RANKD_UNAUTHORIZED), 0);
    rk_access_free(access);
}

static void a_damaged_file_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    write_tokens("a all first-token-0123456789\n");
    struct rk_config config = with_tokens();
    struct rk_err err = {0};
    struct rk_access *access = rk_access_new(&config, &err);
    assert_non_null(access);
    const char *const damaged[] = {"",
                                   "# nothing\n",
                                   "a all\n",
                                   "a all short\n",
                                   "a everything second-token-0123456789\n",
                                   "a infer,,banks second-token-0123456789\n",
                                   "a all second-token-0123456789 more\n",
                                   "a all sha256:12\n",
                                   "b all second-token-0123456789\na infer second-token-0123456789\n",
                                   "b all second-token-0123456789\na all short\n"};
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        struct rk_err why = {0};
        write_tokens(damaged[i]);
        assert_int_equal(rk_access_reload(access, &why), RANKD_INVALID);
        assert_non_null(strstr(why.text, path));
        assert_null(strstr(why.text, "second-token"));
        assert_int_equal(scopes_of(access, "Bearer first-token-0123456789", RANKD_OK), RK_SCOPE_ALL);
        assert_int_equal(scopes_of(access, "Bearer second-token-0123456789", RANKD_UNAUTHORIZED), 0);
    }
    write_tokens("b infer second-token-0123456789\n");
    assert_int_equal(rk_access_reload(access, &err), RANKD_OK);
    assert_int_equal(scopes_of(access, "Bearer first-token-0123456789", RANKD_UNAUTHORIZED), 0);
    assert_int_equal(scopes_of(access, "Bearer second-token-0123456789", RANKD_OK), RK_SCOPE_INFER);
    rk_access_free(access);
}

static void beyond_loopback_wants_tokens_and_tls_or_a_word(void **state)
{
    (void)state;
    write_tokens("a all first-token-0123456789\n");
    static const struct {
        const char *http;
        bool tokens, cert, key, insecure, good;
    } cases[] = {{"127.0.0.1:80", 0, 0, 0, 0, 1},
                 {"127.8.9.1:80", 0, 0, 0, 0, 1},
                 {"[::1]:80", 0, 0, 0, 0, 1},
                 {"localhost:80", 0, 0, 0, 0, 1},
                 {"off", 0, 0, 0, 0, 1},
                 {"0.0.0.0:80", 0, 0, 0, 0, 0},
                 {"[::]:80", 0, 0, 0, 0, 0},
                 {"10.0.0.1:80", 1, 0, 0, 0, 0},
                 {"10.0.0.1:80", 0, 1, 1, 0, 0},
                 {"10.0.0.1:80", 1, 1, 1, 0, 1},
                 {"10.0.0.1:80", 0, 0, 0, 1, 1},
                 {"128.0.0.1:80", 0, 0, 0, 0, 0},
                 {"127.0.0.1:80", 0, 1, 0, 0, 0},
                 {"127.0.0.1:80", 0, 0, 1, 1, 0},
                 {"localhost.example:80", 0, 0, 0, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rk_config config = {.insecure = cases[i].insecure};
        struct rk_err err = {0};
        strcpy(config.http, cases[i].http);
        strcpy(config.tokens, cases[i].tokens ? path : "");
        strcpy(config.tls_cert, cases[i].cert ? "cert.pem" : "");
        strcpy(config.tls_key, cases[i].key ? "key.pem" : "");
        struct rk_access *access = rk_access_new(&config, &err);
        assert_int_equal(access != NULL, cases[i].good);
        assert_true(cases[i].good || err.text[0]);
        rk_access_free(access);
    }
}

static void lists_of_uids_and_hosts_are_whole_or_refused(void **state)
{
    (void)state;
    static const struct {
        const char *uids, *hosts;
        bool good;
    } cases[] = {{"", "", 1},
                 {"0", "rankd", 1},
                 {"1000,1001", "rankd,gpu-3.lan", 1},
                 {" 1000 , 4294967294 ", " rankd , a_b ", 1},
                 {"root", "", 0},
                 {"-1", "", 0},
                 {"+1", "", 0},
                 {"0x1", "", 0},
                 {"1000 1001", "", 0},
                 {"1000-1005", "", 0},
                 {"1000x", "", 0},
                 {"1000,", "", 0},
                 {",1000", "", 0},
                 {"1,,2", "", 0},
                 {" ", "", 0},
                 {"4294967295", "", 0},
                 {"99999999999999999999999", "", 0},
                 {"", "rankd:8080", 0},
                 {"", "*", 0},
                 {"", "*.lan", 0},
                 {"", "rankd gpu", 0},
                 {"", "rankd,", 0},
                 {"", "a,,b", 0},
                 {"", "http://rankd", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rk_config config = {.http = "127.0.0.1:0"};
        struct rk_err err = {0};
        strcpy(config.ring_allow_uid, cases[i].uids);
        strcpy(config.allow_hosts, cases[i].hosts);
        struct rk_access *access = rk_access_new(&config, &err);
        if (!!access != cases[i].good || (!access && !strstr(err.text, "separated by commas")))
            fail_msg("'%s' and '%s': %s", cases[i].uids, cases[i].hosts, err.text);
        rk_access_free(access);
    }
    assert_true(rk_uids_have("1000, 1001", 1001));
    assert_false(rk_uids_have("1000, 1001", 0));
}

static void without_tokens_everybody_may_everything(void **state)
{
    (void)state;
    struct rk_config config = {.http = "127.0.0.1:0"};
    struct rk_err err = {0};
    struct rk_access *access = rk_access_new(&config, &err);
    assert_non_null(access);
    assert_int_equal(scopes_of(access, NULL, RANKD_OK), RK_SCOPE_ALL);
    rk_access_free(access);
}

static void a_missing_scope_is_named(void **state)
{
    (void)state;
    const struct rk_principal who = {.scopes = RK_SCOPE_INFER, .name = "trainer"};
    struct rk_err err = {0};
    assert_int_equal(rk_access_permit(&who, RK_SCOPE_INFER, &err), RANKD_OK);
    assert_int_equal(rk_access_permit(&who, 0, &err), RANKD_OK);
    assert_int_equal(rk_access_permit(&who, RK_SCOPE_INFER | RK_SCOPE_BANKS, &err), RANKD_FORBIDDEN);
    assert_non_null(strstr(err.text, "'trainer'"));
    assert_non_null(strstr(err.text, "'banks'"));
}

static void foreign_pages_and_unknown_hosts_are_turned_away(void **state)
{
    (void)state;
    struct rk_config config = {.http = "127.0.0.1:0", .allow_hosts = "rankd, gpu-3.lan"};
    struct rk_err none = {0};
    struct rk_access *access = rk_access_new(&config, &none);
    assert_non_null(access);
    static const struct {
        const char *host, *origin;
        bool good;
    } cases[] = {{"localhost:8080", NULL, 1},
                 {"LOCALHOST", NULL, 1},
                 {"127.0.0.1:8080", NULL, 1},
                 {"[::1]:8080", NULL, 1},
                 {"rankd:8080", NULL, 1},
                 {"gpu-3.lan", NULL, 1},
                 {NULL, NULL, 1},
                 {"evil.example", NULL, 0},
                 {"gpu-3", NULL, 0},
                 {"localhost.evil.example", NULL, 0},
                 {"127.0.0.1.evil.example", NULL, 0},
                 {"", NULL, 0},
                 {"[::1", NULL, 0},
                 {"localhost:8080", "http://localhost:8080", 1},
                 {"localhost:8080", "http://localhost:3000", 0},
                 {"localhost:8080", "http://evil.example", 0},
                 {"localhost:8080", "null", 0},
                 {"localhost:8080", "", 0},
                 {NULL, "http://evil.example", 0},
                 {"127.0.0.1:8080", "https://127.0.0.1:8080", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rk_err err = {0};
        const enum rankd_status status = rk_access_page(access, cases[i].host, cases[i].origin, &err);
        if (status != (cases[i].good ? RANKD_OK : RANKD_FORBIDDEN))
            fail_msg("host %s, origin %s: %d", cases[i].host, cases[i].origin, status);
    }
    rk_access_free(access);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_token_has_its_own_scopes),
        cmocka_unit_test(a_digest_in_the_file_admits_the_token_it_is_of),
        cmocka_unit_test(a_damaged_file_is_refused_and_changes_nothing),
        cmocka_unit_test(beyond_loopback_wants_tokens_and_tls_or_a_word),
        cmocka_unit_test(lists_of_uids_and_hosts_are_whole_or_refused),
        cmocka_unit_test(without_tokens_everybody_may_everything),
        cmocka_unit_test(a_missing_scope_is_named),
        cmocka_unit_test(foreign_pages_and_unknown_hosts_are_turned_away),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
