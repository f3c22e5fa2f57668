# What every stand-in of a published image begins with: Debian, with busybox's wget, which health checks ask with.
ARG BASE
FROM ${BASE}
RUN ln -s /usr/bin/busybox /usr/local/bin/wget
