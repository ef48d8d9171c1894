# What runs on Fargate: the orchestrator, the Batch worker, the deploy task and, if it is ours, Prefect's server.
# No torch, no Isaac Lab.
ARG PYTHON_BASE=python:3.12-slim-bookworm
FROM ${PYTHON_BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 isaaclab \
    && useradd --uid 1000 --gid 1000 --create-home isaaclab \
    && mkdir -p /mnt/efs /scratch \
    && chown isaaclab:isaaclab /mnt/efs /scratch
# `mounted` skips them: a virtual environment with the project is then mounted at /opt/venv when the container starts.
ARG DEPENDENCIES=install
COPY requirements/orchestrator.txt /build/
RUN if [ "$DEPENDENCIES" = install ]; then \
      python3.12 -m venv /opt/venv \
      && /opt/venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
           --requirement /build/orchestrator.txt \
      && /opt/venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check hatchling editables; \
    fi
COPY . /opt/isaaclab-flows/
# Installed, so that Prefect finds the worker type through its entry point.
RUN if [ "$DEPENDENCIES" = install ]; then \
      /opt/venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation \
        --editable /opt/isaaclab-flows --editable /opt/isaaclab-flows/worker; \
    fi
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/isaaclab-flows:/opt/isaaclab-flows/worker \
    PYTHONUNBUFFERED=1 \
    PREFECT_HOME=/scratch/prefect \
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/scratch/ui \
    TMPDIR=/scratch
# The one folder to write to: Prefect copies its UI there when it starts. Declared after its owner was set, so that an
# empty volume mounted there belongs to the image's user.
VOLUME /scratch
WORKDIR /opt/isaaclab-flows
USER isaaclab
ENTRYPOINT ["tini", "-g", "--"]
