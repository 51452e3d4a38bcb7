# Needs: make, a C compiler (for libraries without a ready package here) and Python 3.11 or newer.
# Everything is installed into .venv, with hashes, from the lock files.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV_LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# A .venv knows its own place: one that was moved or copied along is made anew.
ifneq ($(shell cat $(VENV)/.made 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/.made
endif

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(VENV)/.run ## Show it all: from nothing to videos on disk, then end
	$(BIN)/receiver demo --once

.PHONY: serve
serve: $(VENV)/.run ## Run the receiver with ./receiver.toml (written if missing)
	test -n "$$RECEIVER_CONFIG" || test -e receiver.toml || $(BIN)/receiver init
	$(BIN)/receiver serve

# Most tests wait for processes: four files of them at a time. TESTS=1 runs them one after the other.
TESTS ?= 4
# Those that take long come first, in the order of their folders: at the end no process is left with a long one.
SIDE_BY_SIDE := --numprocesses=$(TESTS) --dist=loadfile --no-loadscope-reorder

.PHONY: test
test: $(VENV)/.test ## Run every test that can run here; the others say why not
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

.PHONY: check
check: $(VENV)/.test ## Run all that CI runs: format, lint, types, layers, tests, coverage
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov

.PHONY: fix
fix: $(VENV)/.test ## Format, and mend what the linter can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

ROUNDS ?= 5
DURATION ?= 5
EVENTS ?= 1000000
ONLY ?=

.PHONY: bench
bench: $(VENV)/.bench ## Measure speed and size beside other programs: ROUNDS=5 ONLY=small,big
	$(BIN)/python -m tests.bench --rounds $(ROUNDS) --seconds $(DURATION) --events $(EVENTS) --only "$(ONLY)"

SECONDS ?= 60
TARGETS ?=

.PHONY: fuzz
fuzz: $(VENV)/.test ## Feed strangers' bytes to all that reads them: SECONDS=600 for each, TARGETS=links
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --only "$(TARGETS)"

KILLS ?= 1000
TERMS ?= 500
CUTS ?= 100

.PHONY: torture
torture: $(VENV)/.test ## Kill, stop, fail and cut the power (as root): KILLS=1000 TERMS=500 CUTS=100 ONLY=kill,eio
	$(BIN)/python -m tests.torture --kills $(KILLS) --terms $(TERMS) --cuts $(CUTS) --only "$(ONLY)"

VIDEOS ?= 2000
chaos: SECONDS = 300

.PHONY: chaos
chaos: $(VENV)/.test ## Kill it under a sandbox that misbehaves in every way: VIDEOS=2000 SECONDS=300
	$(BIN)/python -m tests.chaos --videos $(VIDEOS) --seconds $(SECONDS)

.PHONY: timing
timing: $(VENV)/.test ## Measure whether the time of a denial tells how much of a guessed key is right
	$(BIN)/python -m tests.faults.timing

.PHONY: faults
faults: $(VENV)/.test ## Write tests/FAULTS.md: which test makes which fault happen
	$(BIN)/python -m tests.faults > tests/FAULTS.md

.PHONY: lock
lock: $(VENV)/.test ## Write all lock files anew from pyproject.toml
	$(UV_LOCK) --upgrade --extra sandbox --group build --output-file requirements.lock pyproject.toml
	$(UV_LOCK) --upgrade --group test --constraints requirements.lock --output-file tests/requirements.lock
	$(UV_LOCK) --upgrade --group bench --constraints requirements.lock --constraints tests/requirements.lock \
	  --output-file tests/bench/requirements.lock

.PHONY: clean
clean: ## Remove what make, the demo and the tests made, .venv too
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  receiver-demo bench.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo >&2 \
	  "$(PYTHON) is missing or older than 3.11; name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo >&2 \
	  "$(PYTHON) can't make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@printf '%s\n' "$(CURDIR)" > $@

$(VENV)/.run: $(VENV)/.made requirements.lock pyproject.toml
	$(PIP) install --require-hashes --no-deps --requirement requirements.lock
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run tests/requirements.lock
	$(PIP) install --require-hashes --no-deps --requirement tests/requirements.lock
	@touch $@

$(VENV)/.bench: $(VENV)/.run tests/bench/requirements.lock
	$(PIP) install --require-hashes --no-deps --requirement tests/bench/requirements.lock
	@touch $@
