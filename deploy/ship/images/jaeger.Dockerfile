ARG BASE
FROM ${BASE}
ENV JAEGER_LISTEN_HOST=0.0.0.0
COPY jaeger /cmd/jaeger/jaeger
USER 10001
ENTRYPOINT ["/cmd/jaeger/jaeger"]
