/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/golden/golden.c: the harnesses that every codec passes.
 *
 *   golden CODEC FOLDER
 *
 * For each FOLDER/NAME.in: the transcript is FOLDER/NAME.out, byte for byte
 * (UPDATE=1 writes it); it stays the same when the input is cut at each offset,
 * and when it comes byte by byte; and when it ends at a guard page. The round
 * trip through the writers is part of the drivers (tests/fuzz/drive.c).
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../fuzz/drive.h"
#include "../fuzz/heap.h"

static struct heap heap;
static int failures;

static void
fail(const char *path, const char *what, size_t at)
{
	failures++;
	printf("not ok %s: %s at %zu\n", path, what, at);
}

static void
read_file(const char *path, struct buf *b)
{
	FILE *f = fopen(path, "rb");
	uint8_t *to;
	size_t n;

	if (f == NULL)
		return;
	do {
		to = buf_room(b, 65536);
		REQUIRE(to != NULL);
		n = fread(to, 1, 65536, f);
		buf_grew(b, n);
	} while (n > 0);
	(void)fclose(f);
}

static void
write_file(const char *path, struct span s)
{
	FILE *f = fopen(path, "wb");

	REQUIRE(f != NULL);
	REQUIRE(fwrite(s.p, 1, s.n, f) == s.n);
	REQUIRE(fclose(f) == 0);
}

/* Does this way of feeding give the transcript? */
static bool
same(drive_f *run, const struct drive_in *in, struct span want)
{
	struct buf out;
	bool ret;

	buf_init(&out, &heap.mem);
	run(in, &out);
	ret = span_eq(buf_span(&out), want);
	buf_fini(&out);
	return ret;
}

static bool
same_at_guard(drive_f *run, struct span bytes, struct span want)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t n = (bytes.n + page - 1) / page * page;
	struct drive_in in = { .n = bytes.n, .in_place = true };
	uint8_t *map;
	bool ret;

	map = mmap(NULL, n + page, PROT_READ | PROT_WRITE,
	           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(map != MAP_FAILED);
	REQUIRE(mprotect(map + n, page, PROT_NONE) == 0);
	if (bytes.n > 0)
		memcpy(map + n - bytes.n, bytes.p, bytes.n);
	in.p = map + n - bytes.n;
	ret = same(run, &in, want);
	REQUIRE(munmap(map, n + page) == 0);
	return ret;
}

static void
check_cuts(drive_f *run, const char *path, struct span bytes, struct span want)
{
	struct drive_in in = { .p = bytes.p, .n = bytes.n };
	size_t *cuts = malloc((bytes.n + 1) * sizeof(*cuts));

	REQUIRE(cuts != NULL);
	in.cuts = cuts;
	in.cut_n = 1;
	for (size_t i = 0; i < bytes.n; i++) {
		cuts[0] = i;
		if (!same(run, &in, want))
			fail(path, "another transcript when cut", i);
	}
	for (size_t i = 0; i < bytes.n; i++)
		cuts[i] = i;
	in.cut_n = bytes.n;
	if (!same(run, &in, want))
		fail(path, "another transcript byte by byte", 0);
	free(cuts);
}

static void
check_file(drive_f *run, const char *path)
{
	char out_path[1024];
	struct drive_in in = { .p = NULL };
	struct buf bytes;
	struct buf want;
	struct buf got;

	(void)snprintf(out_path, sizeof(out_path), "%.*s.out",
	               (int)(strlen(path) - 3), path);
	buf_init(&bytes, &heap.mem);
	buf_init(&want, &heap.mem);
	buf_init(&got, &heap.mem);
	read_file(path, &bytes);
	in.p = buf_span(&bytes).p;
	in.n = buf_len(&bytes);
	run(&in, &got);
	if (getenv("UPDATE") != NULL)
		write_file(out_path, buf_span(&got));
	read_file(out_path, &want);
	if (!span_eq(buf_span(&got), buf_span(&want)))
		fail(path, "not the golden transcript", 0);
	check_cuts(run, path, buf_span(&bytes), buf_span(&got));
	if (!same_at_guard(run, buf_span(&bytes), buf_span(&got)))
		fail(path, "another transcript at the guard page", 0);
	buf_fini(&bytes);
	buf_fini(&want);
	buf_fini(&got);
}

int
main(int argc, char **argv)
{
	struct dirent *entry;
	drive_f *run;
	DIR *folder;
	int files = 0;

	if (argc != 3) {
		(void)fprintf(stderr, "usage: golden CODEC FOLDER\n");
		return 2;
	}
	heap = heap_make();
	run = drive_find(argv[1]);
	folder = opendir(argv[2]);
	if (run == NULL || folder == NULL) {
		(void)fprintf(stderr, "golden: no such codec or folder\n");
		return 2;
	}
	while ((entry = readdir(folder)) != NULL) {
		size_t n = strlen(entry->d_name);
		char path[1024];

		if (n < 3 || strcmp(entry->d_name + n - 3, ".in") != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", argv[2],
		               entry->d_name);
		check_file(run, path);
		files++;
	}
	(void)closedir(folder);
	printf("%s: %d files, %d failures\n", argv[1], files, failures);
	return files == 0 || failures > 0 ? 1 : 0;
}
