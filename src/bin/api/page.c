/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/page.c: what the help says about the actions of the API's commands.
 */
#include "bin/page.h"

#include "bin/status.h"

#define E(name) (1U << STATUS_##name)
#define E_CALL  (E(DONE) | E(ERROR) | E(USAGE) | E(PRECONDITION) | E(TEMPORARY))
#define E_VERB  (E_CALL | E(ABORTED) | E(WINDOW) | E(TIMED_OUT))

static const char file_text[] =
	"The body comes from -f FILE as JSON or YAML (- is the standard "
	"input), exactly as the REST API takes it; options and the name on the "
	"command line come on top of it.";

// clang-format off
const struct page action_pages[ACTION_N] = {
[ACTION_ENDPOINTS_LIST] = {
	.text = "Lists the endpoints. Passwords are never shown.",
	.examples = { { "As a table", "godwit endpoints list" },
		{ "Their addresses, for a program",
		  "godwit endpoints list --json | jq -r '.[].config.url'" } },
	.exits = E_CALL, .see = "endpoints" },
[ACTION_ENDPOINTS_SHOW] = {
	.text = "Shows one endpoint, by its name or its UUID.",
	.examples = { { "One", "godwit endpoints show old" } },
	.exits = E_CALL, .see = "endpoints" },
[ACTION_ENDPOINTS_CREATE] = {
	.text = "Gives a system a name. The password in the URL is stored "
		"encrypted and never shown again.\n\n"
		"The body comes from -f FILE as JSON or YAML (- is the "
		"standard input), exactly as the REST API takes it; options "
		"and the name on the command line come on top of it.",
	.examples = {
		{ "From a file", "godwit endpoints create -f old.yaml" },
		{ "From the standard input",
		  "echo 'config: {url: redis://10.0.0.1:6379}' | godwit "
		  "endpoints create old --kind redis -f -" } },
	.exits = E_CALL, .see = "endpoints test, interlays create" },
[ACTION_ENDPOINTS_PATCH] = {
	.text = "Changes what the body names; the rest stays. Interlays that "
		"use the endpoint follow.",
	.examples = { { "A description", "godwit endpoints patch old "
			"--description 'the cache of 2019'" },
		{ "A new password, unless somebody was faster: show prints the "
		  "etag", "godwit endpoints patch old -f url.json --if-match "
		  "v3" } },
	.exits = E_CALL, .see = "endpoints show" },
[ACTION_ENDPOINTS_DELETE] = {
	.text = "Forgets an endpoint. Refused while something uses it; the "
		"message names what.",
	.examples = { { "Forget it", "godwit endpoints delete old" } },
	.exits = E_CALL, .see = "endpoints list" },
[ACTION_ENDPOINTS_TEST] = {
	.text = "Connects and looks: version, rights, latency. Exit status 5 "
		"when it cannot be reached.",
	.examples = { { "Is it there?", "godwit endpoints test new" } },
	.exits = E_CALL, .see = "migrations test" },

[ACTION_INTERLAYS_LIST] = {
	.text = "Lists the interlays: where applications connect, who is "
		"behind, how many clients there are.",
	.examples = { { "As a table", "godwit interlays list" } },
	.exits = E_CALL, .see = "interlays" },
[ACTION_INTERLAYS_SHOW] = {
	.text = "Shows one interlay with its live counts.",
	.examples = { { "One", "godwit interlays show cache" } },
	.exits = E_CALL, .see = "interlays" },
[ACTION_INTERLAYS_CREATE] = {
	.text = "Makes a listener that speaks the endpoint's own protocol, and "
		"starts it. Applications connect to it instead of the "
		"endpoint.",
	.examples = {
		{ "Without a file", "godwit interlays create cache --endpoint "
		  "old --listen 127.0.0.1:6400" },
		{ "With everything", "godwit interlays create -f cache.yaml" } },
	.exits = E_CALL, .see = "endpoints create, migrations add" },
[ACTION_INTERLAYS_PATCH] = {
	.text = "Changes what the body names. Another endpoint of the same "
		"data never drops a client that can be moved.",
	.examples = { { "Another endpoint",
			"godwit interlays patch cache --endpoint new" } },
	.exits = E_CALL, .see = "interlays show" },
[ACTION_INTERLAYS_DELETE] = {
	.text = "Stops and forgets an interlay. Refused while a migration uses "
		"it.",
	.examples = { { "Forget it", "godwit interlays delete cache" } },
	.exits = E_CALL, .see = "interlays stop" },
[ACTION_INTERLAYS_START] = {
	.text = "Listens again after a stop, and whenever the server starts.",
	.examples = { { "Listen", "godwit interlays start cache" } },
	.exits = E_CALL, .see = "interlays stop" },
[ACTION_INTERLAYS_STOP] = {
	.text = "Stops listening: running requests end, then clients are "
		"disconnected. Refused while a migration uses it.",
	.examples = { { "Stop", "godwit interlays stop cache --reason "
			"'maintenance'" } },
	.exits = E_CALL, .see = "interlays start" },

[ACTION_INTERLAYS_POOLS] = {
	.text = "PostgreSQL: a line for each user in each database, of all "
		"workers together: clients, what they wait for, and the "
		"connections to the server. What the words mean: godwit pools "
		"--help.",
	.examples = { { "A table", "godwit interlays pools app" },
		{ "Does anybody wait?", "godwit interlays pools app --json | jq "
		  "'[.[].clients_waiting] | add'" } },
	.exits = E_CALL, .see = "interlays clients, interlays servers" },
[ACTION_INTERLAYS_CLIENTS] = {
	.text = "PostgreSQL: who is connected, and what each does. What the "
		"words mean: godwit clients --help.",
	.examples = { { "The first hundred",
			"godwit interlays clients app --max 100" },
		{ "Who keeps a connection, and why", "godwit interlays clients "
		  "app --json | jq '.[] | select(.state == \"pinned\")'" } },
	.exits = E_CALL, .see = "interlays pools, interlays servers" },
[ACTION_INTERLAYS_SERVERS] = {
	.text = "PostgreSQL: Godwit's connections to servers, and whose they "
		"are. What the words mean: godwit servers --help.",
	.examples = { { "A table", "godwit interlays servers app" },
		{ "Those that nobody has", "godwit interlays servers app --json "
		  "| jq '.[] | select(.state == \"idle\")'" } },
	.exits = E_CALL, .see = "interlays pools, interlays clients" },

[ACTION_TEMPLATES_LIST] = {
	.text = "Lists the templates with their commands and fields.",
	.examples = { { "As a table", "godwit templates list" } },
	.exits = E_CALL, .see = "templates" },
[ACTION_TEMPLATES_SHOW] = {
	.text = "Shows one template.",
	.examples = { { "One", "godwit templates show get_user" } },
	.exits = E_CALL, .see = "templates" },
[ACTION_TEMPLATES_CREATE] = {
	.text = file_text,
	.examples = {
		{ "A read with one parameter",
		  "echo '{\"template\":{\"command\":[\"GET\",\"user:{{id}}\"]},"
		  "\"fields\":[{\"name\":\"id\",\"type\":\"integer\"}]}' | "
		  "godwit templates create get_user --endpoint old --kind read "
		  "-f -" } },
	.exits = E_CALL, .see = "templates run, apis create" },
[ACTION_TEMPLATES_PATCH] = {
	.text = file_text,
	.examples = { { "Other fields",
			"godwit templates patch get_user -f fields.yaml" } },
	.exits = E_CALL, .see = "templates show" },
[ACTION_TEMPLATES_DELETE] = {
	.text = "Forgets a template. Refused while an api uses it.",
	.examples = { { "Forget it", "godwit templates delete get_user" } },
	.exits = E_CALL, .see = "templates list" },
[ACTION_TEMPLATES_RUN] = {
	.text = "Runs it with its parameters, given as NAME=VALUE or by -f "
		"FILE. They are bound by the protocol, never spliced into the "
		"command, and converted to the type that the template "
		"declares. The side is the one that a running migration "
		"chooses.",
	.examples = { { "With a parameter", "godwit templates run get_user "
			"id=42" },
		{ "The value alone", "godwit templates run get_user id=42 "
		  "--json | jq .value" } },
	.exits = E_CALL, .see = "apis run" },

[ACTION_APIS_LIST] = {
	.text = "Lists the apis and the templates they are bound to.",
	.examples = { { "As a table", "godwit apis list" } },
	.exits = E_CALL, .see = "apis" },
[ACTION_APIS_SHOW] = {
	.text = "Shows one api.",
	.examples = { { "One", "godwit apis show user" } },
	.exits = E_CALL, .see = "apis" },
[ACTION_APIS_CREATE] = {
	.text = file_text,
	.examples = { { "Over one template",
			"echo 'bindings: [{template: get_user}]' | godwit apis "
			"create user -f -" } },
	.exits = E_CALL, .see = "templates create, apis run" },
[ACTION_APIS_PATCH] = {
	.text = file_text,
	.examples = { { "Other bindings",
			"godwit apis patch user -f bindings.yaml" } },
	.exits = E_CALL, .see = "apis show" },
[ACTION_APIS_DELETE] = {
	.text = "Forgets an api. Refused while a migration uses it.",
	.examples = { { "Forget it", "godwit apis delete user" } },
	.exits = E_CALL, .see = "apis list" },
[ACTION_APIS_RUN] = {
	.text = "Runs the templates of an api in their order, with parameters "
		"as NAME=VALUE or by -f FILE; answers what each of them "
		"answered.",
	.examples = { { "With a parameter", "godwit apis run user id=42" } },
	.exits = E_CALL, .see = "templates run" },

[ACTION_MIGRATIONS_LIST] = {
	.text = "Lists the migrations with their states. --json has everything "
		"that show has.",
	.examples = { { "As a table", "godwit migrations list" },
		{ "Which of them run?", "godwit migrations list --json | jq -r "
		  "'.[] | select(.status == \"running\").id'" } },
	.exits = E_CALL, .see = "migrations show, migrations watch" },
[ACTION_MIGRATIONS_SHOW] = {
	.text = "Shows one migration: what is wanted, and, once it runs, where "
		"it is, as the live screen shows it.",
	.examples = { { "One", "godwit migrations show move" },
		{ "One number for a script", "godwit migrations show move "
		  "--json | jq .stream.lag_ms" } },
	.exits = E_CALL, .see = "migrations watch, migrations events" },
[ACTION_MIGRATIONS_WATCH] = {
	.text = "On a terminal: the live screen, with the keys of godwit "
		"migrate (p promotes, space pauses, r goes back, v verifies, "
		"c completes, q leaves). Leaving never stops the migration.\n\n"
		"Elsewhere: a line every few seconds and each event, until "
		"the migration is over. The exit status says how: 0 completed, "
		"4 rolled back, 6 failed and waiting for a person, 10 still "
		"running after --timeout.",
	.examples = { { "The live screen", "godwit migrations watch move" },
		{ "In a script, at most an hour", "godwit migrations watch move "
		  "--timeout 1h --json >move.jsonl" } },
	.exits = E_VERB | E(WAITING), .see = "migrations promote, status" },
[ACTION_MIGRATIONS_EVENTS] = {
	.text = "Lists what has happened, oldest first: of one migration, or "
		"of all. --watch goes on with the next events, also after the "
		"server was restarted.",
	.examples = { { "What happened", "godwit migrations events move" },
		{ "Follow all, as JSON", "godwit migrations events --watch "
		  "--json" } },
	.exits = E_CALL, .see = "audit, migrations watch" },
[ACTION_MIGRATIONS_CREATE] = {
	.text = "Describes a migration; nothing happens yet. Then add what "
		"moves, test it, and migrate.\n\n"
		"The body comes from -f FILE as JSON or YAML (- is the "
		"standard input), exactly as the REST API takes it. Without a "
		"file: one switch (big_bang), no copy.",
	.examples = {
		{ "A canary with a copy",
		  "echo '{strategy: {type: canary, read_percentage: 0.05, "
		  "write_mode: {mode: dual_write, policy: old_authoritative}}, "
		  "data: {type: scan, replace: replace}}' | godwit migrations "
		  "create move -f -" },
		{ "Would it be taken?",
		  "godwit migrations create -f move.yaml --dry-run" } },
	.exits = E_CALL, .see = "migrations add, migrations test" },
[ACTION_MIGRATIONS_PATCH] = {
	.text = "New values of the strategy, at any time; another type of "
		"strategy only before it runs.",
	.examples = { { "From a file",
			"godwit migrations patch move -f canary-25.json" } },
	.exits = E_VERB, .see = "migrations traffic, migrations promote" },
[ACTION_MIGRATIONS_ADD_INTERLAY] = {
	.text = "Adds what the migration moves: an interlay with the endpoint "
		"that its clients shall reach afterwards, or an api.",
	.examples = {
		{ "An interlay", "godwit migrations add move interlay cache "
		  "--endpoint new" },
		{ "An api", "godwit migrations add move api user --endpoint "
		  "new" },
		{ "An api with templates of its own for the new path",
		  "godwit migrations add move api user -f bindings.yaml" } },
	.exits = E_CALL, .see = "migrations remove, migrations test" },
[ACTION_MIGRATIONS_DROP_INTERLAY] = {
	.text = "Takes an interlay or an api out again, before it runs.",
	.examples = { { "An interlay",
			"godwit migrations remove move interlay cache" } },
	.exits = E_CALL, .see = "migrations add" },
[ACTION_MIGRATIONS_TEST] = {
	.text = "Checks everything and changes nothing: reachability, "
		"versions, rights, memory, what cannot be moved. Exit status 3 "
		"when it cannot be started.",
	.examples = { { "Can it start?", "godwit migrations test move" },
		{ "What stands in the way?", "godwit migrations test move "
		  "--json | jq '.checks[] | select(.result != \"pass\")'" } },
	.exits = E_CALL, .see = "migrations migrate" },
[ACTION_MIGRATIONS_MIGRATE] = {
	.text = "Starts it: checks, copy, stream, then the steps of its "
		"strategy. Again while it runs: nothing happens. After a "
		"rollback: begins anew.",
	.examples = {
		{ "Start, then look", "godwit migrations migrate move && "
		  "godwit migrations watch move" },
		{ "What would happen?",
		  "godwit migrations migrate move --dry-run" } },
	.exits = E_VERB, .see = "migrations watch, migrations rollback" },
[ACTION_MIGRATIONS_PROMOTE] = {
	.text = "The next step of the strategy; the last one is the cutover. "
		"Postponed (exit status 5), with nothing changed, when a check "
		"does not allow it now; --wait tries again.",
	.examples = {
		{ "The next step", "godwit migrations promote move" },
		{ "Half of the reads", "godwit migrations promote move --to 50" },
		{ "A feature, or an instance, out of its turn",
		  "godwit migrations promote move --to payments" },
		{ "The cutover; try for ten minutes if need be",
		  "godwit migrations promote move --to cutover --wait "
		  "--timeout 10m" } },
	.exits = E_VERB, .see = "migrations traffic, migrations rollback" },
[ACTION_MIGRATIONS_TRAFFIC] = {
	.text = "Sets shares directly. A decrease is always possible and in "
		"force at once. Shares are in percent here (the REST API has "
		"0 to 1).",
	.examples = {
		{ "A quarter of the reads", "godwit migrations traffic move "
		  "--read-percentage 25" },
		{ "None at all, now", "godwit migrations traffic move "
		  "--read-percentage 0 --reason 'p99 doubled'" } },
	.exits = E_VERB, .see = "migrations promote" },
[ACTION_MIGRATIONS_TOGGLE] = {
	.text = "Blue-green: which side serves.",
	.examples = { { "New serves", "godwit migrations toggle move "
			"--activate-new true" },
		{ "And old again", "godwit migrations toggle move "
		  "--activate-new false" } },
	.exits = E_VERB, .see = "migrations promote" },
[ACTION_MIGRATIONS_PAUSE] = {
	.text = "Stops the copy and the steps. The stream goes on, so nothing "
		"falls behind.",
	.examples = { { "For the night",
			"godwit migrations pause move --reason 'nightly "
			"batch'" } },
	.exits = E_VERB, .see = "migrations resume" },
[ACTION_MIGRATIONS_RESUME] = {
	.text = "Goes on after a pause.",
	.examples = { { "Go on", "godwit migrations resume move" } },
	.exits = E_VERB, .see = "migrations pause" },
[ACTION_MIGRATIONS_VERIFY] = {
	.text = "Compares both sides record by record, with code that is not "
		"the mover's. Exit status 8 when they differ, 5 when all that "
		"is not proven equal are keys that were never still.",
	.examples = {
		{ "Compare", "godwit migrations verify move" },
		{ "And see what it found",
		  "godwit migrations verification move" } },
	.exits = E_VERB | E(DIFFERENT),
	.see = "migrations verification, migrations complete" },
[ACTION_MIGRATIONS_VERIFICATION] = {
	.text = "What the last comparison found: counts and keys. Exit status "
		"8 when the sides differ, 5 when keys were never still.",
	.examples = { { "Counts", "godwit migrations verification move" },
		{ "The keys", "godwit migrations verification move --json" } },
	.exits = E_CALL | E(DIFFERENT), .see = "migrations verify" },
[ACTION_MIGRATIONS_ROLLBACK] = {
	.text = "Gives everything, or one interlay, back to old. Before the "
		"cutover that is one moment; after it the same protocol runs "
		"the other way and loses nothing, until complete.",
	.examples = {
		{ "Everything", "godwit migrations rollback move --reason 'p99 "
		  "doubled'" },
		{ "One interlay; the others go on", "godwit migrations "
		  "rollback move interlay cache" },
		{ "New has died and will not come back", "godwit migrations "
		  "rollback move --accept-data-loss" } },
	.exits = E_VERB, .see = "migrations promote, migrations retry" },
[ACTION_MIGRATIONS_RETRY] = {
	.text = "A failed migration goes on from its journal.",
	.examples = { { "Go on", "godwit migrations retry move" } },
	.exits = E_VERB, .see = "migrations rollback" },
[ACTION_MIGRATIONS_COMPLETE] = {
	.text = "Ends the soak and lets old go; there is no way back by "
		"rollback after it. Refused while the last comparison is not "
		"clean, unless --force: the word is then forced, never "
		"verified.",
	.examples = { { "End it", "godwit migrations complete move" },
		{ "Without proof", "godwit migrations complete move --force "
		  "--reason 'old is gone'" } },
	.exits = E_VERB | E(DIFFERENT),
	.see = "migrations verify, migrations reverse" },
[ACTION_MIGRATIONS_REVERSE] = {
	.text = "After completed: makes the opposite migration (by the name "
		"<name>-reverse, or the one given). It is started like any "
		"other.",
	.examples = { { "And back", "godwit migrations reverse move "
			"move-back" } },
	.exits = E_CALL, .see = "migrations migrate" },
[ACTION_MIGRATIONS_DELETE] = {
	.text = "Forgets a migration. Not while it runs.",
	.examples = { { "Forget it", "godwit migrations delete move" } },
	.exits = E_CALL, .see = "migrations list" },

[ACTION_TOKENS_LIST] = {
	.text = "Lists the long-lived tokens; their secrets are not kept.",
	.examples = { { "As a table", "godwit tokens list" } },
	.exits = E_CALL, .see = "tokens create" },
[ACTION_TOKENS_CREATE] = {
	.text = "Makes a token for a program. It is printed this once and "
		"stored hashed.",
	.examples = {
		{ "For a monitoring job, straight into a file",
		  "(umask 077; godwit tokens create monitor --role read "
		  "--expires-in 90d --json | jq -r .token >monitor.token)" },
		{ "And used", "godwit migrations list --token-file "
		  "monitor.token" } },
	.exits = E_CALL, .see = "tokens delete, login" },
[ACTION_TOKENS_DELETE] = {
	.text = "Revokes a token; it is refused from the next call on.",
	.examples = { { "Revoke", "godwit tokens delete monitor" } },
	.exits = E_CALL, .see = "tokens list" },

[ACTION_USERS_LIST] = {
	.text = "Lists who may log in.",
	.examples = { { "As a table", "godwit users list" } },
	.exits = E_CALL, .see = "users create" },
[ACTION_USERS_CREATE] = {
	.text = "Makes a user. The password comes from --password-file, from "
		"-f FILE, or is asked for on the terminal; it is never an "
		"option.",
	.examples = { { "With a role", "godwit users create alice --role write "
			"--password-file alice.secret" } },
	.exits = E_CALL, .see = "login, roles set" },
[ACTION_USERS_PATCH] = {
	.text = "Changes role, password or description.",
	.examples = { { "Another role",
			"godwit users patch alice --role admin" } },
	.exits = E_CALL, .see = "users list" },
[ACTION_USERS_DELETE] = {
	.text = "Removes a user; what is logged in ends at once.",
	.examples = { { "Remove", "godwit users delete alice" } },
	.exits = E_CALL, .see = "users list" },

[ACTION_ROLES_LIST] = {
	.text = "Lists who has a role of their own on one thing. KIND is "
		"endpoints, interlays, templates, apis, migrations or "
		"organizations.",
	.examples = { { "On a migration",
			"godwit roles list migrations move" } },
	.exits = E_CALL, .see = "roles set" },
[ACTION_ROLES_SHOW] = {
	.text = "Shows the role of one subject on one thing.",
	.examples = { { "May alice?", "godwit roles show migrations move "
			"alice" } },
	.exits = E_CALL, .see = "roles set" },
[ACTION_ROLES_SET] = {
	.text = "Sets the role of a subject on one thing, in place of the one "
		"in the organization.",
	.examples = { { "Admin of one migration", "godwit roles set "
			"migrations move alice --role admin" } },
	.exits = E_CALL, .see = "roles delete, users list" },
[ACTION_ROLES_DELETE] = {
	.text = "Back to the subject's role in the organization.",
	.examples = { { "As before", "godwit roles delete migrations move "
			"alice" } },
	.exits = E_CALL, .see = "roles list" },

[ACTION_ORGANIZATIONS_CREATE] = {
	.text = "Makes a tenant with its first users. The token is the "
		"new-organization token of the server's configuration.",
	.examples = { { "From a file", "godwit organizations create acme -f "
			"acme.yaml --token-file new-organization.token" } },
	.exits = E_CALL, .see = "users, login" },
[ACTION_AUDIT_LIST] = {
	.text = "Lists every change, newest first: who, what, from where, why, "
		"and what came of it.",
	.examples = { { "The last hundred", "godwit audit" },
		{ "What alice did to one migration", "godwit audit --subject "
		  "alice --kind migrations --id move" } },
	.exits = E_CALL, .see = "migrations events" },
};
// clang-format on
