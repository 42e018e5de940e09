# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What each guest of overcommit.sh runs, beyond the words of tests/guest/lib.sh: a
# service that keeps its memory all the time and has a few requests a second, and
# jobs that come and go as the host says.
# shellcheck disable=SC2154 # what the host puts before it, and ask

# job NUMBER MIB PACE: in the background
# shellcheck disable=SC2086 # words
job()
{
	swaptest "name=job$1" "mib=$2" "pace=$3" "seed=$1" $access phases=fill,work &
	job=$!
}

# job_end NUMBER: what it took is free again
job_end()
{
	kill -TERM "$job"
	wait "$job" || val "job$1.status" $?
	job=
	mark "calm$1"
}

# follow: do what the host says: "busy NUMBER MIB PACE", "calm NUMBER", "end"
follow()
{
	while ask; do
		# shellcheck disable=SC2086 # words
		set -- $answer
		case $1 in
		busy) job "$2" "$3" "$4" ;;
		calm) job_end "$2" ;;
		end) break ;;
		esac
	done
}

# service MIB PACE: until the host says "end", then all of it is read and checked
service()
{
	# shellcheck disable=SC2086 # words
	swaptest name=service "mib=$1" "pace=$2" seed=100 $access phases=fill,work,rverify &
	service=$!
	follow
	kill -TERM "$service"
	wait "$service" || val service.status $?
}
