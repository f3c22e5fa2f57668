# For python:slim: Debian's Python, and the wheels that the Dockerfile installs, since no index is reached from within.
ARG BASE
FROM ${BASE}
COPY wheels /opt/wheels
RUN printf '[global]\nno-index = true\nfind-links = /opt/wheels\n' > /etc/pip.conf \
 && ln -s /usr/bin/python3 /usr/local/bin/python && ln -s /usr/bin/python3 /usr/local/bin/python3
ENV LANG=C.UTF-8
CMD ["python3"]
