# bash completion for tmemctl(1)                          -*- shell-script -*-
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Commands and options come from --help, so they are those of the tmemctl that is
# installed; guests come from "tmemctl list", with the options given so far.

_tmemctl()
{
	local cur prev words cword
	_init_completion -n = || return

	local command=${words[1]-} i
	local -a places=()

	if ((cword == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$("${words[0]}" --help 2>/dev/null |
			sed -n -e '/^Commands/,/^$/s/^  \([a-z]*\) .*/\1/p') --help --version" -- "$cur")
		return
	fi
	case $prev in
	--qmp | -q | --textfile | -o | --config | -f | --meminfo)
		_filedir
		return
		;;
	--qmp-dir | -Q)
		_filedir -d
		return
		;;
	--color)
		mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$cur")
		return
		;;
	--sort | -s)
		mapfile -t COMPREPLY < <(compgen -W 'name used limit puts gets rejected' -- "$cur")
		return
		;;
	--connect | -c | --timeout | -t | --interval | -i | --count | -n | --max-size | -M | --min-size | \
		-m | --device | -d | --listen | --reserve | -r | --total | -T)
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$("${words[0]}" "$command" --help 2>/dev/null |
			grep -o -E -e '--[a-z][a-z-]*' | sort -u)" -- "$cur")
		return
	fi
	for ((i = 2; i < cword; i++)); do
		case ${words[i]} in
		-q | --qmp | -Q | --qmp-dir | -c | --connect)
			places+=("${words[i]}" "${words[i + 1]-}")
			;;
		--qmp=* | --qmp-dir=* | --connect=*)
			places+=("${words[i]}")
			;;
		esac
	done
	mapfile -t COMPREPLY < <(compgen -W "$("${words[0]}" list --timeout 1 "${places[@]}" 2>/dev/null |
		awk 'NR > 1 { print $1 }' | sort -u)" -- "$cur")
} &&
	complete -F _tmemctl tmemctl
