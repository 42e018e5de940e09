# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A policy for balloons, for overcommit.sh, which sources this: RAM follows who swaps,
# as far as balloons can do that. A guest that does not swap is left with what it uses
# and some room, those that do share the rest; while none does, all share it. What a
# guest has not given up yet nobody else gets.
# shellcheck disable=SC2154 # overcommit.sh's

# balloon_send SOCKET: what it reads is commands
balloon_send()
{
	{ echo '{"execute":"qmp_capabilities"}' && cat; } |
		socat -t 1 - "UNIX-CONNECT:$1" 2>/dev/null || :
}

# balloon_ask SOCKET: RAM that the guest has now, how much of that is available, and
# how much it has swapped so far, in MiB; nothing before its driver has said so
balloon_ask()
{
	balloon_send "$1" <<-'END' |
		{"execute":"query-balloon"}
		{"execute":"qom-get","arguments":{"path":"/machine/peripheral/balloon","property":"guest-stats"}}
	END
		jq -rn '[inputs | .return // empty] | (map(.actual // empty)[0]) as $actual
			| (map(.stats // empty)[0]) as $s
			| select($actual and $s and $s["stat-available-memory"] < 1e15)
			| [$actual, $s["stat-available-memory"], $s["stat-swap-in"] + $s["stat-swap-out"]]
			| map(. / 1048576 | floor) | join(" ")'
}

# balloon_targets: guest, RAM now, available, swapped in the last round (MiB) ->
# guest and the RAM it is to have
balloon_targets()
{
	awk -v budget=$((LIMIT - 3 * QEMU_TAKES - 8)) -v whole="$whole" '
		{
			name[NR] = $1; now[NR] = $2
			# Some pages that come back are no hunger
			swaps[NR] = $3 < 16 || $4 >= 8
			want[NR] = $2 - $3 + 32
			if (swaps[NR]) {
				pressing++
			} else {
				wanted += want[NR]
				taken += now[NR] > want[NR] ? now[NR] : want[NR]
			}
		}
		END {
			if (NR < 3)
				exit
			share = (budget - wanted) / (pressing ? pressing : NR)
			for (i = 1; i <= NR; i++) {
				target = swaps[i] ? share : want[i] + (pressing || share < 0 ? 0 : share)
				# Up only as far as others have come down
				if (swaps[i] && target > (budget - taken) / pressing)
					target = now[i] < target && now[i] > (budget - taken) / pressing ? now[i] : (budget - taken) / pressing
				if (target > whole)
					target = whole
				printf "%s %d\n", name[i], (target < 64 ? 64 : target)
			}
		}'
}

balloon_policy()
{
	local name line swapped all
	declare -A before=()

	for name in "${names[@]}"; do
		balloon_send "$GUESTS_DIR/$name/policy.sock" >/dev/null <<-'END'
			{"execute":"qom-set","arguments":{"path":"/machine/peripheral/balloon","property":"guest-stats-polling-interval","value":1}}
		END
	done
	while sleep 1; do
		all=
		for name in "${names[@]}"; do
			line=$(balloon_ask "$GUESTS_DIR/$name/policy.sock")
			[ -n "$line" ] || continue
			swapped=${line##* }
			all+="$name ${line% *} $((swapped - ${before[$name]:-$swapped}))"$'\n'
			before[$name]=$swapped
		done
		printf '%s' "$all" | sed "s/^/# $(seconds_now) /"
		while read -r name line; do
			echo "$(seconds_now) $name $line"
			balloon_send "$GUESTS_DIR/$name/policy.sock" \
				<<<"{\"execute\":\"balloon\",\"arguments\":{\"value\":$((line << 20))}}" >/dev/null
		done < <(printf '%s' "$all" | balloon_targets)
	done
}
