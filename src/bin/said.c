/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/said.c: the answer to a verb as one sentence.
 */
#include "bin/said.h"

#include <stdio.h>
#include <string.h>

#include "bin/look.h"
#include "bin/status.h"

static void
traffic(const json_t *s, char *ret, size_t n)
{
	if (strcmp(look_text(s, "authority"), "new") == 0)
		(void)snprintf(ret, n,
		               "new has the authority; clients were held for "
		               "%.0f ms; rollback loses nothing",
		               look_real(s, "hold.last_ms"));
	else if (look_at(s, "scope.prefixes") != NULL)
		(void)snprintf(ret, n,
		               "the keys of %zu prefixes are new's, reads and "
		               "writes; clients were held for %.0f ms; "
		               "rollback loses nothing",
		               json_array_size(look_at(s, "scope.prefixes")),
		               look_real(s, "hold.last_ms"));
	else if (look_at(s, "scope.features") != NULL)
		(void)snprintf(
			ret, n,
			"the tables of %zu features are new's, reads and "
			"writes; clients were held for %.0f ms; "
			"rollback loses nothing",
			json_array_size(look_at(s, "scope.features")),
			look_real(s, "hold.last_ms"));
	else if (look_at(s, "scope") != NULL)
		(void)snprintf(ret, n,
		               "a part of the keys is new's, reads and writes "
		               "(%.1f %% of the slots); clients were held for "
		               "%.0f ms; rollback loses nothing",
		               look_real(s, "writes.desired_percentage"),
		               look_real(s, "hold.last_ms"));
	else
		(void)snprintf(ret, n, "%.1f %% of the reads may go to new",
		               look_real(s, "reads.desired_percentage"));
}

static void
back(const json_t *s, char *ret, size_t n)
{
	(void)snprintf(ret, n,
	               "%s has the authority and answers everything; longest "
	               "hold %.0f ms",
	               look_text(s, "authority"), look_real(s, "hold.max_ms"));
}

/* "; 3 unstable", when not zero. */
static size_t
more(char *ret, size_t n, size_t at, int64_t v, const char *word)
{
	int len = 0;

	if (v > 0)
		len = snprintf(ret + at, n - at, "%s%s %s", at > 0 ? ", " : "",
		               amount_count(v).s, word);
	return len > 0 && at + (size_t)len < n ? at + (size_t)len : at;
}

void
said_proof_more(const json_t *s, char *ret, size_t n)
{
	size_t at = 0;

	ret[0] = '\0';
	at = more(ret, n, at, look_int(s, "verification.unstable"), "unstable");
	at = more(ret, n, at, look_int(s, "verification.noted"), "noted");
	at = more(ret, n, at, look_int(s, "verification.repaired"), "repaired");
	if (look_bool(s, "verification.marker_lost"))
		at += (size_t)snprintf(ret + at, n - at,
		                       "%sa marker did not arrive",
		                       at > 0 ? ", " : "");
	if (at < n && look_bool(s, "verification.marker_refused"))
		(void)snprintf(ret + at, n - at,
		               "%sthe marker was refused: compared as if at "
		               "rest",
		               at > 0 ? ", " : "");
}

static void
proof(const json_t *s, char *ret, size_t n)
{
	char rest[SAID_MORE_MAX];

	bool is_open = said_proof_status(look_at(s, "verification")) ==
	               STATUS_TEMPORARY;

	said_proof_more(s, rest, sizeof(rest));
	(void)snprintf(ret, n,
	               "%s: %s compared, %s missing, %s extra, %s different"
	               "%s%s%s",
	               look_text(s, "verification.state"),
	               amount_count(look_int(s, "verification.compared")).s,
	               amount_count(look_int(s, "verification.missing")).s,
	               amount_count(look_int(s, "verification.extra")).s,
	               amount_count(look_int(s, "verification.different")).s,
	               rest[0] != '\0' ? ", " : "", rest,
	               is_open ? "; verify again when it is calmer" : "");
}

int
said_proof_status(const json_t *v)
{
	const char *state = look_text(v, "state");

	if (strcmp(state, "different") == 0)
		return STATUS_DIFFERENT;
	return strcmp(state, "unstable") == 0 ? STATUS_TEMPORARY : STATUS_DONE;
}

void
said_text(const char *verb, const json_t *answer, char *ret, size_t n)
{
	const json_t *s = json_object_get(answer, "data");
	const char *message = look_text(s, "message");

	if (!look_bool(answer, "ok"))
		message = look_text(answer, "message");
	if (message[0] != '\0')
		(void)snprintf(ret, n, "%s", message);
	else if (!look_bool(answer, "ok"))
		(void)snprintf(ret, n, "refused (%s)",
		               look_text(answer, "error"));
	else if (strcmp(verb, "promote") == 0)
		traffic(s, ret, n);
	else if (strcmp(verb, "rollback") == 0)
		back(s, ret, n);
	else if (strcmp(verb, "verify") == 0)
		proof(s, ret, n);
	else if (strcmp(verb, "pause") == 0)
		(void)snprintf(ret, n, "paused; the stream goes on");
	else if (strcmp(verb, "resume") == 0)
		(void)snprintf(ret, n, "goes on");
	else if (strcmp(verb, "complete") == 0)
		(void)snprintf(ret, n,
		               "old is let go and stays fenced; clients are "
		               "still served here");
	else if (strcmp(verb, "stop") == 0)
		(void)snprintf(ret, n, "Godwit stops; the state is kept");
	else
		(void)snprintf(ret, n, "done");
}
