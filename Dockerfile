# flash-sale in stages: what is needed to install stays behind. `docker build -t flash-sale .`
# `docker build --target crowd -t flash-sale-crowd .` has the simulated shoppers, too.

FROM python:3.13.9-slim-trixie AS install
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/flash-sale
WORKDIR /source
# The pins first: this layer is made anew only when they change. Every file is checked against its hash.
COPY requirements/runtime.txt requirements/
RUN /opt/flash-sale/bin/pip install --require-hashes --only-binary :all: -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY telemetry telemetry
COPY service service
RUN /opt/flash-sale/bin/pip install --no-deps --no-build-isolation .

FROM install AS install-crowd
COPY requirements/crowd.txt requirements/
RUN /opt/flash-sale/bin/pip install --require-hashes --only-binary :all: -r requirements/crowd.txt

FROM python:3.13.9-slim-trixie AS service
LABEL org.opencontainers.image.title="flash-sale" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=install /opt/flash-sale /opt/flash-sale
ENV PATH=/opt/flash-sale/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOST=0.0.0.0
# A number, so that a cluster can see that it is not root; it owns nothing and writes only to /tmp.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000 9464
ENTRYPOINT ["flash-sale"]
CMD ["api"]

FROM service AS crowd
COPY --from=install-crowd /opt/flash-sale /opt/flash-sale

# The last stage is what is built without a target.
FROM service
