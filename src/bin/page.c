/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/page.c: what the help says beyond the tables.
 */
#include "bin/page.h"

#include "bin/status.h"

#define E(name) (1U << STATUS_##name)
#define E_VERB  (E(DONE) | E(ERROR) | E(USAGE) | E(PRECONDITION))

/* What every verb's page says about finding the migration. */
#define FINDS                                                           \
	"\n\nThe running migration is found by --state, or, when only " \
	"one runs in the standard directory, by itself."

static const char migrate_text[] =
	"Stands between the applications and OLD (the interlay), copies OLD "
	"to NEW, keeps NEW in step through OLD's own replication stream, "
	"moves the traffic in steps, and can go back at any moment until you "
	"say complete. OLD and NEW are URLs: "
	"redis://[user:password@]host[:port] (rediss:// in TLS) or "
	"unix:///path/of/socket; two PostgreSQL databases: "
	"postgres://[user:password@]host[:port]/database, and with --databases "
	"several of the same server, in one switch. "
	"There is no configuration file; applications connect to --listen "
	"instead of OLD, that is all they notice.\n\n"
	"The way of a migration:\n"
	"* copying: the bulk goes over, changes follow\n"
	"* catching_up, then in step: the stream's lag is a few "
	"milliseconds\n"
	"* shifting: promote moves a share of the reads to NEW; each step "
	"waits for you (or --auto)\n"
	"* cutover (the promote after the last step): writes are held for "
	"some milliseconds, OLD is fenced, the last change is seen to "
	"arrive on NEW, NEW has the authority\n"
	"* soaking: the stream runs from NEW back to OLD, so that rollback "
	"loses nothing\n"
	"* complete: both sides are verified, OLD is let go\n\n"
	"On a terminal you see a live screen; p promotes, space pauses, r "
	"goes back, v verifies, c completes, q leaves. Leaving (or Ctrl-C) "
	"never stops the migration: it goes on by itself, and the verbs below "
	"reach it from any terminal. Without a terminal everything happens in "
	"this process: a status line every 5 s (--json: an object a line); the "
	"second Ctrl-C, or SIGTERM, stops it gracefully.\n\n"
	"Every decision is in the state file before it takes effect. After a "
	"crash, or a stop, the same command goes on where it was.";

static const char verify_text[] =
	"With OLD NEW: compares two servers, whoever made them equal: every "
	"key of every database, its type, its value, its time to live. Both "
	"may be in use: a difference counts only when it is still there after "
	"a second look. --static skips that look.\n\n"
	"Without operands: asks the running migration to verify itself; its "
	"result is the one that complete wants to see.\n\n"
	"The comparison shares no code with the copy but the protocol's "
	"reader. Exit status 8: they differ; 5: no difference, but keys that "
	"were never still, which are proven neither equal nor different.";

static const char copy_text[] =
	"Copies every database of OLD to NEW once: keys, types, values, times "
	"to live, functions. What changes on OLD meanwhile is followed, so "
	"that NEW is as OLD was at the moment at which the copy says done. No "
	"traffic is moved and neither side is fenced.\n\n"
	"OLD is only read. NEW's keys that OLD does not have stay; where both "
	"have a key, --conflict decides.";

static const char release_text[] =
	"After complete, OLD still refuses the applications' users, so that a "
	"forgotten client cannot write to a server that nobody reads any "
	"more. release gives OLD's users the rules back that were saved in "
	"the journal before the fence, and removes what Godwit left there. "
	"Do it when you are sure that nothing writes to OLD by mistake: from "
	"then on its data goes its own way.\n\n"
	"Of PostgreSQL either side of a migration that is over may be named: "
	"OLD after complete, and OLD or NEW after a rollback whose process "
	"was killed, or did not reach the server at its end (godwit stop does "
	"all of it). Roles may log in again, and slot, publication, schema "
	"and role of Godwit are removed there; the same command begins anew.\n\n"
	"--state is the state file of the godwit migrate that was completed, "
	"or that of a godwit serve, which may be running: the completed "
	"migration whose old side is OLD is found in it, and the daemon "
	"learns of the release.";

static const char promote_text[] =
	"Takes the next step and returns when it is in force: the next share "
	"of reads in a canary, the next feature, flag or region of a strategy "
	"that has such, after the last step the cutover. The cutover "
	"holds clients for some milliseconds and is postponed (exit status "
	"5), with nothing changed, when a check does not allow it now." FINDS;

static const char rollback_text[] =
	"Gives all traffic back to OLD and returns when it is done. Before "
	"the cutover that is one moment; after it the same protocol as the "
	"cutover runs the other way, and because NEW's changes were streamed "
	"back to OLD all the time, nothing is lost. The process stays up: "
	"promote begins again." FINDS;

static const char complete_text[] =
	"Ends the soak: possible while NEW has the authority, the stream is in "
	"step and the last verification is clean (one is made when there is "
	"none since the cutover). After it there is no way back by rollback. "
	"OLD stays fenced; see release. The interlay goes on serving NEW until "
	"you stop it, so applications can be pointed at NEW at leisure." FINDS;

static const char status_text[] =
	"Shows the state, the phase and what comes next. --json gives all "
	"numbers. --watch on a terminal is the live screen of migrate, with "
	"the same keys; elsewhere it prints a line every few seconds." FINDS;

static const char serve_text[] =
	"The daemon: keeps endpoints, interlays, templates, apis and "
	"migrations in an SQLite file, runs many migrations at once, and is "
	"driven by a REST API (docs/reference/api.md) or the commands that "
	"speak it: login, endpoints, interlays, migrations and the others. At "
	"the first start it prints the super-admin's token, once, or writes it "
	"to --admin-token-file.";

static const char migrations_text[] =
	"A migration moves interlays and apis from their endpoints (old) to "
	"others (new) with one strategy, one data movement, one failure "
	"handling. It is made (pending), gets what it moves (ready), is "
	"started (running), and ends completed or rolled back; what is "
	"possible when is in the answer of every refusal.\n\n"
	"Rollback is possible at every moment from its start to complete, and "
	"loses nothing. --dry-run shows what a verb would do; --reason is kept "
	"in the journal and the audit log.";

// clang-format off
const struct page pages[CMD_N] = {
[CMD_MIGRATE] = {
	.text = migrate_text,
	.examples = {
		{ "Move in canary steps, with the live screen",
		  "godwit migrate redis://old:6379 redis://new:6379 "
		  "--listen 127.0.0.1:6400" },
		{ "One switch, as soon as both sides are in step",
		  "godwit migrate redis://old redis://new --listen :6400 "
		  "--strategy big_bang" },
		{ "By itself, in a script; going back when a check fails",
		  "godwit migrate redis://old redis://new --listen :6400 --auto "
		  "--step-duration 2m --json >migration.jsonl" },
		{ "Two databases of one PostgreSQL server; look first",
		  "godwit migrate postgres://me@old/app postgres://me@new/app "
		  "--databases app,shop --listen :6432 --check" },
		{ "Passwords that do not show in ps",
		  "GODWIT_OLD_PASSWORD=... godwit migrate redis://app@old "
		  "redis://new --new-password-file new.secret --listen :6400" },
	},
	.exits = E_VERB | E(ABORTED) | E(TEMPORARY),
	.uses_state = true,
	.see = "status, promote, rollback, complete, stop" },
[CMD_STATUS] = {
	.text = status_text,
	.examples = {
		{ "A table", "godwit status" },
		{ "The live screen of a migration that runs elsewhere",
		  "godwit status --watch" },
		{ "One number for a script",
		  "godwit status --json | jq .stream.lag_ms" },
	},
	.exits = E_VERB, .uses_state = true,
	.see = "events, promote, migrate" },
[CMD_PROMOTE] = {
	.text = promote_text,
	.examples = {
		{ "The next step", "godwit promote" },
		{ "Half of the reads, whatever the steps say",
		  "godwit promote --to 50" },
		{ "A feature of a strangler_fig, out of its turn",
		  "godwit promote --to payments" },
		{ "Straight to the cutover; try for ten minutes if need be",
		  "godwit promote --to cutover --wait --timeout 10m" },
	},
	.exits = E_VERB | E(ABORTED) | E(TEMPORARY) | E(TIMED_OUT),
	.uses_state = true, .see = "status, rollback, complete" },
[CMD_PAUSE] = {
	.text = "Stops the copy and the steps of --auto. The stream and the "
		"interlay go on, so nothing falls behind." FINDS,
	.examples = { { "Keep OLD quiet for the night",
			"godwit pause --reason 'nightly batch'" } },
	.exits = E_VERB, .uses_state = true, .see = "resume, status" },
[CMD_RESUME] = {
	.text = "Goes on after a pause, from where it stopped." FINDS,
	.examples = { { "Go on", "godwit resume" } },
	.exits = E_VERB, .uses_state = true, .see = "pause, status" },
[CMD_ROLLBACK] = {
	.text = rollback_text,
	.examples = {
		{ "Go back", "godwit rollback --reason 'p99 doubled'" },
		{ "NEW has died and will not come back",
		  "godwit rollback --accept-data-loss" },
	},
	.exits = E_VERB | E(TEMPORARY) | E(TIMED_OUT),
	.uses_state = true, .see = "promote, status" },
[CMD_COMPLETE] = {
	.text = complete_text,
	.examples = {
		{ "End it", "godwit complete" },
		{ "End it without proof; the word is forced from then on",
		  "godwit complete --force --reason 'OLD is gone'" },
	},
	.exits = E_VERB | E(TEMPORARY) | E(DIFFERENT),
	.uses_state = true, .see = "verify, rollback, release" },
[CMD_VERIFY] = {
	.text = verify_text,
	.examples = {
		{ "Compare two servers",
		  "godwit verify redis://old redis://new" },
		{ "Verify the running migration", "godwit verify" },
		{ "Names of all keys that differ",
		  "godwit verify redis://old redis://new --json | "
		  "jq -r '.finds[].key'" },
	},
	.exits = E_VERB | E(TEMPORARY) | E(DIFFERENT),
	.see = "complete, copy" },
[CMD_EVENTS] = {
	.text = "Lists the events that the running migration remembers, "
		"oldest first; --watch goes on with the next ones." FINDS,
	.examples = {
		{ "What happened", "godwit events" },
		{ "Follow, as JSON", "godwit events --watch --json" },
	},
	.exits = E_VERB, .uses_state = true, .see = "status" },
[CMD_POOLS] = {
	.text = "PostgreSQL: a line for each user in each database, of all "
		"workers together. active: a request or a transaction is under "
		"way; used: a client has the connection, between two; idle: "
		"nobody has it. SIZE is --pool-size of all workers." FINDS,
	.examples = {
		{ "A table", "godwit pools" },
		{ "Does anybody wait for a connection?", "godwit pools --json | "
		  "jq '[.[].clients_waiting] | add'" },
	},
	.exits = E_VERB, .uses_state = true, .see = "clients, servers" },
[CMD_CLIENTS] = {
	.text = "PostgreSQL: who is connected, and what each does: login, idle, "
		"active, in transaction, waiting (for a server), held (by a "
		"switch), or pinned (idle, and keeps a connection of the pool; "
		"WHY says what for). PID is the server's process that it has "
		"now." FINDS,
	.examples = {
		{ "A table", "godwit clients" },
		{ "Who keeps a connection, and why", "godwit clients --json | jq "
		  "'.[] | select(.state == \"pinned\") | {id, user, why}'" },
	},
	.exits = E_VERB, .uses_state = true, .see = "pools, servers, status" },
[CMD_SERVERS] = {
	.text = "PostgreSQL: Godwit's connections to both servers. active and "
		"used are a client's (CLIENT), idle is nobody's, resets forgets "
		"who had it, own is Godwit's (WHAT says for what)." FINDS,
	.examples = {
		{ "A table", "godwit servers" },
		{ "Of which client is a server's process?", "godwit servers "
		  "--json | jq '.[] | select(.process == 4711) | .client'" },
	},
	.exits = E_VERB, .uses_state = true, .see = "pools, clients" },
[CMD_STOP] = {
	.text = "Stops the Godwit process gracefully: running requests end, "
		"then clients are disconnected. The state is kept, and the "
		"same migrate command goes on with it: the answer comes when "
		"its ports are free. Applications cannot "
		"reach their data through the interlay until then." FINDS,
	.examples = { { "Stop", "godwit stop" } },
	.exits = E_VERB, .uses_state = true, .see = "migrate, pause" },
[CMD_COPY] = {
	.text = copy_text,
	.examples = {
		{ "Copy, with progress", "godwit copy redis://old redis://new" },
		{ "Then prove it", "godwit verify redis://old redis://new" },
		{ "Spare OLD the fork", "godwit copy redis://old redis://new "
					"--copy-mode scan" },
	},
	.exits = E_VERB | E(TEMPORARY), .see = "verify, migrate" },
[CMD_RELEASE] = {
	.text = release_text,
	.examples = { { "Give OLD back to its users",
			"godwit release redis://old:6379 --state move.db" },
		{ "Open NEW behind a rollback that was cut off",
		  "godwit release postgres://new/app --state app.db" },
		{ "After a migration of the daemon", "godwit release "
		  "redis://old:6379 --state /var/lib/godwit/serve.db" } },
	.exits = E_VERB | E(TEMPORARY), .uses_state = true,
	.see = "complete" },
[CMD_SERVE] = {
	.text = serve_text,
	.examples = {
		{ "A server of your own; its first token goes into a file",
		  "godwit serve --state godwit.db --admin-token-file "
		  "admin.token" },
		{ "Use it", "godwit login --token-file admin.token && godwit "
		  "endpoints list" },
		{ "Is the configuration good?",
		  "godwit serve --config godwit.yaml --check" },
	},
	.exits = E_VERB, .see = "login, migrations, endpoints" },
[CMD_LOGIN] = {
	.text = "Gets a token from a server of godwit serve and keeps it, so "
		"that the commands below need none. The password comes from "
		"--password-file, from GODWIT_PASSWORD, or is asked for on the "
		"terminal without echo; it is never an option. A login lasts "
		"15 minutes and is renewed while it is used.\n\n"
		"With --token-file a long-lived token is checked and kept "
		"instead. Programs need no login: --token-file or GODWIT_TOKEN "
		"with each command will do.",
	.examples = {
		{ "At the standard address", "godwit login --user alice" },
		{ "Elsewhere, in a script",
		  "GODWIT_PASSWORD=... godwit login --server "
		  "https://godwit.example --user ci" },
		{ "With the first token of a server",
		  "godwit login --token-file admin.token" },
	},
	.exits = E_VERB | E(TEMPORARY), .see = "logout, tokens, migrations" },
[CMD_LOGOUT] = {
	.text = "Ends the login at the server and removes its token here.",
	.examples = { { "End it", "godwit logout" } },
	.exits = E_VERB, .see = "login" },
[CMD_ENDPOINTS] = {
	.text = "An endpoint is a named system: its kind, its URL, its "
		"credentials (stored encrypted), its labels.",
	.examples = {
		{ "Name two servers and look at them",
		  "godwit endpoints create -f old.yaml && godwit endpoints test "
		  "old" },
		{ "What is there", "godwit endpoints list" },
	},
	.exits = E_VERB | E(TEMPORARY), .see = "interlays, migrations" },
[CMD_INTERLAYS] = {
	.text = "An interlay is a listener that speaks an endpoint's own "
		"protocol; applications connect to it instead of the endpoint, "
		"and a migration moves them without their notice.",
	.examples = {
		{ "Stand in front of an endpoint", "godwit interlays create "
		  "cache --endpoint old --listen 127.0.0.1:6400" },
		{ "Who is connected", "godwit interlays list" },
	},
	.exits = E_VERB | E(TEMPORARY), .see = "endpoints, migrations" },
[CMD_TEMPLATES] = {
	.text = "A template is an operation on an endpoint with parameters "
		"that are bound, never spliced.",
	.examples = {
		{ "Run one", "godwit templates run get_user id=42" },
		{ "What is there", "godwit templates list" },
	},
	.exits = E_VERB | E(TEMPORARY), .see = "apis, endpoints" },
[CMD_APIS] = {
	.text = "An api is a logical operation, bound to templates; in a "
		"migration it follows the strategy like an interlay does.",
	.examples = {
		{ "Run one", "godwit apis run user id=42" },
		{ "What is there", "godwit apis list" },
	},
	.exits = E_VERB | E(TEMPORARY), .see = "templates, migrations" },
[CMD_MIGRATIONS] = {
	.text = migrations_text,
	.examples = {
		{ "Describe it, say what moves, check it, start it",
		  "godwit migrations create move -f canary.yaml" },
		{ "", "godwit migrations add move interlay cache --endpoint new" },
		{ "", "godwit migrations test move && godwit migrations migrate "
		  "move" },
		{ "Watch it, step by step",
		  "godwit migrations watch move" },
		{ "", "godwit migrations promote move" },
		{ "Back, without losing anything",
		  "godwit migrations rollback move --reason 'p99 doubled'" },
	},
	.exits = E_VERB | E(ABORTED) | E(TEMPORARY) | E(WINDOW) |
		 E(DIFFERENT) | E(TIMED_OUT),
	.see = "interlays, endpoints, login, migrate" },
[CMD_TOKENS] = {
	.text = "Long-lived tokens, for programs: with a role and an expiry, "
		"shown once, stored hashed.",
	.examples = { { "For a monitoring job", "godwit tokens create monitor "
			"--role read --expires-in 90d" } },
	.exits = E_VERB | E(TEMPORARY), .see = "login, users, roles" },
[CMD_USERS] = {
	.text = "Users log in with a password and have a role in their "
		"organization.",
	.examples = { { "Make one", "godwit users create alice --role write "
			"--password-file alice.secret" } },
	.exits = E_VERB | E(TEMPORARY), .see = "login, roles, tokens" },
[CMD_ROLES] = {
	.text = "Roles are none, read, write, admin, super_admin; a subject "
		"has one in the organization, and may have another on one "
		"thing.",
	.examples = { { "Admin of one migration", "godwit roles set migrations "
			"move alice --role admin" } },
	.exits = E_VERB | E(TEMPORARY), .see = "users, tokens" },
[CMD_ORGANIZATIONS] = {
	.text = "Organizations share a server and see nothing of each other.",
	.examples = { { "Make one", "godwit organizations create acme -f "
			"acme.yaml --token-file new-organization.token" } },
	.exits = E_VERB | E(TEMPORARY), .see = "users, login" },
[CMD_COMPLETION] = {
	.text = "Prints a script that completes commands, options and their "
		"values in your shell.",
	.examples = {
		{ "bash, in this shell",
		  "source <(godwit completion bash)" },
		{ "zsh, for good",
		  "godwit completion zsh >~/.zfunc/_godwit" },
		{ "fish, for good",
		  "godwit completion fish >"
		  "~/.config/fish/completions/godwit.fish" },
	},
	.exits = E(DONE) | E(USAGE), .see = "help" },
[CMD_HELP] = {
	.text = "Explains a command; without one, lists them all.",
	.examples = { { "How to move a live service",
			"godwit help migrate" },
		{ "One action of a command", "godwit help migrations "
		  "promote" } },
	.exits = E(DONE) | E(USAGE), .see = "completion" },
[CMD_VERSION] = {
	.text = "Prints the version.",
	.examples = { { "For a bug report", "godwit --version" } },
	.exits = E(DONE) | E(USAGE), .see = "help" },
};
// clang-format on
