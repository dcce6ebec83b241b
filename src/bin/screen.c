/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/screen.c: the live screen of a running migration, with its keys.
 *
 *            [key]→ asks y/n ─[y]→ works ─[answer]→ shows what came of it
 *   idle ──┤            └─[other]→ idle                       │
 *            [key]→ works (promote, pause, verify need no y)  │
 *     ↑└─────────────────────[next key]───────────────────────┘
 */
#define _DEFAULT_SOURCE
#include "bin/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "bin/frame.h"
#include "bin/look.h"
#include "bin/said.h"
#include "bin/talk.h"
#include "bin/term.h"
#include "world/os/loop.h"

#define LINES_FIXED 18 /* the frame without events, a blank, the keys       */
#define LINES_LAST  4  /* next, rollback, the blank, the keys               */
#define EVENTS_MAX  6
#define NOTE_MAX    512

struct key {
	char key;
	const char *verb;
	const char *question; /* NULL: no need to ask                       */
};

static const struct key keys[] = {
	{ 'p', "promote", NULL },
	{ ' ', "pause", NULL },
	{ 'r', "rollback", "give all traffic back to old?" },
	{ 'v', "verify", NULL },
	{ 'c', "complete", "end the soak? rollback is not possible after it:" },
};

struct screen {
	const struct talk_to *to;
	struct talk watch;   /* streams the status                           */
	struct talk verb;    /* one request at a time; fd -1: none           */
	const char *working; /* the verb's name, NULL: none                 */
	time_t working_since;
	const struct key *asking; /* waits for y or n                       */
	char note[NOTE_MAX];
	enum frame_style note_style;
	json_t *status; /* the last one, NULL: none yet                     */
	struct term term;
	sigset_t signals;
	sigset_t signals_before;
	int signal_fd;
	uint32_t drawn; /* lines of the picture on the terminal             */
	bool is_left;
	bool is_over;
};

/* A control sequence; a terminal that is gone is noticed when reading. */
static void
control(const char *sequence)
{
	size_t n = strlen(sequence);

	if (write(STDOUT_FILENO, sequence, n) != (ssize_t)n)
		return;
}

/* ---- drawing ----------------------------------------------------------- */

static const char *
verb_of(const struct screen *s, const struct key *k)
{
	if (k->key == ' ' &&
	    strcmp(look_text(s->status, "status"), "paused") == 0)
		return "resume";
	return k->verb;
}

static void
put_keys(const struct screen *s, struct frame *f)
{
	if (s->asking != NULL) {
		frame_put(f, FRAME_WARN, "%s: %s y/n", verb_of(s, s->asking),
		          s->asking->question);
	} else if (s->working != NULL) {
		frame_put(f, FRAME_WARN,
		          "%s: working, %lld s  (q leaves, it "
		          "goes on)",
		          s->working,
		          (long long)(time(NULL) - s->working_since));
	} else if (s->note[0] != '\0') {
		frame_put(f, s->note_style, "%s", s->note);
	} else {
		frame_put(f, FRAME_BOLD, "p");
		frame_put(f, FRAME_PLAIN, " promote  ");
		frame_put(f, FRAME_BOLD, "space");
		frame_put(f, FRAME_PLAIN, " %s  ", verb_of(s, &keys[1]));
		frame_put(f, FRAME_BOLD, "r");
		frame_put(f, FRAME_PLAIN, " rollback  ");
		frame_put(f, FRAME_BOLD, "v");
		frame_put(f, FRAME_PLAIN, " verify  ");
		frame_put(f, FRAME_BOLD, "c");
		frame_put(f, FRAME_PLAIN, " complete  ");
		frame_put(f, FRAME_BOLD, "q");
		frame_put(f, FRAME_PLAIN, " leave (it goes on)");
	}
}

/* The picture without cursor movements, at most rows - 1 lines. */
static char *
picture(const struct screen *s, uint32_t rows, struct frame_conf *conf)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	struct frame f;

	if (out == NULL)
		return NULL;
	conf->events = rows > LINES_FIXED ? rows - LINES_FIXED : 0;
	if (conf->events > EVENTS_MAX)
		conf->events = EVENTS_MAX;
	f = (struct frame){ .out = out, .conf = conf };
	if (s->status != NULL)
		(void)frame_print(out, s->status, conf);
	else
		(void)fputs("waiting for the first status ...\n", out);
	frame_end(&f);
	put_keys(s, &f);
	frame_end(&f);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* All lines, but those in the middle that do not fit: what comes next and the
 * keys always do. */
static bool
is_shown(uint32_t line, uint32_t lines, uint32_t rows)
{
	uint32_t room = rows > 2 ? rows - 1 : 1;
	uint32_t last = room > 2 * LINES_LAST ? LINES_LAST : 1;

	return lines <= room || line < room - last || line + last >= lines;
}

static void
draw(struct screen *s)
{
	struct frame_conf conf = { .has_color = term_has_color(),
		                   .has_utf8 = term_has_utf8() };
	char *out_text = NULL;
	size_t out_n = 0;
	FILE *out = open_memstream(&out_text, &out_n);
	uint32_t lines = 0;
	uint32_t shown = 0;
	uint32_t rows;
	char *text;

	if (out == NULL)
		return;
	term_size(&conf.columns, &rows);
	text = picture(s, rows, &conf);
	for (const char *p = text; p != NULL && *p != '\0'; p++)
		lines += *p == '\n';
	if (s->drawn > 0)
		(void)fprintf(out, "\033[%uA", s->drawn);
	(void)fputs("\r\033[?25l", out);
	for (uint32_t i = 0, at = 0; text != NULL && i < lines; i++) {
		size_t len = strcspn(text + at, "\n");

		if (is_shown(i, lines, rows)) {
			(void)fwrite(text + at, 1, len, out);
			(void)fputs("\033[K\n", out);
			shown++;
		}
		at += (uint32_t)len + 1;
	}
	(void)fputs("\033[J", out);
	free(text);
	/* One write a picture: the terminal never shows half of one. */
	if (fclose(out) == 0 &&
	    write(STDOUT_FILENO, out_text, out_n) == (ssize_t)out_n)
		s->drawn = shown;
	free(out_text);
}

/* ---- verbs ------------------------------------------------------------- */

static void
note(struct screen *s, enum frame_style style, const char *verb,
     const char *text)
{
	s->note_style = style;
	(void)snprintf(s->note, sizeof(s->note), "%s: %s", verb, text);
}

static void
begin_verb(struct screen *s, const struct key *k)
{
	const char *verb = verb_of(s, k);
	struct err err;
	json_t *args = json_pack("{s:s}", "reason", "screen");
	int rc = talk_open(&s->verb, s->to, &err);

	if (rc == 0)
		rc = talk_send(&s->verb, verb, args, &err);
	json_decref(args);
	if (rc != 0) {
		note(s, FRAME_BAD, verb, err.text);
		talk_close(&s->verb);
		return;
	}
	s->working = verb;
	s->working_since = time(NULL);
}

static void
end_verb(struct screen *s, int rc, const json_t *answer, const struct err *err)
{
	char text[NOTE_MAX - 32];

	if (rc != 0) {
		note(s, FRAME_BAD, s->working, err->text);
	} else {
		said_text(s->working, answer, text, sizeof(text));
		note(s, look_bool(answer, "ok") ? FRAME_GOOD : FRAME_BAD,
		     s->working, text);
	}
	talk_close(&s->verb);
	s->working = NULL;
}

static void
read_verb(struct screen *s)
{
	while (s->working != NULL) {
		struct err err;
		json_t *answer = NULL;
		int rc = talk_next(&s->verb, 0, &answer, &err);

		if (rc == -ERR_TIMEOUT)
			return;
		/* Events on the way: the watch shows them, too. */
		if (rc != 0 || json_object_get(answer, "ok") != NULL)
			end_verb(s, rc, answer, &err);
		json_decref(answer);
	}
}

static void
on_key(struct screen *s, char c)
{
	const struct key *asked = s->asking;

	s->note[0] = '\0';
	s->asking = NULL;
	if (asked != NULL) {
		if (c == 'y' || c == 'Y')
			begin_verb(s, asked);
		return;
	}
	if (c == 'q' || c == 'Q' || c == 4) {
		s->is_left = true;
		return;
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (keys[i].key != c)
			continue;
		if (s->working != NULL)
			return;
		if (keys[i].question != NULL)
			s->asking = &keys[i];
		else
			begin_verb(s, &keys[i]);
	}
}

/* ---- the loop ---------------------------------------------------------- */

static void
read_keys(struct screen *s)
{
	char c[64];
	ssize_t n = read(STDIN_FILENO, c, sizeof(c));

	if (n <= 0) {
		s->is_left = true;
		return;
	}
	/* An escape sequence (an arrow) is no key of ours: skip it whole. */
	if (c[0] == 27)
		return;
	for (ssize_t i = 0; i < n && !s->is_left; i++)
		on_key(s, c[i]);
}

static void
read_watch(struct screen *s)
{
	for (;;) {
		json_t *j = NULL;
		json_t *status;
		int rc = talk_next(&s->watch, 0, &j, NULL);

		if (rc == -ERR_TIMEOUT)
			return;
		if (rc != 0) {
			s->is_over = true;
			return;
		}
		status = json_object_get(j, "status");
		if (json_is_object(status)) {
			json_decref(s->status);
			s->status = json_incref(status);
		}
		json_decref(j);
	}
}

static void
suspend(struct screen *s)
{
	control("\033[?25h");
	term_restore(&s->term);
	(void)kill(getpid(), SIGSTOP);
	/* Here again after SIGCONT; what is on the terminal is not ours. */
	term_raw(&s->term);
	s->drawn = 0;
}

static void
read_signals(struct screen *s)
{
	struct signalfd_siginfo info;

	if (read(s->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGTSTP) {
		suspend(s);
	} else if (info.ssi_signo == SIGWINCH) {
		/* Lines may have been wrapped: begin on a clean screen. */
		control("\033[H\033[2J");
		s->drawn = 0;
	} else if (info.ssi_signo != SIGCONT) {
		s->is_left = true;
	}
}

static int
screen_open(struct screen *s, struct err *err)
{
	int rc;

	(void)sigemptyset(&s->signals);
	(void)sigaddset(&s->signals, SIGINT);
	(void)sigaddset(&s->signals, SIGTERM);
	(void)sigaddset(&s->signals, SIGHUP);
	(void)sigaddset(&s->signals, SIGWINCH);
	(void)sigaddset(&s->signals, SIGTSTP);
	(void)sigaddset(&s->signals, SIGCONT);
	(void)pthread_sigmask(SIG_BLOCK, &s->signals, &s->signals_before);
	s->signal_fd = signalfd(-1, &s->signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return err_set(err, ERR_IO, "signalfd: %s", os_cause(errno));
	rc = talk_open(&s->watch, s->to, err);
	if (rc == 0)
		rc = talk_send(&s->watch, "watch", NULL, err);
	if (rc == 0)
		term_raw(&s->term);
	return rc;
}

static void
screen_close(struct screen *s)
{
	if (s->drawn > 0)
		control("\033[?25h");
	term_restore(&s->term);
	talk_close(&s->watch);
	talk_close(&s->verb);
	json_decref(s->status);
	if (s->signal_fd >= 0)
		(void)close(s->signal_fd);
	(void)pthread_sigmask(SIG_SETMASK, &s->signals_before, NULL);
}

int
screen_run(const struct talk_to *to, enum screen_end *ret, struct err *err)
{
	struct screen s = { .to = to,
		            .signal_fd = -1,
		            .watch = { .fd = -1 },
		            .verb = { .fd = -1 } };
	int rc = screen_open(&s, err);

	while (rc == 0 && !s.is_left && !s.is_over) {
		/* poll skips the verb's entry while its descriptor is -1. */
		struct pollfd fds[] = {
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = s.signal_fd, .events = POLLIN },
			{ .fd = s.watch.fd, .events = POLLIN },
			{ .fd = s.verb.fd, .events = POLLIN },
		};

		draw(&s);
		if (poll(fds, 4, 1000) <= 0)
			continue;
		if (fds[0].revents != 0)
			read_keys(&s);
		if (fds[1].revents != 0)
			read_signals(&s);
		if (fds[2].revents != 0)
			read_watch(&s);
		if (fds[3].revents != 0)
			read_verb(&s);
	}
	if (rc == 0)
		draw(&s);
	screen_close(&s);
	*ret = s.is_over ? SCREEN_OVER : SCREEN_LEFT;
	return rc;
}
