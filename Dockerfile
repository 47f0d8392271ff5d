# One file for every deployable: docker build --build-arg SERVICE=auth --tag paddock-auth .
# SERVICE is auth, ingest, leagues, scoring, analytics, webhooks, gateway, trackside, mailbox or cli.
# For a build that repeats bit by bit, pass the base by digest: --build-arg PYTHON_IMAGE=python@sha256:…
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
ARG SERVICE
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /build
# The tools that build live in an environment of their own and stay behind.
COPY requirements/build.txt requirements/
RUN python -m venv /tools \
 && /tools/bin/python -m pip install --quiet --require-hashes -r requirements/build.txt \
 && python -m venv --without-pip /venv
# What the deployable needs of others: every file named by its hash, in a layer that changes with the lock alone.
COPY requirements/${SERVICE}.txt requirements/
RUN /tools/bin/uv pip install --quiet --python /venv/bin/python --require-hashes -r "requirements/${SERVICE}.txt"
# What it needs of this repository, as wheels; then the command that runs it.
COPY libs libs
COPY services services
COPY gateway gateway
COPY tools tools
RUN set -eu; \
    case "${SERVICE}" in \
      auth|ingest|leagues|scoring|analytics|webhooks) module="${SERVICE}"; members="libs/common services/${SERVICE}" ;; \
      gateway) module=gateway; members="libs/common gateway" ;; \
      trackside) module=trackside; members="tools/trackside" ;; \
      mailbox) module=paddock_mailbox; members="tools/mailbox" ;; \
      cli) module=paddock; members="libs/common services/auth services/ingest services/leagues services/scoring services/analytics services/webhooks gateway tools/paddock" ;; \
      *) echo "SERVICE=${SERVICE} is no deployable" >&2; exit 1 ;; \
    esac; \
    for member in ${members}; do \
      /tools/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels "./${member}"; \
    done; \
    /tools/bin/uv pip install --quiet --python /venv/bin/python --offline --no-deps /wheels/*.whl; \
    printf '#!/venv/bin/python\nimport runpy\n\nrunpy.run_module("%s", run_name="__main__", alter_sys=True)\n' "${module}" > /venv/bin/paddock-entry; \
    chmod 0755 /venv/bin/paddock-entry; \
    mkdir /state

FROM ${PYTHON_IMAGE}
# Nothing in a running container can install anything.
RUN ["python", "-m", "pip", "uninstall", "--quiet", "--yes", "--root-user-action=ignore", "pip", "setuptools", "wheel"]
COPY --from=builder /venv /venv
# Empty: a volume mounted here belongs to the user below. trackside and auth keep something in it.
COPY --from=builder --chown=10001:10001 /state /state
ENV HOME=/tmp \
    HOST=0.0.0.0 \
    PORT=8000 \
    PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=40s --retries=3 \
  CMD ["/venv/bin/python", "-I", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health/ready', timeout=3)"]
ENTRYPOINT ["/venv/bin/paddock-entry"]
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="paddock-${SERVICE}" \
      org.opencontainers.image.description="Paddock, the open backend for fantasy Formula 1: ${SERVICE}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
