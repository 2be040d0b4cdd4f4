# People and CI use the same words. `make audit` is the main job, `make test` the tests;
# each sets everything up on first use and is quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
ARGS ?=
NAME ?=

.DEFAULT_GOAL := help
.PHONY: help setup audit test test-all check bench docs fuzz mutation clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(STAMP)  ## create .venv with blindsum and all its extras

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "blindsum needs Python 3.11 or newer; set PYTHON=/path/to/python3.11."; exit 2; }
	@echo "setting up $(VENV) (a few minutes the first time)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || \
	  { $(PYTHON) -m pip install --quiet --user virtualenv && $(PYTHON) -m virtualenv --quiet $(VENV); }
	@$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e ".[fl,he,flower,track,dev]"
	@touch $@

audit: setup  ## train, attack, and write the page (ARGS="--help" for options)
	@$(BIN)/blindsum audit $(ARGS)

test: setup  ## the tests, under five minutes on two cores
	$(PYTEST) -n 2 --dist loadfile -m "not slow and not packaging and not gpu" $(ARGS)

test-all: setup  ## the tests, the long ones too (statistics, fuzz, soak)
	$(PYTEST) -n 2 --dist loadfile -m "not gpu" $(ARGS)

check: setup  ## ruff, mypy --strict, the layer test, the packaging test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) tests/test_layers.py tests/test_packaging.py

bench: setup  ## the benchmarks (NAME=... for one)
	$(BIN)/python -m benchmarks $(NAME) $(ARGS)

docs: setup  ## run every command and example that the docs show
	$(PYTEST) tests/test_docs.py -m "slow or not slow" $(ARGS)

fuzz: setup  ## throw a million hostile messages at all that reads bytes
	@$(BIN)/python -c 'import atheris' 2> /dev/null || \
	  $(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e ".[fuzz]" || \
	  echo "atheris cannot be installed here; the cases run without guidance by coverage."
	$(BIN)/python -m tests.fuzz $(ARGS)

mutation: setup  ## plant bugs one at a time; at least 95 % must fail a test
	$(BIN)/python -m tests.mutation $(ARGS)

clean:  ## remove the virtual environment and the caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
