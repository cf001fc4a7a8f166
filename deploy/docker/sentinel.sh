#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# sentinel NAME ADDRESS QUORUM: a Sentinel that follows the master of that name. It writes its state
# into its configuration file, so that file is created only once.
set -eu
cd /data
[ -s sentinel.conf ] || cat > sentinel.conf <<END
port 26379
protected-mode no
sentinel monitor $1 $2 6379 $3
sentinel down-after-milliseconds $1 5000
sentinel failover-timeout $1 15000
END
exec redis-server sentinel.conf --sentinel
