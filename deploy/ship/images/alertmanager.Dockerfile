ARG BASE
FROM ${BASE}
COPY alertmanager /bin/alertmanager
RUN mkdir -p /etc/alertmanager /alertmanager && chown -R nobody:nogroup /etc/alertmanager /alertmanager
USER nobody
VOLUME /alertmanager
WORKDIR /alertmanager
ENTRYPOINT ["/bin/alertmanager"]
