# One image for every role: `headrace run` by default, any other command by naming it. See docs/containers.md.
#   docker build --build-arg VERSION=0.1.0 --tag headrace:0.1.0 .
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
# No pip in it: it is filled from outside, and nothing is installed later.
RUN python -m venv --without-pip /opt/headrace
COPY constraints.txt pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY schemas schemas
COPY integration integration
COPY consumers consumers
# Bytecode is written here, once: whoever runs it can't. It is valid whatever the dates of the files become.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --disable-pip-version-check --python /opt/headrace/bin/python install --no-compile \
        --constraint constraints.txt ".[postgres,clickhouse,otel,pictures]" \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/headrace/lib

FROM python:3.13-slim-bookworm
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="headrace" \
      org.opencontainers.image.description="Keeps a Salesforce org's changes in SQL: one row per person, one event for each change" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && groupadd --system --gid 10001 headrace \
    && useradd --system --uid 10001 --gid headrace --home-dir /data --no-create-home --shell /usr/sbin/nologin headrace \
    && install -d -o headrace -g headrace -m 0700 /data
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HEADRACE_STORE__URL=duckdb:////data/headrace.duckdb
# A number, for Kubernetes can't tell from a name that it is not root's.
USER 10001:10001
WORKDIR /data
# The one place beside /tmp that is written to.
VOLUME /data
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["headrace"]
CMD ["run"]
