/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/unknown.c: what nobody knows, in the server's own words.
 *
 * Source: the answers of a redis-server 7.0.15 (tests/live/test_differential.py
 * compares them). Words end at a NUL byte there, so they do here.
 */
#include "engine/redis/relay/unknown.h"

#include "engine/redis/relay/split.h"

#define WORD_MAX 128 /* bytes of a name, and of all words behind it */

/* A line of an error has no line ends. */
static void
put_word(struct buf *b, struct span word, size_t max)
{
	for (size_t i = 0; i < word.n && i < max && word.p[i] != '\0'; i++) {
		bool ends = word.p[i] == '\r' || word.p[i] == '\n';

		buf_put(b, ends ? (const void *)" " : &word.p[i], 1);
	}
}

/* The words behind the name, as many as fit. */
static void
put_words(struct buf *b, struct span raw)
{
	size_t begun = buf_len(b);
	size_t pos = 0;
	struct span word;
	bool is_name = true;

	while (buf_len(b) - begun < WORD_MAX &&
	       resp_cmd_walk(raw, &pos, &word)) {
		if (!is_name) {
			size_t room = WORD_MAX - (buf_len(b) - begun);

			buf_put_str(b, "'");
			put_word(b, word, room);
			buf_put_str(b, "' ");
		}
		is_name = false;
	}
}

static void
put_subcommand(struct buf *b, const struct command *c, const struct resp_cmd *q)
{
	buf_put_str(b, "ERR unknown subcommand '");
	put_word(b, q->argv[1], WORD_MAX);
	buf_put_str(b, "'. Try ");
	for (size_t i = 0; i < c->name_n; i++) {
		char up = c->name[i];

		if (up >= 'a' && up <= 'z')
			up = (char)(up - 'a' + 'A');
		buf_put(b, &up, 1);
	}
	buf_put_str(b, " HELP.");
}

enum dispatched
unknown_refuse(struct relay *r, struct session *s, const struct command *c,
               const struct resp_cmd *q, struct span raw)
{
	enum dispatched ret = DISPATCH_CLOSED;
	struct buf b;

	buf_init(&b, r->mem);
	if (c != NULL) {
		put_subcommand(&b, c, q);
	} else {
		buf_put_str(&b, "ERR unknown command '");
		put_word(&b, q->argv[0], WORD_MAX);
		buf_put_str(&b, "', with args beginning with: ");
		put_words(&b, raw);
	}
	if (buf_failed(&b))
		session_close(r, s, NULL);
	else
		ret = dispatch_refuse(r, s, "%.*s", (int)buf_len(&b),
		                      (const char *)buf_span(&b).p);
	buf_fini(&b);
	return ret;
}

void
unknown_say(struct relay *r, struct session *s, const struct command *c,
            const struct resp_cmd *q)
{
	struct buf b;

	buf_init(&b, r->mem);
	put_subcommand(&b, c, q);
	session_sayf(r, s, "-%.*s\r\n", (int)buf_len(&b),
	             (const char *)buf_span(&b).p);
	buf_fini(&b);
}
