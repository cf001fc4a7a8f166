/* SPDX-License-Identifier: Apache-2.0 */
#include "http/head.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum head_state {
    LEAD,       /* before the request line; empty lines are skipped */
    LEAD_LF,    /* the line feed of such an empty line */
    METHOD,     /* up to its space */
    TARGET,     /* up to its space */
    VERSION,    /* up to its carriage return */
    LINE_LF,    /* the line feed of the request line */
    LINE_FIRST, /* the first byte of a field, or the carriage return of the empty line */
    NAME,       /* up to its colon */
    VALUE,      /* up to its carriage return */
    VALUE_LF,   /* the line feed of a field */
    END_LF,     /* the line feed of the empty line */
    OVER
};

/* Content-Length beyond this is more than libmicrohttpd and any limit of ours can count. */
#define LENGTH_MAX ((uint64_t)INT64_MAX)

static const struct {
    const char *name;
    unsigned most; /* times that it may occur in a head: lists may be split over lines, two of the others
                      would contradict each other */
} fields[RK_FIELD_COUNT] = {
    [RK_FIELD_HOST] = {"Host", 1},
    [RK_FIELD_LENGTH] = {"Content-Length", 1},
    [RK_FIELD_TRANSFER] = {"Transfer-Encoding", 1},
    [RK_FIELD_EXPECT] = {"Expect", 1},
    [RK_FIELD_CONNECTION] = {"Connection", 8},
    [RK_FIELD_ORIGIN] = {"Origin", 1},
    [RK_FIELD_AUTHORIZATION] = {"Authorization", 1},
    [RK_FIELD_ENCODING] = {"Content-Encoding", 1},
    [RK_FIELD_ACCEPT] = {"Accept-Encoding", 8},
    [RK_FIELD_JSON_LENGTH] = {"Inference-Header-Content-Length", 1},
};

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(unsigned char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static bool is_alnum(unsigned char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* tchar of RFC 9110 §5.6.2. */
static bool is_token(unsigned char c)
{
    return is_alnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* The characters of a field's value: visible ones, bytes beyond ASCII, space and tab. */
static bool is_value(unsigned char c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* The part that is being read, for a sentence: without its control characters. */
#define SHOWN 64
static const char *shown(const struct rk_head *head, size_t from, size_t to, char text[SHOWN])
{
    size_t length = to - from < SHOWN - 1 ? to - from : SHOWN - 1;
    memcpy(text, head->text + from, length);
    text[length] = '\0';
    for (size_t i = 0; i < length; i++)
        text[i] = (unsigned char)text[i] < 0x20 || (unsigned char)text[i] >= 0x7f ? '?' : text[i];
    return text;
}

static const char *part_of(const struct rk_head *head)
{
    return head->trailer ? "trailer of the body" : "header";
}

/* The first refusal counts, its status with its sentence. */
#define REFUSE(head, code, ...)                                                                              \
    do {                                                                                                     \
        if ((head)->err.status == RANKD_OK)                                                                  \
            (head)->http_status = (code);                                                                    \
        (void)rk_fail(&(head)->err, RANKD_INVALID, __VA_ARGS__);                                             \
    } while (0)

/* A byte that the grammar does not allow where it stands. */
static void refuse_byte(struct rk_head *head, unsigned char c, const char *where, const char *may)
{
    if (c == '\n')
        REFUSE(head, 400, "a line of the %s ends in a line feed alone; it must end in CR LF", part_of(head));
    else
        REFUSE(head, 400, "the %s holds %s (0x%02x) in %s; there may be %s", part_of(head),
               c ? "a byte" : "a NUL", c, where, may);
}

static void put(struct rk_head *head, char c)
{
    if (head->length == head->room) {
        const size_t room = head->room ? 2 * head->room : 512;
        char *text = realloc(head->text, room);
        if (!text) {
            REFUSE(head, 503, "no memory for the header of the request; try again in a moment");
            return;
        }
        head->text = text;
        head->room = room;
    }
    head->text[head->length++] = c;
}

static void puts_line(struct rk_head *head)
{
    put(head, '\r');
    put(head, '\n');
}

static bool part_is(const struct rk_head *head, size_t from, const char *word)
{
    return head->length - from == strlen(word) && memcmp(head->text + from, word, strlen(word)) == 0;
}

/* True of a port with its colon, and of nothing. */
static bool is_port(const char *text, size_t length)
{
    unsigned port = 0;
    if (length == 0)
        return true;
    if (*text != ':' || length > 6)
        return false;
    for (size_t i = 1; i < length; i++) {
        if (!is_digit((unsigned char)text[i]))
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port <= 65535;
}

bool rk_head_is_authority(const char *text, size_t length)
{
    struct in6_addr six;
    char address[INET6_ADDRSTRLEN];
    size_t at = 0;
    if (length && *text == '[') {
        const char *end = memchr(text, ']', length);
        const size_t inside = end ? (size_t)(end - text) - 1 : sizeof address;
        if (inside >= sizeof address)
            return false;
        memcpy(address, text + 1, inside);
        address[inside] = '\0';
        return inet_pton(AF_INET6, address, &six) == 1 && is_port(end + 1, length - (size_t)(end + 1 - text));
    }
    for (; at < length && text[at] != ':'; at++) {
        const unsigned char c = (unsigned char)text[at];
        if (c == '%' ? length - at < 3 || !is_hex((unsigned char)text[at + 1]) ||
                           !is_hex((unsigned char)text[at + 2])
                     : !is_alnum(c) && (!c || !strchr("-._~!$&'()*+,;=", c)))
            return false;
    }
    return is_port(text + at, length - at);
}

const char *rk_head_target(const char *target, const char **authority, size_t *length)
{
    const size_t scheme = strncasecmp(target, "http://", 7) == 0    ? 7
                          : strncasecmp(target, "https://", 8) == 0 ? 8
                                                                    : 0;
    *authority = target + scheme;
    *length = scheme ? strcspn(*authority, "/?\x01") : 0;
    return *authority + *length;
}

/* The target is whole: origin form, absolute form, or `*` for OPTIONS. */
static void check_target(struct rk_head *head)
{
    char text[SHOWN];
    const char *authority;
    size_t length;
    put(head, '\0');
    if (head->err.status != RANKD_OK)
        return;
    const char *target = head->text + head->mark;
    head->length--;
    (void)rk_head_target(target, &authority, &length);
    const bool absolute = length && rk_head_is_authority(authority, length) && *authority != ':';
    if (*target == '/' || absolute || (head->options && strcmp(target, "*") == 0))
        return;
    REFUSE(head, 400, "the request's target is \"%s\"; it must be a path, or http:// with a host and a path",
           shown(head, head->mark, head->length, text));
}

static void read_method(struct rk_head *head, unsigned char c)
{
    if (c == ' ' && head->length) {
        head->options = part_is(head, 0, "OPTIONS");
        put(head, ' ');
        head->mark = head->length;
        head->state = TARGET;
    } else if (is_token(c)) {
        put(head, (char)c);
    } else {
        refuse_byte(head, c, "the method", "letters and digits, then one space");
    }
}

static void read_target(struct rk_head *head, unsigned char c)
{
    if (c == ' ' && head->length > head->mark) {
        check_target(head);
        put(head, ' ');
        head->mark = head->length;
        head->state = VERSION;
    } else if (c == '?' && !memchr(head->text + head->mark, RK_HEAD_QUERY, head->length - head->mark)) {
        put(head, RK_HEAD_QUERY);
    } else if (c > 0x20 && c < 0x7f && c != '#') {
        put(head, (char)c);
    } else {
        refuse_byte(head, c, "the request's target", "visible ASCII characters other than #, then one space");
    }
}

static void read_version(struct rk_head *head, unsigned char c)
{
    char text[SHOWN];
    if (c != '\r') {
        if (c <= 0x20 || c >= 0x7f || head->length - head->mark >= 16)
            refuse_byte(head, c, "the version", "HTTP/1.1 or HTTP/1.0, then CR LF");
        put(head, (char)c);
        return;
    }
    head->old = part_is(head, head->mark, "HTTP/1.0");
    if (!head->old && !part_is(head, head->mark, "HTTP/1.1"))
        REFUSE(head, 400, "the version of the request is \"%s\"; it may be HTTP/1.1 or HTTP/1.0",
               shown(head, head->mark, head->length, text));
    puts_line(head);
    head->state = LINE_LF;
}

static enum rk_head_field find_field(const struct rk_head *head)
{
    unsigned i = 0;
    const size_t length = head->colon - head->mark;
    while (i < RK_FIELD_COUNT && (strlen(fields[i].name) != length ||
                                  strncasecmp(fields[i].name, head->text + head->mark, length) != 0))
        i++;
    return i;
}

static void check_length(struct rk_head *head, const char *value, size_t length)
{
    char text[SHOWN];
    uint64_t bytes = 0;
    bool fits = true;
    for (size_t i = 0; i < length; i++) {
        if (!is_digit((unsigned char)value[i]))
            length = 0;
        fits = fits && !__builtin_mul_overflow(bytes, (uint64_t)10, &bytes) &&
               !__builtin_add_overflow(bytes, (uint64_t)(value[i] - '0'), &bytes) && bytes <= LENGTH_MAX;
    }
    if (length == 0)
        REFUSE(head, 400, "Content-Length was \"%s\"; it must be a number of bytes, in digits alone",
               shown(head, head->colon + 1, head->length, text));
    else if (!fits)
        REFUSE(head, 413, "Content-Length was %s; a body can't have that many bytes",
               shown(head, head->colon + 1, head->length, text));
    head->body_bytes = bytes;
}

/* A field that is passed on: its value stands behind the colon, without white space around it. */
static void check_field(struct rk_head *head, enum rk_head_field field)
{
    char text[SHOWN];
    const char *value = head->text + head->colon + 1;
    const size_t length = head->length - head->colon - 1;
    const char *said = shown(head, head->colon + 1, head->length, text);
    if (++head->seen[field] > fields[field].most)
        REFUSE(head, 400, "the header has %s %u times; it may have it %s", fields[field].name,
               head->seen[field], fields[field].most == 1 ? "once" : "8 times");
    if (field == RK_FIELD_HOST && !rk_head_is_authority(value, length))
        REFUSE(head, 400, "Host was \"%s\"; it must be a host name or an address, and a port if need be",
               said);
    if (field == RK_FIELD_LENGTH)
        check_length(head, value, length);
    if (field == RK_FIELD_TRANSFER && (length != 7 || strncasecmp(value, "chunked", 7) != 0))
        REFUSE(head, 400, "Transfer-Encoding was \"%s\"; it may be chunked alone", said);
    if (field == RK_FIELD_TRANSFER && head->old)
        REFUSE(head, 400, "Transfer-Encoding was \"%s\" under HTTP/1.0, which has none", said);
}

/* The line of a field is whole: it is rewritten, or dropped. */
static void end_field(struct rk_head *head)
{
    const enum rk_head_field field = find_field(head);
    size_t from = head->colon + 1, to = head->length;
    while (from < to && (head->text[from] == ' ' || head->text[from] == '\t'))
        from++;
    while (to > from && (head->text[to - 1] == ' ' || head->text[to - 1] == '\t'))
        to--;
    memmove(head->text + head->colon + 1, head->text + from, to - from);
    head->length = head->colon + 1 + (to - from);
    if (head->trailer && field <= RK_FIELD_TRANSFER)
        REFUSE(head, 400, "the trailer of the body holds %s, which belongs into the header",
               fields[field].name);
    if (head->trailer || field == RK_FIELD_COUNT) {
        head->length = head->mark;
        return;
    }
    check_field(head, field);
    puts_line(head);
}

static void read_first(struct rk_head *head, unsigned char c)
{
    head->mark = head->length;
    if (c == '\r') {
        puts_line(head);
        head->state = END_LF;
    } else if (c == ' ' || c == '\t') {
        REFUSE(head, 400, "a line of the %s begins with white space; no field may be folded over lines",
               part_of(head));
    } else if (is_token(c)) {
        put(head, (char)c);
        head->state = NAME;
    } else {
        refuse_byte(head, c, "the name of a field", "letters, digits and -, then a colon");
    }
}

static void read_name(struct rk_head *head, unsigned char c)
{
    char text[SHOWN];
    if (c == ':') {
        head->colon = head->length;
        put(head, ':');
        head->state = VALUE;
    } else if (c == ' ' || c == '\t') {
        REFUSE(head, 400, "the field \"%s\" has white space before its colon; there may be none",
               shown(head, head->mark, head->length, text));
    } else if (is_token(c)) {
        put(head, (char)c);
    } else {
        refuse_byte(head, c, "the name of a field", "letters, digits and -, then a colon");
    }
}

static void read_value(struct rk_head *head, unsigned char c)
{
    char text[SHOWN], where[SHOWN + 16];
    if (c == '\r') {
        end_field(head);
        head->state = VALUE_LF;
    } else if (is_value(c)) {
        put(head, (char)c);
    } else {
        (void)snprintf(where, sizeof where, "the value of \"%s\"",
                       shown(head, head->mark, head->colon, text));
        refuse_byte(head, c, where, "visible characters, spaces and tabs");
    }
}

/* What only the whole header tells. */
static void end_head(struct rk_head *head)
{
    if (head->trailer)
        return;
    if (!head->seen[RK_FIELD_HOST] && !head->old)
        REFUSE(head, 400, "the header has no Host; under HTTP/1.1 it must have one");
    if (head->seen[RK_FIELD_LENGTH] && head->seen[RK_FIELD_TRANSFER])
        REFUSE(head, 400, "there are both Content-Length and Transfer-Encoding; there may be one of them");
    head->chunked = head->seen[RK_FIELD_TRANSFER] != 0;
}

/* A line feed must follow a carriage return, and nothing else. */
static void read_line_feed(struct rk_head *head, unsigned char c)
{
    static const enum head_state next[] = {
        [LEAD_LF] = LEAD, [LINE_LF] = LINE_FIRST, [VALUE_LF] = LINE_FIRST, [END_LF] = OVER};
    if (c != '\n') {
        REFUSE(head, 400, "the %s holds a carriage return that no line feed follows; lines must end in CR LF",
               part_of(head));
        return;
    }
    head->state = (int)next[head->state];
    if (head->state == OVER)
        end_head(head);
}

static void read_byte(struct rk_head *head, unsigned char c)
{
    switch ((enum head_state)head->state) {
    case LEAD:
        head->state = c == '\r' ? LEAD_LF : METHOD;
        if (c != '\r')
            read_method(head, c);
        break;
    case METHOD:
        read_method(head, c);
        break;
    case TARGET:
        read_target(head, c);
        break;
    case VERSION:
        read_version(head, c);
        break;
    case LINE_FIRST:
        read_first(head, c);
        break;
    case NAME:
        read_name(head, c);
        break;
    case VALUE:
        read_value(head, c);
        break;
    default:
        read_line_feed(head, c);
        break;
    }
}

void rk_head_start(struct rk_head *head, size_t limit, bool trailer)
{
    memset(head, 0, sizeof *head);
    head->limit = limit;
    head->trailer = trailer;
    head->state = trailer ? LINE_FIRST : LEAD;
}

enum rk_head_step rk_head_read(struct rk_head *head, const char *bytes, size_t count, size_t *used)
{
    size_t at = 0;
    while (at < count && head->state != OVER && head->err.status == RANKD_OK) {
        if (++head->taken > head->limit)
            REFUSE(head, RK_HEAD_HEADER_TOO_LARGE,
                   "the %s has more than %zu bytes, the most it may have "
                   "(--header-bytes)",
                   part_of(head), head->limit);
        else
            read_byte(head, (unsigned char)bytes[at++]);
    }
    *used = at;
    if (head->err.status != RANKD_OK)
        return RK_HEAD_REFUSED;
    return head->state == OVER ? RK_HEAD_DONE : RK_HEAD_MORE;
}

bool rk_head_begun(const struct rk_head *head)
{
    return head->taken != 0;
}

void rk_head_end(struct rk_head *head)
{
    free(head->text);
    head->text = NULL;
    head->length = head->room = 0;
}
