/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/tls_files.h: the files that certificates were read from, and whether
 * they have been exchanged since.
 *
 * Owns:   copies of the paths.
 * Limits: TLS_FILES files; looked at once in TLS_FILES_MS at most.
 * Thread: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TLS_FILES    3
#define TLS_FILES_MS 1000

struct tls_stamp {
	uint64_t device;
	uint64_t inode;
	uint64_t size;
	int64_t changed_ns;
};

struct tls_files {
	char *path[TLS_FILES]; /* NULL: none, or a text that is no path     */
	struct tls_stamp seen[TLS_FILES];
	uint64_t next_ns; /* not looked at before                       */
};

/* given: what a conf names; texts, names of texts and "" are left out. False: no
 * memory. */
bool tls_files_init(struct tls_files *f, const char *const given[TLS_FILES]);
void tls_files_fini(struct tls_files *f);

/* Remember what they are now; call it before they are read. */
void tls_files_note(struct tls_files *f);

/* Are they others than noted? now_ns: monotonic. */
bool tls_files_changed(struct tls_files *f, uint64_t now_ns);

/* Is this the path of a file, not a text or the name of one? */
bool tls_files_is_path(const char *given);
