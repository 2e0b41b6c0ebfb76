# Everything runs in .venv, which is built when it is needed.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
WORKERS ?= 3
# one worker has what a group of tests shares: the processes of Keras, the servers of a module
PARALLEL := -n $(WORKERS) --dist loadgroup
export NEMESYST_DATA := $(abspath $(if $(DATA),$(DATA),$(NEMESYST_DATA)))
TEST_DATA := $(if $(NEMESYST_DATA),$(NEMESYST_DATA),$(abspath ../shared/data))

FIND_MONGOD := from pathlib import Path; from nemesyst.database.embedded.binary import find_mongod; print(find_mongod(None, Path('.venv').absolute()).path)

.PHONY: demo test quick soak core lint bench bench-peers docs clean help

help:
	@echo "make demo [DATA=folder]  the main job on the embedded database and real data"
	@echo "make test                lint, types, and all tests"
	@echo "make quick               the quick tests, in under 2 minutes"
	@echo "make soak                the long chaos runs"
	@echo "make core                the core's tests, with no extra installed"
	@echo "make bench               all benchmarks; make bench-peers before installs what they are compared with"
	@echo "make lint | docs | clean"

demo: .venv/demo
	$(BIN)/nemesyst run examples/digits.py
	$(BIN)/python examples/digits_report.py $(if $(NEMESYST_DATA),--name mnist)

test: lint core
	NEMESYST_DATA="$(TEST_DATA)" $(BIN)/python -m pytest $(PARALLEL) -m "not soak"

quick: .venv/dev
	NEMESYST_DATA="$(TEST_DATA)" $(BIN)/python -m pytest $(PARALLEL) -m "not slow and not soak"

soak: .venv/dev
	NEMESYST_DATA="$(TEST_DATA)" $(BIN)/python -m pytest -m soak --timeout 3600

core: .venv-core/done .venv/dev
	NEMESYST_MONGOD=$$($(BIN)/python -c "$(FIND_MONGOD)") .venv-core/bin/python -m pytest $(PARALLEL) -m "core and not slow and not soak"

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/dev
	for file in benchmarks/*.py; do echo "== $$file"; NEMESYST_DATA="$(TEST_DATA)" $(BIN)/python $$file || exit 1; done

bench-peers: .venv-peers/done

docs: .venv/dev
	$(BIN)/python -m typer nemesyst.cli.main utils docs --name nemesyst --output docs/cli.md

clean:
	rm -rf .venv .venv-core .venv-peers .mypy_cache .ruff_cache .pytest_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e ".[demo]"
	touch $@

.venv/dev: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e ".[all,dev]"
	touch $@ .venv/demo

.venv-core/done: pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv .venv-core
	.venv-core/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . pytest pytest-randomly pytest-timeout pytest-xdist hypothesis
	touch $@

.venv-peers/done: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@
