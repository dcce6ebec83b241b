/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/field.c: members of the bodies of the calls.
 */
#define _GNU_SOURCE
#include <time.h>

#include "control/auth/parts.h"
#include "control/limit.h"

const char *
field_text(const json_t *body, const char *name)
{
	return json_string_value(json_object_get(body, name));
}

int
field_role(const json_t *body, enum role *r, struct err *err)
{
	const json_t *v = json_object_get(body, "role");
	const char *text = json_string_value(v);

	if (v == NULL)
		return 0;
	if (text == NULL || !role_parse(text, r))
		return err_set(err, ERR_BAD,
		               "role: \"%.32s\" is none of none, read, write, "
		               "admin, super_admin",
		               text != NULL ? text : "");
	return 0;
}

int
field_password(const json_t *body, const char *name, const char **ret,
               struct err *err)
{
	const char *text = field_text(body, name);
	size_t n = text != NULL ? strlen(text) : 0;

	if (n < LIMIT_PASSWORD_MIN || n > LIMIT_PASSWORD_MAX)
		return err_set(err, ERR_BAD,
		               "%s: a password has %d to %d bytes, not %zu",
		               name, LIMIT_PASSWORD_MIN, LIMIT_PASSWORD_MAX, n);
	*ret = text;
	return 0;
}

int
field_id(const json_t *body, const char *name, bool may_at, const char **ret,
         struct err *err)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789_.-";
	const char *text = field_text(body, name);
	size_t n = text != NULL ? strlen(text) : 0;
	bool ok = n > 0 && n <= 64;

	for (size_t i = 0; i < n && ok; i++)
		ok = strchr(letters, text[i]) != NULL ||
		     (may_at && text[i] == '@');
	if (!ok)
		return err_set(err, ERR_BAD,
		               "%s: must have 1 to 64 of A-Z a-z 0-9 _ . -%s",
		               name, may_at ? " @" : "");
	/* It would hide another one from its uuid. */
	if (store_is_uuid(text))
		return err_set(err, ERR_BAD,
		               "%s: a name may not look like a uuid", name);
	*ret = text;
	return 0;
}

/* Exactly n digits; false: other letters. */
static bool
digits(const char *text, int n, int *ret)
{
	*ret = 0;
	for (int i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		*ret = *ret * 10 + (text[i] - '0');
	}
	return true;
}

/* The part behind the seconds: ".123", then "Z" or "+01:30". */
static bool
zone_of(const char *text, int64_t *ret_ms)
{
	int64_t ms = 0;
	int64_t unit = 100;
	int h = 0;
	int m = 0;
	int sign = 1;

	if (*text == '.') {
		for (text++; *text >= '0' && *text <= '9'; text++) {
			ms += (*text - '0') * unit;
			unit /= 10;
		}
	}
	if (*text == 'Z' || *text == 'z') {
		*ret_ms = ms;
		return text[1] == '\0';
	}
	sign = *text == '-' ? -1 : 1;
	if ((*text != '+' && *text != '-') || strlen(text) != 6 ||
	    !digits(text + 1, 2, &h) || text[3] != ':' ||
	    !digits(text + 4, 2, &m) || h > 23 || m > 59)
		return false;
	*ret_ms = ms - sign * (h * 3600LL + m * 60LL) * 1000;
	return true;
}

bool
field_time(const char *text, int64_t *ret_ms)
{
	struct tm tm = { 0 };
	struct tm was;
	int64_t ms;
	time_t t;

	if (strlen(text) < 20 || !digits(text, 4, &tm.tm_year) ||
	    text[4] != '-' || !digits(text + 5, 2, &tm.tm_mon) ||
	    text[7] != '-' || !digits(text + 8, 2, &tm.tm_mday) ||
	    (text[10] != 'T' && text[10] != 't') ||
	    !digits(text + 11, 2, &tm.tm_hour) || text[13] != ':' ||
	    !digits(text + 14, 2, &tm.tm_min) || text[16] != ':' ||
	    !digits(text + 17, 2, &tm.tm_sec) || !zone_of(text + 19, &ms))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	was = tm;
	t = timegm(&tm);
	/* The 31st of February has become a day in March. */
	if (t < 0 || tm.tm_mon != was.tm_mon || tm.tm_mday != was.tm_mday ||
	    tm.tm_hour != was.tm_hour || tm.tm_min != was.tm_min ||
	    tm.tm_sec != was.tm_sec)
		return false;
	*ret_ms = (int64_t)t * 1000 + ms;
	return true;
}
