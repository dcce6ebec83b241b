/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/field.c: members of the bodies of the calls.
 */
#define _GNU_SOURCE
#include <stdio.h>
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

/* The part behind the seconds: ".123", then "Z" or "+01:30". */
static bool
zone_of(const char *text, int64_t *ret_ms)
{
	int64_t ms = 0;
	int64_t unit = 100;
	int h = 0;
	int m = 0;
	int n = 0;
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
	// NOLINTNEXTLINE(cert-err34-c): two digits each.
	if ((*text != '+' && *text != '-') ||
	    sscanf(text + 1, "%2d:%2d%n", &h, &m, &n) != 2 ||
	    text[1 + n] != '\0' || n != 5 || h < 0 || h > 23 || m < 0 || m > 59)
		return false;
	*ret_ms = ms - sign * (h * 3600ll + m * 60ll) * 1000;
	return true;
}

bool
field_time(const char *text, int64_t *ret_ms)
{
	struct tm tm = { 0 };
	struct tm was;
	int64_t ms;
	time_t t;
	int n = 0;

	// NOLINTNEXTLINE(cert-err34-c): few digits each.
	if (sscanf(text, "%4d-%2d-%2d%*1[Tt]%2d:%2d:%2d%n", &tm.tm_year,
	           &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec,
	           &n) != 6 ||
	    n != 19 || !zone_of(text + 19, &ms))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	was = tm;
	t = timegm(&tm);
	/* The 31st of February has become a day in March. */
	if (t < 0 || tm.tm_mon != was.tm_mon || tm.tm_mday != was.tm_mday ||
	    tm.tm_sec != was.tm_sec)
		return false;
	*ret_ms = (int64_t)t * 1000 + ms;
	return true;
}
