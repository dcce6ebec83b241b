/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/audit.c: who changed what, from where, why, and what came of it.
 */
#include "control/store/audit.h"

#include "control/limit.h"

int
audit_open(struct store *s, struct err *err)
{
	static const char *const steps[] = {
		"CREATE TABLE audit(seq INTEGER PRIMARY KEY AUTOINCREMENT,"
		" at TEXT NOT NULL, org_uuid TEXT, subject TEXT, token TEXT,"
		" peer TEXT, action TEXT NOT NULL, kind TEXT, id TEXT,"
		" reason TEXT, result TEXT NOT NULL, request_id TEXT) STRICT;"
		"CREATE INDEX audit_org ON audit(org_uuid, seq);",
	};

	return store_schema(s, "audit", steps, 1, err);
}

static int
add(struct store *s, const struct audit_row *r, int64_t *ret_seq,
    struct err *err)
{
	char now[STORE_TIME];
	int64_t n = store_run(s, err,
	                      "INSERT INTO audit(at, org_uuid, subject, token, "
	                      "peer, action, kind, id, reason, result, "
	                      "request_id) VALUES(?,?,?,?,?,?,?,?,?,?,?)",
	                      "sssssssssss", store_now(now), r->org_uuid,
	                      r->subject, r->token, r->peer, r->action, r->kind,
	                      r->id, r->reason, r->result, r->request_id);

	if (n >= 0 && ret_seq != NULL)
		*ret_seq = store_number(s, "SELECT max(seq) FROM audit", "");
	if (n >= 0)
		n = store_run(s, err,
		              "DELETE FROM audit WHERE seq<=(SELECT max(seq) "
		              "FROM audit)-?",
		              "i", (int64_t)LIMIT_AUDIT_ROWS);
	return n < 0 ? (int)n : 0;
}

int
audit_add(struct store *s, const struct audit_row *r, int64_t *ret_seq,
          struct err *err)
{
	int rc = store_begin(s, err);

	if (rc != 0)
		return rc;
	return store_end(s, add(s, r, ret_seq, err), err);
}

int
audit_end(struct store *s, int64_t seq, const char *result, const char *id,
          struct err *err)
{
	int64_t n = store_run(s, err,
	                      "UPDATE audit SET result=?2, id=coalesce(?3, id) "
	                      "WHERE seq=?1",
	                      "iss", seq, result, id);

	return n < 0 ? (int)n : 0;
}

json_t *
audit_list(struct store *s, const char *org_uuid, const struct audit_filter *f,
           struct err *err)
{
	return store_rows(
		s, err,
		"SELECT seq, at, subject, token, peer, action, kind, id, "
		"reason, result, request_id FROM audit WHERE org_uuid=?1 AND "
		"(?2=0 OR seq<?2) AND (?3 IS NULL OR subject=?3) AND "
		"(?4 IS NULL OR kind=?4) AND (?5 IS NULL OR id=?5) "
		"ORDER BY seq DESC LIMIT ?6",
		"sisssi", org_uuid, f->before, f->subject, f->kind, f->id,
		(int64_t)f->limit);
}
