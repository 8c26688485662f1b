# Everything here works on a fresh machine with Python >= 3.11 and make: plain venv and pip, no other tool.
PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
ONCE ?=
SEED ?=
MINUTES ?= 5
DATABASE ?= postgresql
ONLY ?=
QUICK ?=

PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
EXACT = --require-hashes --no-deps -r
EDITABLE = --no-deps --no-build-isolation -e .

.PHONY: help demo test lint lock chaos bench

help:
	@echo "make demo         the whole system on embedded parts, fed with sample events (ONCE=1: run, check, exit)"
	@echo "make test         the tests (PYTEST_ARGS=... for pytest, PYTHON=python3.13 VENV=.venv-3.13 for another Python)"
	@echo "make lint         ruff, mypy, import rules"
	@echo "make chaos        real processes under faults, then a reckoning (MINUTES=5 SEED=... DATABASE=postgresql|sqlite)"
	@echo "make bench        what the engine can do beside others (ONLY=plain,rich for parts, QUICK=1 for small numbers)"
	@echo "make lock         write requirements*.lock anew (needs uv)"

demo: $(VENV)/.runtime
	$(VENV)/bin/notifier demo $(if $(filter 1,$(ONCE)),--once)

test: $(VENV)/.dev
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.bench
	ONLY='$(ONLY)' QUICK='$(QUICK)' $(VENV)/bin/python -m bench

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

# A stamp is newer than the files it was made from, so a second `make` installs nothing.
$(VENV)/.runtime: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) ..."
	@$(PIP) install $(EXACT) requirements.lock $(EXACT) requirements-build.lock
	@$(PIP) install $(EDITABLE)
	@touch $@

# requirements-dev.lock holds all of the other two at the same versions (a test says so).
$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) ..."
	@$(PIP) install $(EXACT) requirements-dev.lock
	@$(PIP) install $(EDITABLE)
	@touch $(VENV)/.runtime $@

chaos: $(VENV)/.dev
	$(VENV)/bin/python -m chaos.run --minutes $(MINUTES) --database $(DATABASE) $(if $(SEED),--seed $(SEED))

# What the bench measures beside us; everything else in it has the versions of the other locks.
$(VENV)/.bench: requirements-bench.lock $(VENV)/.dev
	@$(PIP) install $(EXACT) requirements-bench.lock
	@touch $@

lock:
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) --group build -c requirements.lock -o requirements-build.lock
	$(LOCK) --extra dev -c requirements.lock -c requirements-build.lock pyproject.toml -o requirements-dev.lock
	$(LOCK) --extra bench -c requirements-dev.lock pyproject.toml -o requirements-bench.lock

# No annotation, header or index: a lock names packages and hashes, never a host or a path.
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
