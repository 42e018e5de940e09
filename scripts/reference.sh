#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# reference.sh: print docs/reference.md, made from the code and what stands beside it there:
# each name comes from the code, each text from the one place that has it. A name without
# a text is an error, and so is a text about a name that is gone. tests/tools-docs.sh
# looks for what tmemctl itself shows.
#
#   scripts/reference.sh > docs/reference.md
# shellcheck disable=SC2016 # backquotes are those of the page
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$TOP"

device=qemu/hw/virtio/virtio-tmem
manual=qemu/docs/system/devices/virtio-tmem.rst
driver=linux/drivers/virtio
abi=linux/Documentation/ABI/testing/sysfs-block-vtmem

# joined FILE...: in one line, with strings in one piece
joined()
{
	cat "$@" | tr '\n' ' ' | sed -E 's/[[:space:]]+/ /g; s/" "//g'
	echo
}

# same WHAT NAMES DOCUMENTED: both have the same names
same()
{
	local only

	only=$(comm -3 <(sort -u <<< "$2") <(sort -u <<< "$3") | tr -d '\t' | paste -sd' ')
	[ -z "$only" ] || die "$1: without a text, or not in the code: $only"
}

# Lines "name<TAB>..." become rows
rows()
{
	sed -e 's/|/\\|/g' -e 's/\t/ | /g' -e 's/^/| /' -e 's/$/ |/'
}

# ---- QEMU ----

# The device's properties, as in DEFINE_PROP_...("name" and object_class_property_add()
properties()
{
	local name

	joined $device.c $device-pci.c |
		grep -oE '(DEFINE_PROP_[A-Z0-9_]+\(|object_class_property_add\(klass, )[A-Z"][^,]*' |
		sed -E 's/.*[( ]//' | while read -r name; do
		case $name in
		\"*) tr -d '"' <<< "$name" ;;
		*) sed -n -E "s/^#define $name \"(.*)\"/\1/p" qemu/include/hw/virtio/virtio-tmem.h ;;
		esac
	done
}

# Of the manual: "names<TAB>what is in parentheses<TAB>text", for each entry
property_texts()
{
	awk '
		/^Device properties$/ { on = 1 }
		/^Properties that all/ { on = 0 }
		function entry() { if (head != "") print head "\t" text; head = text = "" }
		on && /^``/ { entry(); head = $0; next }
		on && head != "" && /^  / { text = text (text == "" ? "" : " ") substr($0, 3); next }
		END { entry() }' $manual | sed -E 's/``/`/g; s/`([A-Z][a-z ]+)`_/"\1" in the manual/'
}

print_properties()
{
	same "properties ($manual)" "$(properties)" \
		"$(property_texts | cut -f1 | sed -E 's/ \([^)]*\)//g; s/default.*//' | grep -oE '`[a-z-]+`' | tr -d '`')"
	property_texts | awk -F '\t' '{ print "* " $1 ": " $2 }' | fold_items
}

# Items of a list, wrapped
fold_items()
{
	awk '{
		n = split($0, word, " ")
		line = word[1]
		for (i = 2; i <= n; i++) {
			if (length(line) + length(word[i]) > 119) {
				print line
				line = " "
			}
			line = line " " word[i]
		}
		print line
	}'
}

# The schema: a heading for each definition, its text, a row for each member. QAPI itself
# sees to it that each member has a text.
print_schema()
{
	awk '
		function rows(   i, type) {
			if (!n)
				return
			print "\n| " (kind == "enum" ? "value" : "member") (kind == "enum" ? "" : " | type") " | meaning |"
			print (kind == "enum" ? "|---|---|" : "|---|---|---|")
			for (i = 1; i <= n; i++) {
				type = kind == "enum" ? "" : "`" types[names[i]] "`" (optional[names[i]] ? ", optional" : "") " | "
				gsub(/  /, " ", texts[i])
				print "| `" names[i] "` | " type texts[i] " |"
			}
		}
		function finish() {
			if (name == "")
				return
			gsub(/@/, "", text)
			for (i = 1; i <= n; i++)
				gsub(/@/, "", texts[i])
			gsub(/  /, " ", text)
			print "\n### " name " (" kind ")\n\n" text (returns == "" ? "" : "\nReturns: " returns)
			rows()
			name = ""
		}
		/^##$/ { doc = !doc; if (doc) { finish(); text = returns = kind = ""; n = 0; part = 0 } ; next }
		doc && /^# @[A-Za-z_-]+:$/ && name == "" { name = substr($2, 2); sub(/:$/, "", name); next }
		doc && /^# \.\. qmp-example/ { part = 3; next }
		doc && /^# (Since|= )/ { part = 3; next }
		doc && /^# \.\. note::/ { sub(/^# \.\. note:: /, ""); note = $0; text = text "\n" note; part = 3; next }
		doc && /^# Returns:/ { returns = $0; sub(/^# Returns: /, "", returns); gsub(/@/, "", returns); part = 3; next }
		doc && /^# @[a-z-]+: / { part = 2; names[++n] = substr($2, 2); sub(/:$/, "", names[n])
			texts[n] = $0; sub(/^# @[a-z-]+: */, "", texts[n]); next }
		doc && part == 2 && /^#  / { sub(/^# +/, " "); texts[n] = texts[n] $0; next }
		doc && part < 2 && /^# / { text = text (text == "" ? "" : "\n") substr($0, 3); next }
		!doc && /^\{ \047[a-z]+\047: / { kind = $2; gsub(/[\047:]/, "", kind) }
		!doc {
			line = $0
			while (match(line, /\047\*?[a-z-]+\047: (\[ )?\047[A-Za-z0-9-]+\047( \])?/)) {
				pair = substr(line, RSTART, RLENGTH)
				line = substr(line, RSTART + RLENGTH)
				member = pair
				sub(/^\047/, "", member)
				sub(/\047:.*/, "", member)
				sub(/^[^:]*: /, "", pair)
				gsub(/\047/, "", pair)
				star = sub(/^\*/, "", member)
				optional[member] = star
				types[member] = pair
			}
		}
		END { finish() }' qemu/qapi/tmem.json
}

traces()
{
	sed -n -E 's/^\+(virtio_tmem_[a-z_]+)\(.*/`\1`/p' qemu/patches/*.patch | paste -sd' ' | sed 's/ /, /g' | fold_items
}

# ---- Linux ----

print_parameters()
{
	local names texts

	names=$(joined $driver/virtio_tmem*.c | grep -oE 'module_param(_named|_cb)?\([^)]*\)' |
		sed -E 's/^module_param(_named|_cb)?\(([a-z_]+),.* (0[0-7]+)\)/\2\t\3/' |
		sed -e 's/\t0444/\twhen it is loaded/' -e 's/\t0644/\talso later/')
	texts=$(joined $driver/virtio_tmem*.c | grep -oE 'MODULE_PARM_DESC\([a-z_]+, "[^"]*"\)' |
		sed -E 's/MODULE_PARM_DESC\(([a-z_]+), "(.*)"\)/\1\t\2/')
	same 'parameters of the module' "$(cut -f1 <<< "$names")" "$(cut -f1 <<< "$texts")"
	printf '%s\n' '| parameter | can be set | meaning |' '|---|---|---|'
	join -t $'\t' <(sort <<< "$names") <(sort <<< "$texts") | sed 's/^[^\t]*/`&`/' | rows
}

print_sysfs()
{
	same "attributes ($abi)" "$(sed -n -E 's/.*DEVICE_ATTR_(RW|RO|WO)\(([a-z_]+)\).*/\2/p' $driver/virtio_tmem*.c)" \
		"$(sed -n 's|^What:.*/||p' $abi)"
	awk '
		function entry() { if (what != "") print "* `" what "`: " text }
		/^What:/ { entry(); what = $2; text = ""; on = 0 }
		on { sub(/^[ \t]+/, ""); text = text (text == "" ? "" : " ") $0 }
		/^Description:/ { on = 1 }
		END { entry() }' $abi | fold_items
}

# Counters: the enumeration has the texts, virtio_tmem_core.c the names
print_counters()
{
	local names texts

	names=$(sed -n -E 's/^\t\[(VT_STAT_[A-Z_]+)\].*= "([a-z_]+)",/\1\t\2/p' $driver/virtio_tmem_core.c)
	texts=$(sed -n -E 's|^\t(VT_STAT_[A-Z_]+),[[:space:]]*/\* (.*) \*/|\1\t\2|p' $driver/virtio_tmem.h)
	same 'counters of the driver' "$(cut -f1 <<< "$names")" "$(cut -f1 <<< "$texts")"
	printf '%s\n' '| counter | meaning |' '|---|---|'
	paste <(cut -f2 <<< "$names" | sed 's/.*/`&`/') <(cut -f2 <<< "$texts") | rows
}

print_kconfig()
{
	awk '
		function entry() { if (option != "") print "* `CONFIG_" option "` (" prompt "): " text; option = "" }
		/^\+\t(bool|tristate) / { sub(/^\+\t/, "+ ") }
		/^\+config / { entry(); option = $2; text = ""; help = 0; next }
		!/^\+/ { entry() }
		option != "" && /^\+ (bool|tristate) / { prompt = $2; next }
		option != "" && /^\+\thelp/ { help = 1; next }
		option != "" && help { sub(/^\+[ \t]*/, ""); text = text (text == "" || $0 == "" ? "" : " ") $0 }
		END { entry() }' linux/patches/*.patch | fold_items
}

# ---- tmemctl ----

# options FILE: rows of its GOptionEntry table
options()
{
	joined "$1" | sed 's|" DEFAULT_CONFIG "|/etc/tmemctl/balance.conf|; s|DEFAULT_CONFIG "|/etc/tmemctl/balance.conf|' |
		grep -oE '\{ "[a-z-]+", [^{}]*G_OPTION_ARG_[^{}]*\}' |
		sed -E -e "s/^\{ \"([a-z-]+)\", ('(.)'|0), [^\"]*\"(.*)\", (\"([^\"]*)\"|NULL) \}/\`\3 --\1 \6\`\t\4/" \
			-e 's/^` --/`--/; s/^`([A-Za-z0-9]) /`-\1, /; s/ `\t/`\t/' | rows
}

print_options()
{
	local command

	printf '%s\n' '| option | meaning |' '|---|---|' '| **all commands** | |' \
		'| `-h, --help` | Show the options |'
	options tools/tmem-options.c
	while read -r command; do
		printf '| **%s** | %s |\n' "$command" \
			"$(joined tools/tmemctl.c | grep -oE "\{ \"$command\", \"[^\"]*\", \"[^\"]*\"" | sed -E 's/.*"([^"]*)"$/\1/')"
		[ "$command" = list ] || options "tools/cmd-$command.c"
	done < <(sed -n -E 's/^    \{ "([a-z]+)", "\[?GUEST.*/\1/p' tools/tmemctl.c)
}

print_statuses()
{
	printf '%s\n' '| status | meaning |' '|---|---|'
	sed -n '/^\.Sh EXIT/,/^\.El/p' tools/tmemctl.1 | awk '
		/^\.It/ { if (n++) print status "\t" text; status = $3; text = ""; next }
		/^\./ { next }
		{ text = text (text == "" ? "" : " ") $0 }
		END { print status "\t" text }' | rows
}

metrics()
{
	local fields

	fields=$(joined tools/tmem-guest.c | sed -n 's/.*TmemField tmem_fields\[\] = {\([^}]*\)}.*/\1/p' |
		sed -E 's/(FIELD|SPILL|GIVEN_BACK)\(/\n&/g' | tail -n +2)
	joined tools/tmem-metrics.c | grep -oE 'head\(&?page, "[^)]*\)' |
		sed -n -E 's/head\(&?page, "(virtio_tmem_[a-z_]+)", "([a-z]+)", "([^"]*)"\)/\1\t\2\t\3/p'
	sed -n -E 's/^FIELD\("[^"]*", [a-z_]+, ([A-Z_]+), "([a-z_]+)", "([^"]*)"\).*/\2\t\1\t\3/p
		s/^SPILL\("[^"]*", [a-z_]+, ([A-Z_]+), "([a-z_]+)", "([^"]*)"\).*/virtio_tmem_spill_\2\t\1\t\3/p' <<< "$fields" |
		sed -E 's/\t(COUNTER|COUNTER_BYTES)\t/\tcounter\t/; s/\t(BYTES|PAGES)\t/\tgauge\t/'
	# One metric of several fields
	joined tools/tmem-guest.c | sed -E 's/\\//g; s/" +"//g' |
		sed -n -E 's/.*#define GIVEN_BACK.*"(virtio_tmem_[a-z_]+)", .*, +"([^"]*)" \} #define SPILL.*/\1\tcounter\t\2/p'
	joined tools/tmem-metrics.c | sed -n -E 's/.*\{ "(virtio_tmem_put[a-z_]+)".*\{ "(virtio_tmem_get[a-z_]+)".* \? "([^"]*)" : "([^"]*)".*/\1\thistogram\t\4\n\2\thistogram\t\3/p'
}

print_metrics()
{
	printf '%s\n' '| metric | type | meaning |' '|---|---|---|'
	metrics | sort | sed 's/^[^\t]*/`&`/' | rows
}

# What virtio-tmem-swap@.service reads: settings that are commented out, and a text before each
print_settings()
{
	awk '
		/^# SPDX/ { next }
		/^#[A-Z_]+=/ { sub(/^#/, ""); print "* `" $0 "`: " text; text = ""; next }
		/^# / { text = text (text == "" ? "" : " ") substr($0, 3); next }
		/^$/ { text = "" }' packaging/guest/virtio-tmem.default | fold_items
}

# Not within the text: there an error would not be noticed
properties=$(print_properties)
kconfig=$(print_kconfig)
parameters=$(print_parameters)
sysfs=$(print_sysfs)
counters=$(print_counters)
settings=$(print_settings)
options=$(print_options)
statuses=$(print_statuses)
metrics=$(print_metrics)
traces=$(traces | sed 's/^  *//')
schema=$(print_schema)
cat << END
<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
<!-- Made by scripts/reference.sh; tests/check-docs.sh looks whether it still is what that prints. -->
# Reference: every name that a user can type or see

Made from the code: each name is there, each text is the one that the code, its manual or its schema has. For how to use
these, see [operations](operations.md), [libvirt](libvirt.md) and [the guest's side](guest.md); for what is on the wire,
\`linux/include/uapi/linux/virtio_tmem.h\` and the specification in \`spec/\`.

[Properties](#properties-of-the-device) - [monitor](#monitor) - [kernel options](#kernel-configuration) -
[driver](#parameters-of-the-driver) - [sysfs](#sysfs) - [counters](#counters-of-the-driver) -
[guest service](#settings-of-the-guests-service) - [tmemctl](#tmemctl) - [metrics](#metrics)

## Properties of the device

Of \`virtio-tmem-pci\`, in addition to those that all virtio PCI devices have. What is called the manual is
\`$manual\`.

$properties

## Monitor

In the human monitor, \`info tmem\` shows what \`query-tmem\` returns. Trace events:
$traces.
$schema

## Kernel configuration

$kconfig

## Parameters of the driver

In \`/sys/module/virtio_tmem/parameters\`; on the kernel's command line with \`virtio_tmem.\` before the name. The two for delays
are there with \`CONFIG_VIRTIO_TMEM_DEBUG_DELAY\`.

$parameters

## sysfs

$sysfs

## Counters of the driver

Lines of \`/sys/kernel/debug/virtio_tmem/<device>/stats\`, where a device is called as in sysfs, \`virtio3\` for one; they count
from its probe on. With \`CONFIG_VIRTIO_TMEM_DEBUG_DELAY\`, \`/sys/kernel/debug/virtio_tmem/delays\` says how often somebody was
held up at each point.

$counters

## Settings of the guest's service

In \`/etc/default/virtio-tmem\`, which \`virtio-tmem-swap@.service\` of the package virtio-tmem-guest reads.

$settings

## tmemctl

What each does in detail, the JSON output and examples are in \`man tmemctl\`; what a configuration of \`balance\` has is in
\`man tmemctl-balance.conf\`.

$options

Exit statuses:

$statuses

## Metrics

Labels are \`guest\` and \`device\`, and \`measure\`, \`reason\`, \`status\` or \`pool\` where there are several of one name. The
histograms have \`_bucket\` and \`_count\`, and no \`_sum\`. \`virtio_tmem_guest_up\` has no device, and
\`virtio_tmem_scrape_duration_seconds\` no label.

$metrics
END
