# Everything the project does, by one command each; the same by hand and in CI.
# Needed beforehand: git, make, and Python 3.11 or newer with venv.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)
BIN := .venv/bin
INSTALLED := .venv/installed
TEST_WORKERS ?= 4
TESTS ?=
BENCH ?=
CHAOS ?=
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# Where it is set, every command of every test would compile all of this anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test bench chaos check fix lock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(INSTALLED) ## the virtual environment in .venv, with .venv/bin/autopack in it

$(INSTALLED): requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed." >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || "$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED) ## an autonomous build of a small real repository, live on the terminal
	@$(BIN)/python examples/demo/run.py

test: $(INSTALLED) ## every test, on a real Postgres and a real Kafka; TESTS=path chooses some
	$(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

bench: $(INSTALLED) ## what the machinery costs, as a table; BENCH="--log kafka --rounds 1" chooses
	PYTHONPATH=tests $(BIN)/python -m benchmarks $(BENCH)

chaos: $(INSTALLED) ## hours of faults on real servers; CHAOS="--log kafka --kills 50 --seed 7" chooses
	PYTHONPATH=tests $(BIN)/python -m faults $(CHAOS)

check: $(INSTALLED) ## format, lint, types, import contracts, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m events.publish --check

fix: $(INSTALLED) ## mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m events.publish

lock: $(INSTALLED) ## lock the newest versions that pyproject.toml allows, with hashes
	$(COMPILE) --upgrade pyproject.toml --output-file requirements.txt
	$(COMPILE) --upgrade --constraint requirements.txt pyproject.toml --group dev --output-file requirements-dev.txt

clean: ## remove what the other commands made
	rm -rf .venv .demo .bench dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
