/* SPDX-License-Identifier: Apache-2.0 */
/* The members of a zip file in memory (PKWARE's APPNOTE 6.3.10, with zip64), stored or deflated, as
 * numpy.savez and savez_compressed write them. Encryption, other methods and files in several parts
 * are refused. */
#ifndef RANKD_CTL_ZIP_H
#define RANKD_CTL_ZIP_H

#include "array.h"

struct ctl_zip {
    const char *path; /* for sentences */
    const unsigned char *bytes;
    size_t size;
    size_t at, end; /* in the central directory: the next entry, and where it ends */
};

struct ctl_zip_member {
    const char *name; /* [name_bytes], in the zip */
    size_t name_bytes;
    unsigned method; /* 0 stored, 8 deflated */
    uint32_t crc;
    uint64_t packed_bytes, bytes;
    const unsigned char *packed;
};

/* Finds the central directory of the file. False: `why` has the sentence. */
bool rankd_ctl_zip_open(struct ctl_zip *zip, const char *path, const void *bytes, size_t size,
                        char why[CTL_WHY]);

/* The next member; *more false after the last. Its packed bytes lie within the zip. */
bool rankd_ctl_zip_next(struct ctl_zip *zip, struct ctl_zip_member *member, bool *more, char why[CTL_WHY]);

/* The content: of a stored member in the zip itself, else inflated into *memory, which is the
 * caller's to free() in any case. At most `most` bytes are inflated, and no memory is taken for
 * bytes that are not there. Checks length and CRC. */
bool rankd_ctl_zip_content(const struct ctl_zip *zip, const struct ctl_zip_member *member, size_t most,
                           void **memory, const void **content, char why[CTL_WHY]);

#endif
