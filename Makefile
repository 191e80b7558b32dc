# Each target does its own set-up in $(VENV); the second run of a target finds it done.
#   make study        study the language organism and write microtome-study/report.html
#   make test         the tests, short forms (at most ten minutes on two cores)
#   make test-full    all tests, slow forms too
#   make lint         ruff, the arrows between the rooms, types
#   make bench        speed beside the peers, which live in an environment of their own
#   make organisms    train the organisms again and write their weights
#   make replicate    run every replication and write replications/ledger.json
#   make docs         build the site
#   make clean        remove builds and caches (the environment stays; delete $(VENV) to start over)

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The interpreter that makes the environment (3.10 to 3.13), and where it goes.
PYTHON ?= python3
VENV ?= .venv
PEERS ?= .venv-peers
# The build of torch. Where pip knows an index of CPU builds, this takes the CPU build.
TORCH ?= torch==2.13.0
WORKERS ?= 2
# Arguments for microtome study, bench and replicate, e.g. make study ARGS="--seed 1".
ARGS ?=

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadfile

.PHONY: help study test test-full lint bench organisms replicate docs setup clean

help:
	@sed -n 's/^#   make/make/p' Makefile

# --- set-up -----------------------------------------------------------------------------------------------------------

setup: $(VENV)/.installed

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || { \
	  echo "microtome needs Python 3.10 to 3.13; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: | $(PY)
	$(PIP) -c constraints.txt "$(TORCH)"
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.torch
	$(PIP) -c constraints.txt -e ".[dev]"
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) -c constraints.txt -e ".[dev,docs]"
	@touch $@

$(PEERS)/.installed: benchmarks/peers.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt
	@touch $@

# --- targets ----------------------------------------------------------------------------------------------------------

study: setup
	$(VENV)/bin/microtome study $(ARGS)

test: setup
	$(PYTEST) -m "not slow"

test-full: setup
	$(PYTEST)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pyright --level error

bench: setup $(PEERS)/.installed
	$(VENV)/bin/microtome bench $(ARGS)

organisms: setup
	$(PY) -m microtome.organisms.train
	$(PY) -m microtome.organisms.language --out src/microtome/organisms/language/weights

replicate: setup
	$(VENV)/bin/microtome replicate --all $(ARGS)

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(VENV)/bin/mkdocs build --strict

clean:
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -not -path './$(PEERS)/*' -prune -exec rm -rf {} +
