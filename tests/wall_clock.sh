#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Refuses the wall clock in waits and durations: if it is set back by an hour, a wait takes an hour
# longer. Waits use pthread_cond_clockwait() and the like, which name their clock; durations are
# differences of CLOCK_MONOTONIC. Only dates for display may come from the wall clock, in the files
# listed here.
#   tests/wall_clock.sh [FILE …]     (without files: all that git knows of the code and its tests)
set -eu
dates='^(server/base/log.c|server/base/lifecycle.c|server/exec/infer.c|server/exec/gauges.c|server/bank/append.c|server/bank/checkpoint.c|server/bank/replica.c|server/bank/replica_admin.c|server/bank_store/redis_about.c|clients/ctl/status.c):'
# Calls that ask for the date.
ask='CLOCK_(REALTIME|TAI)|gettimeofday|timespec_get|system_clock|(^|[^_.[:alnum:]])time\((NULL\)|nullptr\)|0\)|&)|time\.time(_ns)?\(|date(time)?\.(now|utcnow|today)\('
# Waits until a date, whichever function gave it.
wait='(cond|sem|mq)_timed|_timed(wait|lock|rdlock|wrlock|join_np|send|receive)\(|mtx_timedlock|cnd_timedwait|TIMER_ABSTIME.*REALTIME'
if [ $# -eq 0 ]; then
    cd "$(dirname "$0")/.."
    set -- $(git ls-files '*.c' '*.h' '*.cc' '*.cu' '*.cuh' '*.def' '*.py' | grep -vE '/(test_wall_clock.py|test_clock_set_back.py|wall_clock_ahead.c)$')
fi
found=$({ grep -nHE "$ask" "$@" | grep -vE "$dates"; grep -nHE "$wait" "$@"; } || true)
[ -z "$found" ] || { echo "the wall clock, which may be set back, in a wait or a duration:"; echo "$found"; exit 1; }
