# One image for every process; docker-compose.yml says which one a container runs.
FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

RUN python -m venv /app && python -m venv /build
COPY requirements.lock requirements-build.lock ./
RUN /app/bin/pip install --require-hashes --no-deps -r requirements.lock \
 && /build/bin/pip install --require-hashes --no-deps -r requirements-build.lock

COPY pyproject.toml README.md ./
COPY notifier notifier
COPY templates templates
RUN /build/bin/hatchling build -t wheel -d /wheel \
 && /app/bin/pip install --no-deps /wheel/*.whl

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin notifier
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
CMD ["notifier", "--help"]
