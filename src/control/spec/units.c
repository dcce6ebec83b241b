/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/units.c: features, flags, regions, instances, and how they are
 * recognised.
 */
#include <stdio.h>
#include <stdlib.h>

#include "control/spec/inside.h"
#include "control/spec/mmdb_file.h"

uint32_t
units_find(const struct strategy *s, const char *name)
{
	for (uint32_t i = 0; i < s->unit_n; i++) {
		if (strcmp(s->unit[i], name) == 0)
			return i;
	}
	return STRATEGY_NO_UNIT;
}

/* The unit of that name, made when there is none; a fault: NO_UNIT. */
static uint32_t
unit_of(struct fields *f, struct strategy *s, const char *name)
{
	uint32_t i = units_find(s, name);

	if (i != STRATEGY_NO_UNIT)
		return i;
	if (s->unit_n == STRATEGY_UNITS_MAX) {
		fields_fault(f, ERR_USAGE, NULL, "at most %d names",
		             STRATEGY_UNITS_MAX);
		return STRATEGY_NO_UNIT;
	}
	if (name[0] == '\0' || strlen(name) >= STRATEGY_NAME_MAX ||
	    strcmp(name, "cutover") == 0) {
		fields_fault(f, ERR_USAGE, name,
		             "a name has 1 to %d bytes and is not cutover",
		             STRATEGY_NAME_MAX - 1);
		return STRATEGY_NO_UNIT;
	}
	memcpy(s->unit[s->unit_n], name, strlen(name) + 1);
	return s->unit_n++;
}

void
units_read_map(struct fields *f, const json_t *object, const char *name,
               struct strategy *s)
{
	json_t *map = fields_get(object, name);
	size_t mark = fields_enter(f, name);
	const char *key;
	json_t *value;
	uint32_t i;

	if (map != NULL && !json_is_object(map))
		fields_fault(f, ERR_USAGE, NULL,
		             "an object of name: true or false is wanted");
	json_object_foreach(map, key, value)
	{
		if (!json_is_boolean(value)) {
			fields_fault(f, ERR_USAGE, key,
			             "true or false is wanted");
			continue;
		}
		i = unit_of(f, s, key);
		if (i == STRATEGY_NO_UNIT)
			break;
		s->unit_on &= ~UNIT(i);
		s->stays.units &= ~UNIT(i);
		if (json_is_true(value))
			s->unit_on |= UNIT(i);
	}
	fields_leave(f, mark);
}

/* ---- words ------------------------------------------------------------- */

static void
add_term(struct fields *f, struct spec *s, uint32_t unit, enum fact fact,
         const json_t *value)
{
	const char *word = json_string_value(value);
	struct rules_term *t;

	if (word == NULL || word[0] == '\0' ||
	    strlen(word) != json_string_length(value) ||
	    strlen(word) >= RULES_WORD_MAX) {
		fields_fault(f, ERR_USAGE, NULL,
		             "texts of 1 to %d bytes are wanted",
		             RULES_WORD_MAX - 1);
		return;
	}
	if (s->term_n == RULES_TERMS_MAX) {
		fields_fault(f, ERR_USAGE, NULL, "at most %d words in all",
		             RULES_TERMS_MAX);
		return;
	}
	t = realloc(s->term, (s->term_n + 1) * sizeof(*t));
	if (t == NULL) {
		fields_fault(f, ERR_NOMEM, NULL, "no memory");
		return;
	}
	s->term = t;
	t = &s->term[s->term_n++];
	*t = (struct rules_term){ .rule = (uint8_t)unit,
		                  .fact = (uint8_t)fact };
	memcpy(t->word, word, strlen(word) + 1);
}

static void
drop_terms(struct spec *s, uint32_t unit)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->term_n; i++) {
		if (s->term[i].rule != unit)
			s->term[n++] = s->term[i];
	}
	s->term_n = n;
}

static void
read_words(struct fields *f, const json_t *match, struct spec *s, uint32_t unit,
           enum fact fact)
{
	json_t *list = fields_get(match, fact_name(fact));
	size_t mark = fields_enter(f, fact_name(fact));
	json_t *value;
	size_t i;

	if (json_is_string(list)) {
		add_term(f, s, unit, fact, list);
	} else if (list != NULL && !json_is_array(list)) {
		fields_fault(f, ERR_USAGE, NULL, "a list of texts is wanted");
	} else {
		json_array_foreach(list, i, value)
		{
			add_term(f, s, unit, fact, value);
		}
	}
	fields_leave(f, mark);
}

static void
read_one(struct fields *f, struct spec *s, uint32_t unit, const json_t *match)
{
	if (!fields_only(f, match,
	                 "key_prefixes commands users client_names databases "
	                 "comments regions labels schemas tables paths "
	                 "templates"))
		return;
	drop_terms(s, unit);
	for (unsigned fact = 0; fact < FACT_N; fact++)
		read_words(f, match, s, unit, (enum fact)fact);
}

void
units_read_match(struct fields *f, const json_t *object, const char *name,
                 struct spec *s)
{
	json_t *map = fields_get(object, name);
	size_t mark = fields_enter(f, name);
	const char *key;
	json_t *value;

	if (map != NULL && !json_is_object(map))
		fields_fault(f, ERR_USAGE, NULL,
		             "an object of name: {\"key_prefixes\":[..]} is "
		             "wanted");
	json_object_foreach(map, key, value)
	{
		uint32_t unit = units_find(&s->strategy, key);
		size_t inner = fields_enter(f, key);

		if (unit == STRATEGY_NO_UNIT)
			fields_fault(f, ERR_USAGE, NULL,
			             "no such name among those of the "
			             "strategy");
		else
			read_one(f, s, unit, value);
		fields_leave(f, inner);
	}
	fields_leave(f, mark);
}

json_t *
units_print_match(const struct spec *s)
{
	json_t *ret = json_object();

	for (uint32_t i = 0; i < s->term_n; i++) {
		const struct rules_term *t = &s->term[i];
		const char *unit = s->strategy.unit[t->rule];
		const char *fact = fact_name((enum fact)t->fact);
		json_t *of_unit = json_object_get(ret, unit);
		json_t *list;

		if (of_unit == NULL) {
			of_unit = json_object();
			(void)json_object_set_new(ret, unit, of_unit);
		}
		list = json_object_get(of_unit, fact);
		if (list == NULL) {
			list = json_array();
			(void)json_object_set_new(of_unit, fact, list);
		}
		(void)json_array_append_new(list, json_string(t->word));
	}
	return ret;
}

json_t *
units_print_map(const struct strategy *s)
{
	json_t *ret = json_object();

	for (uint32_t i = 0; i < s->unit_n; i++)
		(void)json_object_set_new(
			ret, s->unit[i],
			json_boolean((s->unit_on & UNIT(i)) != 0));
	return ret;
}

/* ---- instances --------------------------------------------------------- */

static void
read_names(struct fields *f, const json_t *object, const char *name,
           struct strategy *s, bool is_moved)
{
	json_t *list = fields_get(object, name);
	size_t mark = fields_enter(f, name);
	json_t *value;
	size_t i;
	uint32_t unit;

	if (list != NULL && !json_is_array(list))
		fields_fault(f, ERR_USAGE, NULL, "a list of names is wanted");
	if (list != NULL && is_moved) {
		s->unit_on = 0;
		s->stays.units = 0;
	}
	json_array_foreach(list, i, value)
	{
		if (!json_is_string(value)) {
			fields_fault(f, ERR_USAGE, NULL,
			             "a list of names is wanted");
			break;
		}
		unit = unit_of(f, s, json_string_value(value));
		if (unit == STRATEGY_NO_UNIT)
			break;
		if (is_moved)
			s->unit_on |= UNIT(unit);
	}
	fields_leave(f, mark);
}

void
units_read_instances(struct fields *f, const json_t *object, struct spec *s)
{
	static uint32_t range[2] = { 1, STRATEGY_UNITS_MAX };

	read_names(f, object, "instances", &s->strategy, false);
	read_names(f, object, "migrated_instances", &s->strategy, true);
	if (s->instance_n < s->strategy.unit_n)
		s->instance_n = s->strategy.unit_n;
	fields_u32(f, object, "total_instances", range, &s->instance_n);
	if (s->instance_n < s->strategy.unit_n)
		fields_fault(f, ERR_USAGE, "total_instances",
		             "is %u, but %u instances are named", s->instance_n,
		             s->strategy.unit_n);
}

json_t *
units_print_instances(const struct strategy *s, uint64_t units)
{
	json_t *ret = json_array();

	for (uint32_t i = 0; i < s->unit_n; i++) {
		if ((units & UNIT(i)) != 0)
			(void)json_array_append_new(ret,
			                            json_string(s->unit[i]));
	}
	return ret;
}

/* ---- locate ------------------------------------------------------------ */

static void
add_net(struct fields *f, struct spec *s, const char *region,
        const json_t *value)
{
	const char *text = json_string_value(value);
	struct rules_net *n;
	struct cidr net;
	struct err why;

	if (text == NULL || cidr_parse(text, &net, &why) != 0) {
		fields_fault(f, ERR_USAGE, NULL, "%s",
		             text == NULL ? "a list of networks is wanted"
		                          : why.text);
		return;
	}
	if (s->net_n == RULES_CIDR_MAX) {
		fields_fault(f, ERR_USAGE, NULL, "at most %d networks",
		             RULES_CIDR_MAX);
		return;
	}
	n = realloc(s->net, (s->net_n + 1) * sizeof(*n));
	if (n == NULL) {
		fields_fault(f, ERR_NOMEM, NULL, "no memory");
		return;
	}
	s->net = n;
	n = &s->net[s->net_n++];
	*n = (struct rules_net){ .net = net };
	memcpy(n->region, region, strlen(region) + 1);
}

static void
read_cidr(struct fields *f, const json_t *map, struct spec *s)
{
	json_t *m = field_loose(map);
	size_t mark = fields_enter(f, "cidr");
	const char *key;
	json_t *list;
	json_t *value;
	size_t i;

	s->net_n = 0;
	if (!json_is_object(map))
		fields_fault(f, ERR_USAGE, NULL,
		             "an object of region: [\"10.0.0.0/8\"] is wanted");
	json_object_foreach(m, key, list)
	{
		size_t inner = fields_enter(f, key);

		if (units_find(&s->strategy, key) == STRATEGY_NO_UNIT)
			fields_fault(f, ERR_USAGE, NULL,
			             "no such name among the regions");
		else if (json_is_string(list))
			add_net(f, s, key, list);
		else if (!json_is_array(list))
			fields_fault(f, ERR_USAGE, NULL,
			             "a list of networks is wanted");
		json_array_foreach(list, i, value)
		{
			add_net(f, s, key, value);
		}
		fields_leave(f, inner);
	}
	fields_leave(f, mark);
}

static void
read_proxy(struct fields *f, const json_t *value, struct spec *s)
{
	static uint32_t custom[2] = { 0xe0, 0xef }; /* the spec's own range */
	uint32_t tlv = s->locate.proxy_tlv;
	size_t mark = fields_enter(f, "proxy_v2");

	if (json_is_object(value)) {
		(void)fields_only(f, value, "tlv");
		fields_u32(f, value, "tlv", custom, &tlv);
	} else if (!json_is_boolean(value)) {
		fields_fault(f, ERR_USAGE, NULL,
		             "true, or {\"tlv\":224..239} is wanted");
	}
	s->locate.by |= json_is_false(value) ? 0 : LOCATE_PROXY;
	s->locate.proxy_tlv = (uint8_t)tlv;
	fields_leave(f, mark);
}

static void
read_mmdb(struct fields *f, const json_t *value, struct spec *s)
{
	size_t mark = fields_enter(f, "mmdb");

	s->locate.by |= LOCATE_MMDB;
	if (json_is_object(value)) {
		(void)fields_only(f, value, "file path");
		fields_text(f, value, "path", s->locate.mmdb_path,
		            sizeof(s->locate.mmdb_path));
	}
	if (!json_is_object(value) || fields_get(value, "file") == NULL)
		fields_fault(f, ERR_USAGE, NULL,
		             "{\"file\":\"..\",\"path\":\"country.iso_code\"} "
		             "is wanted");
	else
		fields_text(f, value, "file", s->locate.mmdb,
		            sizeof(s->locate.mmdb));
	if (f->rc == 0) {
		struct err why;
		struct mmdb_file *file = mmdb_file_load(
			s->locate.mmdb, s->locate.mmdb_path, &why);

		if (file == NULL)
			fields_fault(f, ERR_USAGE, "file", "%s", why.text);
		mmdb_file_free(file);
	}
	fields_leave(f, mark);
}

void
units_read_locate(struct fields *f, const json_t *object, struct spec *s)
{
	json_t *o = fields_get(object, "locate");
	size_t mark = fields_enter(f, "locate");
	struct spec_locate *l = &s->locate;

	if (o != NULL && fields_only(f, o, "cidr mmdb header proxy_v2 label")) {
		s->locate.by = 0;
		if (fields_get(o, "cidr") != NULL) {
			l->by |= LOCATE_CIDR;
			read_cidr(f, fields_get(o, "cidr"), s);
		}
		if (fields_get(o, "mmdb") != NULL)
			read_mmdb(f, fields_get(o, "mmdb"), s);
		if (fields_get(o, "header") != NULL) {
			l->by |= LOCATE_HEADER;
			fields_text(f, o, "header", l->header,
			            sizeof(l->header));
		}
		if (fields_get(o, "proxy_v2") != NULL)
			read_proxy(f, fields_get(o, "proxy_v2"), s);
		if (fields_get(o, "label") != NULL) {
			l->by |= LOCATE_LABEL;
			fields_text(f, o, "label", l->label, sizeof(l->label));
		}
	}
	fields_leave(f, mark);
}

static char *
net_text(const struct cidr *n, char *to, size_t size)
{
	const uint8_t *b = n->at.b;
	static const uint8_t v4[12] = {
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255
	};

	if (n->bits >= 96 && memcmp(b, v4, 12) == 0) {
		(void)snprintf(to, size, "%u.%u.%u.%u/%u", b[12], b[13], b[14],
		               b[15], n->bits - 96u);
		return to;
	}
	(void)snprintf(to, size, "%x:%x:%x:%x:%x:%x:%x:%x/%u", b[0] << 8 | b[1],
	               b[2] << 8 | b[3], b[4] << 8 | b[5], b[6] << 8 | b[7],
	               b[8] << 8 | b[9], b[10] << 8 | b[11], b[12] << 8 | b[13],
	               b[14] << 8 | b[15], n->bits);
	return to;
}

static json_t *
print_nets(const struct spec *s)
{
	json_t *ret = json_object();
	char text[64];

	for (uint32_t i = 0; i < s->net_n; i++) {
		json_t *list = json_object_get(ret, s->net[i].region);

		if (list == NULL) {
			list = json_array();
			(void)json_object_set_new(ret, s->net[i].region, list);
		}
		(void)json_array_append_new(
			list, json_string(net_text(&s->net[i].net, text,
		                                   sizeof(text))));
	}
	return ret;
}

json_t *
units_print_locate(const struct spec *s)
{
	const struct spec_locate *l = &s->locate;
	json_t *o = json_object();

	if ((l->by & LOCATE_PROXY) != 0)
		(void)json_object_set_new(
			o, "proxy_v2",
			l->proxy_tlv == 0
				? json_true()
				: json_pack("{s:i}", "tlv", (int)l->proxy_tlv));
	if ((l->by & LOCATE_CIDR) != 0)
		(void)json_object_set_new(o, "cidr", print_nets(s));
	if ((l->by & LOCATE_MMDB) != 0)
		(void)json_object_set_new(o, "mmdb",
		                          json_pack("{s:s,s:s}", "file",
		                                    l->mmdb, "path",
		                                    l->mmdb_path));
	if ((l->by & LOCATE_HEADER) != 0)
		(void)json_object_set_new(o, "header", json_string(l->header));
	if ((l->by & LOCATE_LABEL) != 0)
		(void)json_object_set_new(o, "label", json_string(l->label));
	return o;
}
