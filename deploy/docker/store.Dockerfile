# SPDX-License-Identifier: Apache-2.0
# Redis and Sentinel from Debian's packages: the store of docker-compose.store.yml.
ARG BASE=debian:bookworm-slim

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends redis-server \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /data && chown redis:redis /data
COPY docker/sentinel.sh /usr/local/bin/sentinel
USER redis
WORKDIR /data
VOLUME ["/data"]
CMD ["redis-server", "--dir", "/data"]
