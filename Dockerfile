# One image for every role: `headrace run` by default, any other command by naming it.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/headrace
COPY constraints.txt pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY schemas schemas
COPY integration integration
COPY consumers consumers
RUN /opt/headrace/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data headrace && install -d -o headrace -g headrace /data
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HEADRACE_STORE__URL=duckdb:////data/headrace.duckdb
USER headrace
WORKDIR /data
VOLUME /data
ENTRYPOINT ["headrace"]
CMD ["run"]
