#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the pages in docs/ name exists: tests in reliability.md, functions and files in
# architecture.md, files behind links; and reference.md is what scripts/reference.sh makes
# of the code.
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

page=docs/reliability.md
missing='' file='' files=0 names=0
# shellcheck disable=SC2016 # the backquotes are the page's
while IFS= read -r word; do
	case $word in
	*/*.sh | */*.c)
		file=$word
		files=$((files + 1))
		[ -e "$file" ] || missing+="$file is no file"$'\n'
		;;
	*_*)
		names=$((names + 1))
		# Unit tests are called by paths, with hyphens.
		grep -qE "(\\b|_)${word//_/[-_]}\\b" "$file" 2> /dev/null || missing+="$file has no $word"$'\n'
		;;
	esac
done < <(grep '^|' "$page" | grep -o '`[^` ]*`' | tr -d '`')
cmp_ok "$page names tests" $((files * names)) -gt 500
is 'they exist' "$missing" ''

is 'docs/reference.md is what scripts/reference.sh prints' "$(scripts/reference.sh 2>&1 | diff docs/reference.md - || :)" ''

# ---- docs/architecture.md ----

page=docs/architecture.md
mapfile -t sources < <(find qemu linux tools -name '*.[ch]')
# What begins a line with its name, or a type before it, is defined there.
defined=$(grep -hoE '^([a-zA-Z_][^=;(]*[ *])?[a-z][a-z0-9_]*\(' "${sources[@]}" | grep -oE '[a-z0-9_]+\($' | sort -u)
missing='' names=0
# shellcheck disable=SC2016 # the backquotes are the page's
while IFS= read -r word; do
	names=$((names + 1))
	case $word in
	*'()') grep -qx -F "${word%)}" <<< "$defined" || missing+="no function $word"$'\n' ;;
	*'*'*) compgen -G "tools/$word" > /dev/null || missing+="no file $word"$'\n' ;;
	*/ | */*.*) [ -e "$word" ] || missing+="no file $word"$'\n' ;;
	*.[ch]) [[ " ${sources[*]} " == *"/$word "* ]] || missing+="no file $word"$'\n' ;;
	*) grep -qw -F -e "$word" "${sources[@]}" || missing+="nothing is called $word"$'\n' ;;
	esac
done < <(grep -v '^```' "$page" | grep -oE '`[^`]+`' | tr -d '`' | sort -u)
cmp_ok "$page names code" "$names" -gt 150
is 'which exists' "$missing" ''
is 'and has each file of driver, device and store' "$(for file in linux/drivers/virtio/*.c qemu/hw/virtio/*.c; do
	grep -q "[\` ]${file##*/}" "$page" || echo "$file"
done)" ''

# ---- docs/rebase.md ----

is 'docs/rebase.md says why each file is patched' "$(sed -n 's,^+++ b/,,p' qemu/patches/*.patch linux/patches/*.patch | sort -u |
	while read -r file; do grep -q "^| 000.*\`$file\`" docs/rebase.md || echo "$file"; done)" ''
is 'and what is looked for in a kernel' "$(grep -ohE 'VT_HAVE_[A-Z_]+|VT_BLK_[A-Z0-9_]+|vt-have,[A-Z_]+' \
	packaging/dkms/Kbuild linux/drivers/virtio/virtio_tmem_{compat,blk}.h | sed 's/vt-have,/VT_HAVE_/' |
	sort -u | grep -vx 'VT_HAVE_NAME\|VT_BLK_METHODS' | while read -r name; do grep -qw "$name" docs/rebase.md || echo "$name"; done)" ''

# ---- Pages in the formats of QEMU and the kernel ----

if text=$(scripts/build-docs.sh 2>&1); then
	ok 'sphinx finds nothing in the pages for QEMU and the kernel'
else
	not_ok 'sphinx finds nothing in the pages for QEMU and the kernel' "$text"
fi
# So that its page says what each parameter is for
# shellcheck disable=SC2016 # the backquotes are the page's
is "the kernel's page has all parameters of the driver, and no others" \
	"$(sed -n '/^Parameters$/,/^Counters$/s/^``\(.*\)``$/\1/p' linux/Documentation/admin-guide/mm/virtio_tmem.rst |
		sed 's/``, ``/\n/g' | sort)" \
	"$(sed -n 's/^MODULE_PARM_DESC(\([a-z_]*\),.*/\1/p' linux/drivers/virtio/*.c | sort)"

# ---- Links ----

missing=''
while IFS=: read -r page link; do
	[ -e "$(dirname "$page")/$link" ] || missing+="$page: $link"$'\n'
done < <(grep -oE '\]\([^)#:]+' README.md docs/*.md | sed 's/\](//')
is 'what the pages link to is there' "$missing" ''
# Not patterns; and docs/rebase.md is about files of others
mapfile -t pages < <(printf '%s\n' README.md docs/*.md | grep -v /rebase)
# shellcheck disable=SC2016 # the backquotes are the pages'
is 'so are files that they name' "$(grep -ohE '`(docs|libvirt-xml|linux|packaging|qemu|scripts|spec|tests|tools)/[^`* ]+`' "${pages[@]}" |
	tr -d '`' | sort -u | while read -r file; do [ -e "$file" ] || echo "$file"; done)" ''
is 'and targets of make' "$(grep -ohE '(^ +|`)([A-Z_]+=[^ ]* )*make [a-z][a-z-]*' README.md docs/*.md | sed 's/.*make //' | sort -u |
	while read -r target; do grep -q "^$target:" Makefile || echo "$target"; done)" ''
is 'README.md leads to each page' "$(for page in docs/*.md; do grep -q "($page)" README.md || echo "$page"; done)" ''
done_testing
