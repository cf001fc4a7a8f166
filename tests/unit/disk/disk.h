/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in memory, at "/disk", behind the calls of libc that the store makes (linked with --wrap;
 * other paths go to the system). It can be stopped at any change, like kill -9 or a power cut, and
 * then has the remaining content.
 *
 * What survives a power cut: the content that a file had at its last fsync or fdatasync, and of
 * each folder the changes of names before its last fsync. Of the rest anything may: a change of a
 * name happens whole or not at all, of a file's content any piece of 64 bytes may be the newer or
 * the older one. One thread. */
#ifndef TEST_DISK_H
#define TEST_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>

void disk_reset(void); /* empty, and running */

/* Changes (writes, syncs, names) since the reset, and the one at which it stops: that one, which
 * happens half if it is a write and not at all otherwise, and all that follow fail with EIO. 0: it
 * does not stop. */
size_t disk_changes(void);
void disk_stop_at(size_t change);
bool disk_has_stopped(void);

/* Runs again after a kill: closes all descriptors, and keeps everything that was done before the
 * stop. */
void disk_after_kill(void);
/* Runs again after a power cut. Of the pieces and names that were not on disk about `share` in a
 * hundred survive, drawn from *seed: none with 0, all with 100. */
void disk_after_power_cut(unsigned share, uint64_t *seed);

size_t disk_open_files(void);                 /* descriptors and folders that are open */
size_t disk_files(const char *part);          /* names, anywhere, that contain `part` */
bool disk_flip(const char *path, size_t bit); /* false: no such file, or it is shorter */

/* Adds everything that later calls depend on: names in their order and contents, both the present
 * ones and those on disk, and the changes of names that are not on disk yet. Nothing may be
 * open. */
void disk_digest(struct XXH3_state_s *into);

#endif
