# SPDX-License-Identifier: Apache-2.0
# A trainer that uses rankd over the ring: an example to copy from, and what the compose file runs.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
COPY deploy/deps.sh deploy/deps.sh
RUN deploy/deps.sh build
COPY . .
RUN make -j2 BUILD=/build librankd-shared

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-minimal python3-numpy libcurl3-gnutls libjansson4 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/librankd.so* /usr/lib/
COPY clients/python/rankd /usr/lib/python3/dist-packages/rankd
COPY deploy/docker/trainer.py /trainer.py
# The uid of rankd in its container, which the socket lets in (ring-allow-uid names others).
USER 10001:10001
ENTRYPOINT ["python3", "/trainer.py"]
