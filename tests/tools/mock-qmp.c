// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mock-qmp DIR GUEST...: monitors of guests that are not there
 *
 * Each GUEST, NAME[:MODE[,KEY=VALUE...]] or NAME*COUNT[...], gets a socket
 * DIR/NAME.sock. As with QEMU, a monitor serves one client at a time. Modes say
 * how it misbehaves; see the table below. Keys: demand, max, min (bytes; the
 * store takes what the guest demands, up to the limit), pages.
 *
 * Counters go on by fixed steps with each query, so that what is shown does not
 * depend on time. "ready" is printed when all sockets are there; it ends when
 * its standard input does, so that no test leaves it behind.
 */
#define _GNU_SOURCE
#include <json-glib/json-glib.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char *const modes[] = {
	"ok",
	"two",		/* has two devices */
	"none",		/* has no device */
	"spill",	/* spills to a block node */
	"spill-full",	/* has filled it */
	"spill-failed",	/* cannot write it */
	"older",	/* a QEMU that does not tell what was given back */
	"no-tmem",	/* a QEMU without query-tmem */
	"refuse",	/* qom-set fails */
	"events",	/* sends events in between */
	"slow",		/* byte after byte */
	"hang",		/* accepts, and says nothing */
	"mute",		/* greets, and says nothing more */
	"mute-tmem",	/* answers all but query-tmem */
	"garbage",	/* greets with what is no JSON */
	"http",		/* is another server altogether */
	"binary",	/* answers with bytes that are no text */
	"huge",		/* answers with a line without end */
	"deep",		/* answers with brackets that open for ever */
	"die",		/* ends in the middle of its answer */
	"wrong-type",	/* a number is a string */
	"negative",	/* a number is negative */
	"big",		/* a number is greater than 2^63 */
	"missing",	/* a number is not there */
	"bins",		/* the histogram has a bin too few */
	"wrong-given",	/* a measure gave back a string */
	"wrong-spill",	/* what it spills to is no object */
	"no-status",	/* what it spills to has no status */
	"escape",	/* names with terminal sequences in them */
};

struct device {
	char id[32];
	uint64_t max, min, used, pages, demand;
	uint64_t puts, gets, rejected, flushes, spilled;
};

struct guest {
	char name[64];
	const char *mode;
	int listener;
	int n;
	struct device dev[2];
};

static void mode_check(const char *mode)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++)
		if (!strcmp(mode, modes[i]))
			return;
	fprintf(stderr, "mock-qmp: there is no mode '%s'\n", mode);
	exit(2);
}

static int say(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t n = send(fd, text, left, MSG_NOSIGNAL);

		if (n <= 0)
			return -1;
		text += n;
		left -= n;
	}
	return 0;
}

static int say_slowly(int fd, const char *text)
{
	for (; *text; text++) {
		if (send(fd, text, 1, MSG_NOSIGNAL) != 1)
			return -1;
		usleep(20);
	}
	return 0;
}

static int is(const struct guest *g, const char *mode)
{
	return !strcmp(g->mode, mode);
}

/* What happens between two looks: the store takes what it has room for. */
static void advance(struct device *d)
{
	uint64_t want = d->demand < d->max ? d->demand : d->max;

	/* What it holds it keeps, until the guest lets some of it go. */
	if (want > d->used)
		d->used = want;
	else
		d->used -= (d->used - want) / 8;
	d->pages = d->used / 1638;
	d->puts += 1000;
	d->gets += 2000;
	d->flushes += 500;
	d->spilled += 1 << 20;
	if (d->demand > d->max)
		d->rejected += 100;
}

/* What each measure gave back, and the block node if there is one */
static void measures_json(GString *out, const struct guest *g, const struct device *d)
{
	unsigned long long spilled = d->spilled;
	int bad = is(g, "no-status");

	if (!is(g, "older"))
		g_string_append_printf(out,
			"\"given-back\":{\"refuse\":4096,\"drop\":0,\"compact\":%s,"
			"\"recompress\":3000000,\"spill\":%llu,\"target\":65536},",
			is(g, "wrong-given") ? "\"much\"" : "2097152", spilled);
	if (is(g, "wrong-spill"))
		g_string_append(out, "\"spill\":\"disk\",");
	else if (bad || g_str_has_prefix(g->mode, "spill"))
		g_string_append_printf(out,
			"\"spill\":{\"node\":\"disk\",%s%s%s\"size\":17179869184,\"bytes-free\":%llu,"
			"\"pages\":%llu,\"bytes-stored\":%llu,\"writes\":%llu,\"bytes-written\":%llu,"
			"\"average-write\":262144,\"reads\":31,\"bytes-read\":2031616,\"read-hits\":1204,"
			"\"write-errors\":%d,\"read-errors\":2,\"bad-pages\":3,\"cleaned\":5,"
			"\"discarded\":12,\"full\":%d},",
			bad ? "" : "\"status\":\"",
			bad ? "" : is(g, "spill") ? "active" : g->mode + strlen("spill-"),
			bad ? "" : "\",",
			is(g, "spill-full") ? 0ULL : 17179869184ULL - spilled, spilled / 1638,
			spilled, spilled >> 18, spilled, is(g, "spill-failed"), is(g, "spill-full"));
}

static char *device_json(const struct guest *g, const struct device *d)
{
	const char *max = is(g, "wrong-type") ? "\"much\"" :
			  is(g, "negative") ? "-1" :
			  is(g, "big") ? "18446744073709551615" : NULL;
	GString *measures = g_string_new(NULL);
	char number[32], *text;

	measures_json(measures, g, d);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)d->max);
	text = g_strdup_printf(
		"{\"path\":\"/machine/peripheral/%s\",\"max-size\":%s,\"min-size\":%llu,"
		"\"limit\":%llu,\"limit-reason\":\"max\","
		"\"pressure\":{\"path\":\"/proc/pressure/memory\",\"trigger\":true,\"permille\":15},"
		"\"target-pages\":9223372036854775807,\"bytes-used\":%llu,\"bytes-stored\":%llu,"
		"\"bytes-metadata\":%llu,\"bytes-reclaimable\":0,\"pages\":%llu,\"same-filled-pages\":7,"
		"\"raw-pages\":12,\"zstd-pages\":0,\"ephemeral-pages\":0,%s"
		"\"puts\":%llu,\"rejected-puts\":%llu,\"gets\":%llu,\"misses\":0,\"flushes\":%llu,"
		"\"evicted\":0,\"recompressed\":0,\"moved\":81,\"lost-pages\":0,%s"
		"\"put-latency\":{\"boundaries\":[256,512,1024,2048],\"bins\":[0,11,240,19200%s]},"
		"\"get-latency\":{\"boundaries\":[256,512,1024,2048],\"bins\":[0,3100,15010,70,9]},"
		"\"requests\":640512,\"invalid-requests\":0,\"notifications\":%llu,"
		"\"a-field-of-the-future\":[{}],"
		"\"pools\":[{\"id\":1,\"ephemeral\":false,\"pages\":%llu,\"bytes-stored\":%llu}]}",
		is(g, "escape") ? "a\\u001b[31mb" : d->id, max ? max : number,
		(unsigned long long)d->min, (unsigned long long)d->max,
		(unsigned long long)d->used, (unsigned long long)(d->used - d->used / 16),
		(unsigned long long)(d->used / 64), (unsigned long long)d->pages,
		is(g, "missing") ? "" : "\"reserved-puts\":64,",
		(unsigned long long)d->puts, (unsigned long long)d->rejected,
		(unsigned long long)d->gets, (unsigned long long)d->flushes, measures->str,
		is(g, "bins") ? "" : ",51", (unsigned long long)d->puts / 16,
		(unsigned long long)d->pages,
		(unsigned long long)(d->used - d->used / 16));
	g_string_free(measures, TRUE);
	return text;
}

static char *query_tmem(struct guest *g)
{
	GString *out = g_string_new("{\"return\":[");

	for (int i = 0; i < g->n; i++) {
		char *text;

		advance(&g->dev[i]);
		text = device_json(g, &g->dev[i]);
		g_string_append_printf(out, "%s%s", i ? "," : "", text);
		g_free(text);
	}
	g_string_append(out, "]}\n");
	return g_string_free(out, FALSE);
}

/* As the device does it: both sizes stay in order, or nothing changes. */
static char *qom_set(struct guest *g, JsonObject *arguments)
{
	const char *path = json_object_get_string_member(arguments, "path");
	const char *property = json_object_get_string_member(arguments, "property");
	int64_t value = json_object_get_int_member(arguments, "value");
	struct device *d = NULL;

	for (int i = 0; i < g->n; i++)
		if (g_str_has_suffix(path, g->dev[i].id))
			d = &g->dev[i];
	if (!d || is(g, "refuse"))
		return g_strdup("{\"error\":{\"class\":\"GenericError\",\"desc\":\"it does not want to\"}}\n");
	if (!strcmp(property, "max-size") && value >= 1 << 20 && (uint64_t)value >= d->min)
		d->max = value;
	else if (!strcmp(property, "min-size") && (uint64_t)value <= d->max)
		d->min = value;
	else
		return g_strdup_printf("{\"error\":{\"class\":\"GenericError\",\"desc\":"
				       "\"property '%s' must not be so\"}}\n", property);
	return g_strdup("{\"return\":{}}\n");
}

static int misbehave(int fd, const struct guest *g)
{
	static char many[65536];

	if (is(g, "mute-tmem"))
		pause();
	if (is(g, "binary"))
		return send(fd, "{\"return\":\"\377\0\376\"}\n", 18, MSG_NOSIGNAL) < 0 ? -1 : 0;
	if (is(g, "die")) {
		say(fd, "{\"return\":[{\"path\":\"/mach");
		return -1;
	}
	if (is(g, "huge") || is(g, "deep")) {
		memset(many, is(g, "huge") ? ' ' : '[', sizeof(many) - 1);
		say(fd, is(g, "huge") ? "{\"return\":" : "{\"return\":[");
		/* Deep, but no longer than what is read */
		for (int i = 0; is(g, "huge") || i < 30; i++)
			if (say(fd, many))
				return -1;
		return say(fd, "\n");
	}
	return 1;
}

static int answer(int fd, struct guest *g, const char *line)
{
	int (*speak)(int, const char *) = is(g, "slow") ? say_slowly : say;
	JsonParser *parser = json_parser_new();
	const char *execute;
	JsonObject *command;
	char *text = NULL;
	int rc;

	if (!json_parser_load_from_data(parser, line, -1, NULL) ||
	    !JSON_NODE_HOLDS_OBJECT(json_parser_get_root(parser))) {
		fprintf(stderr, "mock-qmp: no JSON: %s\n", line);
		exit(1);
	}
	command = json_node_get_object(json_parser_get_root(parser));
	execute = json_object_get_string_member(command, "execute");
	if (is(g, "events") && say(fd, "{\"event\":\"RTC_CHANGE\",\"data\":{\"offset\":0}}\r\n"))
		goto gone;
	if (is(g, "mute"))
		pause();
	if (!strcmp(execute, "qmp_capabilities")) {
		text = g_strdup("{\"return\": {}}\r\n");
	} else if (!strcmp(execute, "query-name")) {
		text = is(g, "escape") ? g_strdup("{\"return\":{\"name\":\"evil\\u001b]0;x\\u0007\\n\\\"\\\\name\"}}\n")
				       : g_strdup_printf("{\"return\":{\"name\":\"%s\"}}\n", g->name);
	} else if (!strcmp(execute, "query-tmem") && !is(g, "no-tmem")) {
		rc = misbehave(fd, g);
		if (rc <= 0) {
			g_object_unref(parser);
			return rc;
		}
		text = query_tmem(g);
	} else if (!strcmp(execute, "qom-set")) {
		text = qom_set(g, json_object_get_object_member(command, "arguments"));
	} else {
		text = g_strdup("{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"no such command\"}}\n");
	}
	rc = speak(fd, text);
	g_free(text);
	g_object_unref(parser);
	return rc;
gone:
	g_object_unref(parser);
	return -1;
}

static void serve(int fd, struct guest *g)
{
	char *line = NULL;
	size_t size = 0;
	FILE *in;

	if (is(g, "hang"))
		pause();
	if (is(g, "http"))
		say(fd, "HTTP/1.1 400 Bad Request\r\n\r\n");
	else if (is(g, "garbage"))
		say(fd, "[1, 2\n");
	else
		say(fd, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 13, \"minor\": 0, \"major\": 10}}, \"capabilities\": [\"oob\"]}}\r\n");
	in = fdopen(fd, "r");
	while (getline(&line, &size, in) > 0)
		if (answer(fd, g, line))
			break;
	free(line);
	fclose(in);
}

static void *guest_thread(void *arg)
{
	struct guest *g = arg;

	for (;;) {
		int fd = accept(g->listener, NULL, NULL);

		if (fd >= 0)
			serve(fd, g);
	}
	return NULL;
}

static void guest_start(const char *dir, const char *name, const char *mode, char **keys)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct guest *g = calloc(1, sizeof(*g));
	uint64_t demand = 104857600, max = 536870912, min = 0;
	pthread_t thread;

	for (; *keys; keys++) {
		char *value = strchr(*keys, '=');
		uint64_t n = value ? strtoull(value + 1, NULL, 10) : 0;

		if (g_str_has_prefix(*keys, "demand="))
			demand = n;
		else if (g_str_has_prefix(*keys, "max="))
			max = n;
		else if (g_str_has_prefix(*keys, "min="))
			min = n;
	}
	snprintf(g->name, sizeof(g->name), "%s", name);
	g->mode = mode;
	g->n = is(g, "two") ? 2 : !is(g, "none");
	for (int i = 0; i < 2; i++) {
		struct device *d = &g->dev[i];

		snprintf(d->id, sizeof(d->id), "tmem%d", i);
		d->demand = demand;
		d->max = max;
		d->min = min;
		d->puts = 311045;
		d->gets = 289034;
	}
	g->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s.sock", dir, name);
	unlink(sun.sun_path);
	/* QEMU's own backlog */
	if (bind(g->listener, (void *)&sun, sizeof(sun)) || listen(g->listener, 1)) {
		perror(sun.sun_path);
		exit(1);
	}
	if (pthread_create(&thread, NULL, guest_thread, g)) {
		perror("pthread_create");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	if (argc < 3) {
		fprintf(stderr, "usage: mock-qmp DIR NAME[*COUNT][:MODE[,KEY=VALUE...]]...\n");
		return 2;
	}
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	for (int i = 2; i < argc; i++) {
		char **parts = g_strsplit(argv[i], ":", 2);
		char **keys = g_strsplit(parts[1] ? parts[1] : "ok", ",", -1);
		char *star = strchr(parts[0], '*');
		int count = star ? atoi(star + 1) : 1;

		mode_check(keys[0]);
		if (star)
			*star = 0;
		for (int n = 0; n < count; n++) {
			char name[64];

			snprintf(name, sizeof(name), star ? "%s%04d" : "%s", parts[0], n);
			guest_start(argv[1], name, keys[0], keys + 1);
		}
	}
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
