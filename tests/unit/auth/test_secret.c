/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/auth/test_secret.c: the key file, sealed secrets, the first start.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/auth/digest.h"
#include "control/auth/seal.h"
#include "unit.h"

static void
key_path(struct fixture *f, char ret[128])
{
	(void)snprintf(ret, 128, "%s.key", f->state);
}

/* auth_new on the fixture's file: 0 or the code. */
static int
open_again(struct fixture *f, struct err *err)
{
	*err = (struct err){ 0 };
	auth_free(f->auth);
	f->auth = auth_new(f->store, &f->conf, err);
	return f->auth != NULL ? 0 : -(int)err->code;
}

static void
key_file_is_private(void **state)
{
	static const mode_t wide[] = { 0640, 0604, 0660, 0622, 0601 };
	struct fixture *f = *state;
	struct stat st;
	struct err err;
	char path[128];

	key_path(f, path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 13 + 64 + 1);
	for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
		assert_int_equal(chmod(path, wide[i]), 0);
		assert_int_equal(open_again(f, &err), -ERR_BAD);
		assert_non_null(strstr(err.text, "chmod 600"));
	}
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(open_again(f, &err), 0);
}

static void
link_is_no_key_file(void **state)
{
	struct fixture *f = *state;
	struct err err;
	char path[128];
	char other[140];

	key_path(f, path);
	(void)snprintf(other, sizeof(other), "%s.away", path);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(open_again(f, &err), -ERR_BAD);
}

static void
lost_or_foreign_key_is_found(void **state)
{
	struct fixture *f = *state;
	struct err err;
	char path[128];
	char away[140];
	FILE *file;

	key_path(f, path);
	(void)snprintf(away, sizeof(away), "%s.away", path);
	assert_int_equal(rename(path, away), 0);
	assert_int_equal(open_again(f, &err), -ERR_MISSING);
	assert_int_not_equal(access(path, F_OK), 0);
	/* A key in the right form that is not the one. */
	file = fopen(path, "w");
	assert_non_null(file);
	(void)fprintf(file, "godwit-key-1\n%064d\n", 7);
	(void)fclose(file);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(open_again(f, &err), -ERR_BAD);
	assert_non_null(strstr(err.text, "another state file"));
	/* Not a key at all. */
	assert_int_equal(truncate(path, 20), 0);
	assert_int_equal(open_again(f, &err), -ERR_BAD);
	assert_int_equal(rename(away, path), 0);
	assert_int_equal(open_again(f, &err), 0);
}

static void
first_start_makes_one_token(void **state)
{
	struct fixture *f = *state;
	struct identity who = unit_who(f, f->first);
	char first[128];

	assert_string_equal(who.org, "default");
	assert_int_equal(who.role, ROLE_SUPER_ADMIN);
	assert_int_equal(who.expires_ms, 0);
	memcpy(first, f->first, sizeof(first));
	f->first[0] = '\0';
	unit_again(f);
	assert_string_equal(f->first, ""); /* no second one */
	memcpy(f->first, first, sizeof(first));
	(void)unit_who(f, first);
	assert_false(unit_is_on_disk(f, first));
	assert_false(unit_is_on_disk(f, first + 21)); /* the secret part */
}

static void
first_token_goes_into_a_file(void **state)
{
	struct fixture *f = *state;
	char path[128];
	char db[128];
	char line[128] = "";
	struct auth_conf conf = f->conf;
	struct store *s;
	struct auth *a;
	struct stat st;
	struct err err;
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/token", f->dir);
	(void)snprintf(db, sizeof(db), "%s/t.db", f->dir);
	/* An old one with wide rights is replaced. */
	file = fopen(path, "w");
	assert_non_null(file);
	(void)fclose(file);
	assert_int_equal(chmod(path, 0644), 0);
	conf.state = db;
	conf.admin_token_file = path;
	f->first[0] = '\0';
	s = store_open(db, NULL);
	assert_non_null(s);
	a = auth_new(s, &conf, &err);
	assert_non_null(a);
	assert_string_equal(f->first, "");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	(void)fclose(file);
	assert_int_equal(line[strlen(line) - 1], '\n');
	line[strlen(line) - 1] = '\0';
	auth_free(f->auth);
	f->auth = a;
	assert_int_equal(unit_who(f, line).role, ROLE_SUPER_ADMIN);
	auth_free(f->auth);
	f->auth = NULL;
	store_close(s);
	/* Where it cannot be written nothing is made. */
	(void)snprintf(path, sizeof(path), "%s/no/token", f->dir);
	(void)snprintf(db, sizeof(db), "%s/u.db", f->dir);
	s = store_open(db, NULL);
	assert_null(auth_new(s, &conf, &err));
	assert_int_equal(err.code, ERR_IO);
	assert_int_equal(
		store_number(s, "SELECT count(*) FROM organization", ""), 0);
	store_close(s);
}

static void
secret_comes_back(void **state)
{
	static const char *const texts[] = { "", "x", "redis://:hunter2@host",
		                             "\xc3\xa9\xff\x01" };
	struct fixture *f = *state;
	struct err err;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char *sealed =
			auth_seal(f->auth, "endpoints/1/url", texts[i], &err);
		char *again =
			auth_seal(f->auth, "endpoints/1/url", texts[i], &err);
		char *back;

		assert_non_null(sealed);
		assert_string_not_equal(sealed, again);
		unit_again(f); /* by another process with the same key file */
		back = auth_open(f->auth, "endpoints/1/url", sealed, &err);
		assert_non_null(back);
		assert_string_equal(back, texts[i]);
		auth_wipe(back);
		free(sealed);
		free(again);
	}
}

static void
changed_secret_is_refused(void **state)
{
	struct fixture *f = *state;
	struct err err;
	char *sealed = auth_seal(f->auth, "a", "hunter2", &err);
	size_t n = strlen(sealed);

	assert_non_null(sealed);
	assert_null(strstr(sealed, "hunter2"));
	assert_null(auth_open(f->auth, "b", sealed, &err));
	assert_int_equal(err.code, ERR_BAD);
	assert_null(auth_open(f->auth, "", sealed, &err));
	for (size_t i = 0; i < n; i++) {
		char was = sealed[i];

		sealed[i] = was == 'A' ? 'B' : 'A';
		assert_null(auth_open(f->auth, "a", sealed, &err));
		assert_null(strstr(err.text, "hunter2"));
		sealed[i] = was;
	}
	for (size_t i = 0; i < n; i++) {
		char was = sealed[i];

		sealed[i] = '\0';
		assert_null(auth_open(f->auth, "a", sealed, &err));
		sealed[i] = was;
	}
	free(sealed);
}

static void
secret_has_a_limit(void **state)
{
	struct fixture *f = *state;
	char *big = malloc(SEAL_MAX + 2);
	char *sealed;
	struct err err;

	assert_non_null(big);
	memset(big, 'x', SEAL_MAX + 1);
	big[SEAL_MAX + 1] = '\0';
	assert_null(auth_seal(f->auth, "a", big, &err));
	assert_int_equal(err.code, ERR_LIMIT);
	big[SEAL_MAX] = '\0';
	sealed = auth_seal(f->auth, "a", big, &err);
	assert_non_null(sealed);
	free(sealed);
	free(big);
}

/* FIPS 180: what stands in state files is read with any version of the library. */
static void
hashes_are_sha256(void **state)
{
	uint8_t hash[DIGEST_SIZE];
	char hex[2 * DIGEST_SIZE + 1];

	(void)state;
	digest_sha256(SPAN("abc"), hash);
	digest_hex(hash, sizeof(hash), hex);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223"
	                         "b00361a396177a9cb410ff61f20015ad");
	digest_sha256(span_of(NULL, 0), hash);
	digest_hex(hash, sizeof(hash), hex);
	assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb924"
	                         "27ae41e4649b934ca495991b7852b855");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, unit_open, unit_close)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(key_file_is_private),
		CASE(link_is_no_key_file),
		CASE(lost_or_foreign_key_is_found),
		CASE(first_start_makes_one_token),
		CASE(first_token_goes_into_a_file),
		CASE(secret_comes_back),
		CASE(changed_secret_is_refused),
		CASE(secret_has_a_limit),
		CASE(hashes_are_sha256),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
