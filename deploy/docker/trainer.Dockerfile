# A trainer that shares its batches with rankd over the ring: an example to copy from, and what the compose file runs.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-minimal python3-numpy \
 && rm -rf /var/lib/apt/lists/*
COPY clients/python/rankd /usr/lib/python3/dist-packages/rankd
COPY deploy/docker/trainer.py /trainer.py
# The uid of rankd in its container: the socket lets in its own uid.
USER 10001:10001
ENTRYPOINT ["python3", "/trainer.py"]
