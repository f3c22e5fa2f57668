ARG BASE
FROM ${BASE}
RUN mkdir /data && chown 999:1000 /data
VOLUME /data
WORKDIR /data
CMD ["valkey-server"]
