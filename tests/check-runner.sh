#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The runner notices every way in which a suite can fail without saying so, and
# never counts a skipped test as a passed one.
set -euo pipefail
# shellcheck source=tests/lib/vm.sh
. tests/lib/vm.sh

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# suite NAME: a suite of the shell commands on standard input
suite()
{
	{ echo '#!/bin/bash'; cat; } > "$tmp/$1.sh"
	chmod +x "$tmp/$1.sh"
}

# ends CLAIM STATUS "SUMMARY" SUITE...: the runner's exit status and last line;
# each suite has $limit seconds
limit=60
ends()
{
	local claim=$1 expected="status $2: $3" status=0 out

	shift 3
	out=$(T='' TIMEOUT=$limit TEST_LOGS=$tmp/logs tests/run "${@/#/$tmp/}" 2> /dev/null) || status=$?
	is "$claim" "status $status: $(tail -n 1 <<< "$out")" "$expected"
}

suite good <<< 'echo ok 1 - a; echo ok 2 - b; echo 1..2'
ends 'passed tests are counted' 0 '2 passed, 0 failed' good.sh
suite failing <<< 'echo 1..2; echo ok 1; echo not ok 2 - b; exit 1'
ends 'a failed test is counted, and fails the run' 1 '3 passed, 1 failed' good.sh failing.sh
suite quiet <<< 'echo 1..1; echo not ok 1 - a'
ends 'a failed test counts when the suite exits with 0' 1 '0 passed, 1 failed' quiet.sh
suite skipping <<< 'echo 1..2; echo "ok 1 - a # SKIP no disk"; echo "ok 2 - b # skip"'
ends 'skipped tests are counted apart' 0 '2 passed, 0 failed, 2 skipped' good.sh skipping.sh
ends 'skipped tests alone are no success' 1 '0 passed, 0 failed, 2 skipped' skipping.sh
suite skipped <<< 'echo "1..0 # SKIP no KVM"'
ends 'a skipped suite is counted apart' 0 '2 passed, 0 failed, 1 skipped' skipped.sh good.sh
suite status <<< 'echo ok 1; echo 1..1; exit 3'
ends 'an exit status without a failed test is a failure' 1 '1 passed, 1 failed' status.sh
suite short <<< 'echo 1..3; echo ok 1; echo ok 2'
ends 'fewer tests than planned is a failure' 1 '2 passed, 1 failed' short.sh
suite long <<< 'echo 1..1; echo ok 1; echo ok 2'
ends 'more tests than planned is a failure' 1 '2 passed, 1 failed' long.sh
suite planless <<< 'echo ok 1'
ends 'no plan is a failure' 1 '1 passed, 1 failed' planless.sh
suite silent <<< 'echo hello'
ends 'no test is a failure' 1 '0 passed, 1 failed' silent.sh
suite empty <<< 'echo 1..0'
ends 'an empty plan is a failure' 1 '0 passed, 1 failed' empty.sh
suite twice <<< 'echo 1..2; echo ok 1; echo ok 1'
ends 'a test that is told twice is a failure' 1 '2 passed, 1 failed' twice.sh
suite bailing <<< 'echo ok 1; echo 1..1; echo "Bail out! no memory"'
ends 'giving up is a failure' 1 '1 passed, 1 failed' bailing.sh
# shellcheck disable=SC2016 # the suite's own process
suite dying <<< 'echo ok 1; echo 1..1; kill -SEGV $$'
ends 'a death is a failure' 1 '1 passed, 1 failed' dying.sh
limit=5
suite slow <<< 'echo ok 1; echo 1..1; sleep 1000'
ends 'a suite that does not end is a failure' 1 '1 passed, 1 failed' slow.sh
suite stubborn <<< 'trap "" TERM; echo ok 1; echo 1..1; while :; do sleep 1; done'
ends 'nor does it help to ignore the signal' 1 '1 passed, 1 failed' stubborn.sh
limit=60
ends 'a suite that is not there is a failure' 1 '2 passed, 1 failed' gone.sh good.sh
suite nested <<< 'echo "    not ok 1 - inner"; echo "# not ok"; echo ok 1 - outer; echo 1..1'
ends 'lines of subtests and comments are not counted' 0 '1 passed, 0 failed' nested.sh

suite leaving <<< "sleep 1000 & echo \$! > $tmp/left; echo ok 1; echo 1..1"
ends 'a process left behind does not hold the run up' 0 '1 passed, 0 failed' leaving.sh
# shellcheck disable=SC2317 # called by vm_poll
gone()
{
	case $(ps -o stat= -p "$(cat "$tmp/left")") in '' | Z*) ;; *) return 1 ;; esac
}
if vm_poll 5 gone; then ok 'and is ended'; else not_ok 'and is ended'; fi

status=0
T=nothing tests/run "$tmp/good.sh" > "$tmp/out" || status=$?
is 'a run of no suite is no success' "$status: $(tail -n 1 "$tmp/out")" '1: 0 passed, 0 failed'
done_testing
