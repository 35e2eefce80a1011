# The demo in a container, on a CPU or GPU: docs/workflow.md says how to build and run it.
# Any Debian with Python 3.11 or newer may stand below it: --build-arg BASE=...
ARG BASE=debian:bookworm-slim
# hadolint ignore=DL3006
FROM ${BASE}

# Debian's release pins these; requirements.lock pins all of Python.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git npm python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 fldrep \
 && install -d -o fldrep -g fldrep /fldrep

USER 1000
WORKDIR /fldrep
ENV PATH=/fldrep/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1

# Before the code, so that an edit there installs nothing anew.
COPY --chown=fldrep:fldrep requirements.lock pyproject.toml README.md LICENSE ./
RUN mkdir fldrep \
 && touch fldrep/__init__.py \
 && python3 -m venv .venv \
 && python -m pip install --no-cache-dir --quiet --disable-pip-version-check -c requirements.lock uv \
 && uv pip install --no-cache --quiet -c requirements.lock -e '.[crate]'

COPY --chown=fldrep:fldrep . .

# Results stay in the container's /fldrep/results and /fldrep/reports.
ENTRYPOINT ["snakemake", "--cores", "all"]
CMD ["--configfile", "config/demo.yaml"]
