/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/clients.h: commands about servers and clients as a whole
 * (server.c, clients.c, monitor.c).
 *
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/relay/inside.h"

/* ---- server.c: what acts on one server --------------------------------- */

enum dispatched server_dispatch(struct relay *r, struct session *s,
                                const struct command *c,
                                const struct resp_cmd *q, struct span raw);
/* The authority has answered this CONFIG SET of s. */
void server_configured(struct relay *r, struct session *s, struct span request,
                       struct span reply);

/* ---- clients.c: all clients of the interlay ---------------------------- */

enum skip {
	SKIP_NONE,
	SKIP_NEXT, /* the next command gets no reply */
	SKIP_NOW,  /* that is under way              */
};

/* A text for another worker, until it says that it has read it. */
struct said {
	struct said *next;
	struct span text; /* of buf */
	struct buf buf;
};

enum dispatched clients_dispatch(struct relay *r, struct session *s,
                                 const struct command *c,
                                 const struct resp_cmd *q, struct span raw);
/* The authority has said whether s may. */
void clients_allowed(struct relay *r, struct session *s, struct span reply);
void clients_mail(struct relay *r, const struct mail *m);
void clients_forget(struct relay *r, struct session *s); /* it is gone */
/* The line of s in CLIENT LIST, without its end. in_hand: bytes of its request
 * that is being answered, which are in its buffer at a server. */
void clients_put_line(struct relay *r, const struct session *s, size_t in_hand,
                      struct buf *b);
/* A text (moved out of b) to worker `to`; false: too much is not read yet. */
bool clients_tell(struct relay *r, uint32_t to, const struct mail *m,
                  struct buf *b);
void clients_tick(struct relay *r); /* EV_BATCH: the end of a pause */
void clients_fini(struct relay *r);
/* r->watchful is what it has to be. */
void clients_watch(struct relay *r);
/* CLIENT REPLY, CLIENT NO-EVICT. */
enum dispatched clients_reply(struct relay *r, struct session *s,
                              const struct command *c,
                              const struct resp_cmd *q);
/* r->watchful: may s be given this command now? Else it waits. */
bool clients_may_go(struct relay *r, struct session *s, const struct command *c,
                    const struct resp_cmd *q);
void clients_went(struct relay *r, struct session *s, const struct command *c,
                  struct span raw);
void clients_put_address(struct relay *r, const struct session *s,
                         struct buf *b);
/* Replies again, and nothing that is only this client's state. */
void clients_reset(struct relay *r, struct session *s);

/* ---- info.c ------------------------------------------------------------ */

enum dispatched info_dispatch(struct relay *r, struct session *s,
                              const struct command *c, const struct resp_cmd *q,
                              struct span raw);

/* ---- pause.c ----------------------------------------------------------- */

/* Does the CLIENT PAUSE of now hold this request? */
bool pause_holds(struct relay *r, const struct session *s,
                 const struct command *c, const struct resp_cmd *q);

/* ---- monitor.c --------------------------------------------------------- */

enum dispatched monitor_dispatch(struct relay *r, struct session *s);
void monitor_allowed(struct relay *r, struct session *s);
void monitor_end(struct relay *r, struct session *s);
void monitor_mail(struct relay *r, const struct mail *m);
/* s was given this command. */
void monitor_note(struct relay *r, const struct session *s,
                  const struct command *c, struct span raw);
/* Its request was answered with an error before it came to a server: shown when a
 * server would have looked at it, as it does at a wrong password. */
void monitor_note_failed(struct relay *r, const struct session *s,
                         const struct resp_cmd *q, struct span raw);
void monitor_flush(struct relay *r); /* EV_BATCH */
