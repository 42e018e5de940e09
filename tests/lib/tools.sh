# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tmemctl, and guests that are not there, for tests/tools-*.sh. To be sourced
# after vm.sh.
#
# tools_build makes it with the sanitizers: what they find ends the program with a
# status that no test expects.

TOOLS=$PWD/build/tools-sanitize
TMEMCTL=$TOOLS/tmemctl
MOCK_DIR=
MOCK_PID=
MOCK_IN=

# tools_build PROGRAM...
tools_build()
{
	local log=$PWD/build/logs/tools-test.log

	mkdir -p "$PWD/build/logs"
	if ! make -s -C tools -j "${JOBS:-2}" O="$TOOLS" SANITIZE=1 CFLAGS='-O1 -g' \
		"${@/#/$TOOLS/}" >"$log" 2>&1; then
		not_ok "tools build" "$(tail -n 20 "$log")"
		done_testing
	fi
	MOCK_DIR=$(mktemp -d "${TMPDIR:-/tmp}/tmem-tools.XXXXXX")
	trap tools_cleanup EXIT
	trap 'exit 1' INT TERM HUP
	export ASAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=print_stacktrace=1
	# What a person's own settings would change
	unset NO_COLOR LIBVIRT_DEFAULT_URI
	export TERM=dumb
}

tools_cleanup()
{
	local rc=$?

	mock_stop
	rm -rf "$MOCK_DIR"
	if [ "$TAP_N" -gt 0 ] && [ -z "$TAP_DONE" ]; then
		echo "Bail out! ended early, status $rc"
		[ "$rc" -ne 0 ] || rc=1
	fi
	exit "$rc"
}

# mock_start GUEST...: sockets in $MOCK_DIR/s; see tests/tools/mock-qmp.c
mock_start()
{
	local i

	mock_stop
	mkdir "$MOCK_DIR/s"
	mkfifo "$MOCK_DIR/in"
	"$TOOLS/mock-qmp" "$MOCK_DIR/s" "$@" <"$MOCK_DIR/in" >"$MOCK_DIR/out" &
	MOCK_PID=$!
	exec {MOCK_IN}>"$MOCK_DIR/in"
	for ((i = 0; i < 200; i++)); do
		grep -qs ready "$MOCK_DIR/out" && return
		sleep 0.05
	done
	bail "mock guests start"
}

mock_stop()
{
	[ -n "$MOCK_PID" ] || return 0
	exec {MOCK_IN}>&-
	wait "$MOCK_PID" || :
	MOCK_PID=
	rm -rf "$MOCK_DIR/s" "$MOCK_DIR/in"
}

# t ARGUMENT...: run tmemctl; sets $out, $err and $status
# shellcheck disable=SC2034 # for those who source this
t()
{
	status=0
	out=$(timeout 60 "$TMEMCTL" "$@" 2>"$MOCK_DIR/err" </dev/null) || status=$?
	err=$(sed "s|$MOCK_DIR|DIR|g" "$MOCK_DIR/err")
	out=${out//$MOCK_DIR/DIR}
}
