/* SPDX-License-Identifier: Apache-2.0 */
/* Every offset and length of the file is checked against its size before anything is read there. */
#include "zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

enum {
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    ENTRY_BYTES = 46,
    LOCAL_BYTES = 30,
    STORED = 0,
    DEFLATED = 8
};
#define NONE32 UINT32_C(0xffffffff) /* the value is in a zip64 field */

static uint64_t little(const unsigned char *at, unsigned bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | at[bytes];
    return value;
}

static bool is_signed(const unsigned char *at, unsigned kind)
{
    return at[0] == 'P' && at[1] == 'K' && at[2] == (kind & 0xff) && at[3] == kind >> 8;
}

static bool broken(const struct ctl_zip *zip, const char *what, char why[CTL_WHY])
{
    return rankd_ctl_refuse(why, "%s is no whole zip file: %s", zip->path, what);
}

/* The end record is the last part of the file, except for a comment whose length it states. */
static bool find_end(const struct ctl_zip *zip, size_t *end)
{
    for (size_t back = END_BYTES; back <= zip->size && back <= END_BYTES + 0xffff; back++) {
        const unsigned char *at = zip->bytes + zip->size - back;
        if (is_signed(at, 0x0605) && little(at + 20, 2) == back - END_BYTES) {
            *end = zip->size - back;
            return true;
        }
    }
    return false;
}

/* The record with the 64-bit offset of the directory; the end record itself if there is none. */
static bool find_end64(const struct ctl_zip *zip, size_t end, uint64_t *offset, uint64_t *bytes,
                       char why[CTL_WHY])
{
    const unsigned char *at = zip->bytes + end;
    *bytes = little(at + 12, 4);
    *offset = little(at + 16, 4);
    if (*bytes != NONE32 && *offset != NONE32)
        return true;
    if (end < LOCATOR_BYTES || !is_signed(at - LOCATOR_BYTES, 0x0706))
        return broken(zip, "its zip64 record is missing", why);
    const uint64_t record = little(at - LOCATOR_BYTES + 8, 8);
    if (end < END64_BYTES || record > end - END64_BYTES || !is_signed(zip->bytes + record, 0x0606))
        return broken(zip, "its zip64 record is missing", why);
    *bytes = little(zip->bytes + record + 40, 8);
    *offset = little(zip->bytes + record + 48, 8);
    return true;
}

bool rankd_ctl_zip_open(struct ctl_zip *zip, const char *path, const void *bytes, size_t size,
                        char why[CTL_WHY])
{
    size_t end;
    uint64_t offset, directory;
    *zip = (struct ctl_zip){.path = path, .bytes = bytes, .size = size};
    if (!find_end(zip, &end))
        return broken(zip, "its end record is missing", why);
    if (little(zip->bytes + end + 4, 2) != 0)
        return broken(zip, "it is one of several parts", why);
    if (!find_end64(zip, end, &offset, &directory, why))
        return false;
    if (offset > end || directory > end - offset)
        return broken(zip, "its directory is outside of it", why);
    zip->at = (size_t)offset;
    zip->end = (size_t)(offset + directory);
    return true;
}

/* Sizes and the offset of a member that do not fit 32 bits are in the extra field of its entry. */
static bool read_wide(const unsigned char *extra, size_t left, uint64_t *const value[3])
{
    for (size_t bytes; left >= 4; extra += 4 + bytes, left -= 4 + bytes) {
        bytes = (size_t)little(extra + 2, 2);
        if (bytes > left - 4)
            return false;
        if (little(extra, 2) != 1)
            continue;
        const unsigned char *at = extra + 4;
        for (int i = 0; i < 3; i++) {
            if (*value[i] != NONE32)
                continue;
            if ((size_t)(extra + 4 + bytes - at) < 8)
                return false;
            *value[i] = little(at, 8);
            at += 8;
        }
        return true;
    }
    return *value[0] != NONE32 && *value[1] != NONE32 && *value[2] != NONE32;
}

/* The packed bytes follow the member's local header, which repeats the name and may have another
 * extra field. */
static bool find_packed(const struct ctl_zip *zip, uint64_t local, struct ctl_zip_member *member,
                        char why[CTL_WHY])
{
    if (zip->size < LOCAL_BYTES || local > zip->size - LOCAL_BYTES || !is_signed(zip->bytes + local, 0x0403))
        return broken(zip, "a member is not where its entry says", why);
    const uint64_t begin =
        local + LOCAL_BYTES + little(zip->bytes + local + 26, 2) + little(zip->bytes + local + 28, 2);
    if (begin > zip->size || member->packed_bytes > zip->size - begin)
        return broken(zip, "a member ends behind the file", why);
    member->packed = zip->bytes + begin;
    return true;
}

bool rankd_ctl_zip_next(struct ctl_zip *zip, struct ctl_zip_member *member, bool *more, char why[CTL_WHY])
{
    const unsigned char *at = zip->bytes + zip->at;
    *more = zip->at < zip->end;
    if (!*more)
        return true;
    if (zip->end - zip->at < ENTRY_BYTES || !is_signed(at, 0x0201))
        return broken(zip, "its directory has an invalid entry", why);
    const size_t name = (size_t)little(at + 28, 2), extra = (size_t)little(at + 30, 2),
                 comment = (size_t)little(at + 32, 2);
    if (name + extra + comment > zip->end - zip->at - ENTRY_BYTES)
        return broken(zip, "an entry ends behind its directory", why);
    uint64_t local = little(at + 42, 4);
    *member = (struct ctl_zip_member){.name = (const char *)at + ENTRY_BYTES,
                                      .name_bytes = name,
                                      .method = (unsigned)little(at + 10, 2),
                                      .crc = (uint32_t)little(at + 16, 4),
                                      .packed_bytes = little(at + 20, 4),
                                      .bytes = little(at + 24, 4)};
    char piece[CTL_PIECE];
    if (!read_wide(at + ENTRY_BYTES + name, extra,
                   (uint64_t *const[]){&member->bytes, &member->packed_bytes, &local}))
        return broken(zip, "an entry has no zip64 sizes", why);
    if (little(at + 8, 2) & 1 || (member->method != STORED && member->method != DEFLATED))
        return rankd_ctl_refuse(why,
                                "%s has %s encrypted or packed by method %u; it may be stored or deflated",
                                zip->path, rankd_ctl_piece(piece, member->name, name), member->method);
    zip->at += ENTRY_BYTES + name + extra + comment;
    return find_packed(zip, local, member, why);
}

/* As much at a time as zlib counts in. */
static unsigned slice(uint64_t bytes)
{
    const uint64_t most = 1u << 30;
    return (unsigned)(bytes < most ? bytes : most);
}

/* Into *memory, which doubles as bytes arrive. One byte more than the entry states is asked for, so
 * that a longer stream is seen. */
static bool inflate_all(z_stream *stream, const struct ctl_zip_member *member, void **memory, size_t *bytes)
{
    size_t room = 0, fed = 0;
    int status = Z_OK;
    for (*bytes = 0; status == Z_OK && *bytes <= member->bytes;) {
        if (*bytes == room) {
            room = room ? 2 * room : 65536;
            room = room <= member->bytes ? room : (size_t)member->bytes + 1;
            void *more = realloc(*memory, room);
            if (!more)
                return false;
            *memory = more;
        }
        const unsigned in = slice(member->packed_bytes - fed), out = slice(room - *bytes);
        stream->next_in = member->packed + fed;
        stream->avail_in = in;
        stream->next_out = (unsigned char *)*memory + *bytes;
        stream->avail_out = out;
        status = inflate(stream, Z_NO_FLUSH);
        fed += in - stream->avail_in;
        *bytes += out - stream->avail_out;
    }
    return status == Z_STREAM_END && fed == member->packed_bytes;
}

static uint32_t checksum(const unsigned char *content, uint64_t bytes)
{
    uLong crc = crc32(0, NULL, 0);
    for (unsigned some; bytes > 0; content += some, bytes -= some) {
        some = slice(bytes);
        crc = crc32(crc, content, some);
    }
    return (uint32_t)crc;
}

static bool inflate_member(const struct ctl_zip_member *member, void **memory, size_t *bytes)
{
    z_stream stream = {0};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
        return false;
    const bool good = inflate_all(&stream, member, memory, bytes);
    (void)inflateEnd(&stream);
    return good;
}

bool rankd_ctl_zip_content(const struct ctl_zip *zip, const struct ctl_zip_member *member, size_t most,
                           void **memory, const void **content, char why[CTL_WHY])
{
    char piece[CTL_PIECE];
    size_t bytes = (size_t)member->packed_bytes;
    rankd_ctl_piece(piece, member->name, member->name_bytes);
    *memory = NULL;
    if (member->method == DEFLATED && member->bytes > most)
        return rankd_ctl_refuse(why,
                                "%s has %s of %" PRIu64
                                " bytes deflated; at most %zu are inflated, save it with "
                                "numpy.savez",
                                zip->path, piece, member->bytes, most);
    const bool good = member->method == STORED || inflate_member(member, memory, &bytes);
    *content = member->method == STORED ? (const void *)member->packed : *memory;
    if (!good || bytes != member->bytes || checksum(*content, bytes) != member->crc)
        return rankd_ctl_refuse(why, "%s has %s damaged: its bytes are not those that were packed", zip->path,
                                piece);
    return true;
}
