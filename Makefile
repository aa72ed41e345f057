# `make` lists the targets. The virtual environment in .venv is made once and reused.

PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 4

.PHONY: help demo test test-more soak check docs bench clean system-deps
.DEFAULT_GOAL := help
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## run a real plugin on several hosts over real SSH, on this machine alone
	@PYTHON=$(PYTHON) .ci/install-system demo
	@$(MAKE) --no-print-directory .venv/core
	@$(BIN)/python -m lmm.testing.demo

test: system-deps .venv/dev plugins/noop-c/noop ## run all tests (those that need root: only as root)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --durations=15

test-more: system-deps .venv/dev ## test what needs Go, Rust and fio, which apt-get installs (500 MB)
	@PYTHON=$(PYTHON) .ci/install-system more
	RUNE_TEST_MORE=1 $(BIN)/python -m pytest -n $(JOBS) tests/unit/plugin_lib \
		tests/unit/authoring/test_templates.py tests/unit/plugins/test_measuring_plugins.py

soak: system-deps .venv/dev plugins/noop-c/noop ## repeat the tests of races 50 times as often as `make test` (hours)
	RUNE_TEST_SCALE=$${RUNE_TEST_SCALE:-50} $(BIN)/python -m pytest -m soak --timeout=0 -n $(JOBS)

check: system-deps .venv/dev ## lint, format, types, import layers, shell scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	shellcheck --shell=bash lmm/*.sh lmm/aws/agent.sh lom/authoring/*.sh plugins/lib/*.sh
	shellcheck .ci/run .ci/install-system $$(grep -rlIE '^#!.*[/ ](ba|da)?sh$$' plugins)

docs: .venv/dev ## write the pages that are made from data: command line, errors, decisions
	$(BIN)/python docs/generate.py

bench: .venv/core .venv/rivals/bench ## time RUNE against other ways to do the same, as ratios
	$(BIN)/python -m benchmarks.fleet $(BENCH)

clean: ## remove what make and the tools have made
	$(MAKE) --no-print-directory -C plugins/noop-c clean
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

system-deps: ## install the programs that the tests need (as root, with apt-get)
	@PYTHON=$(PYTHON) .ci/install-system test

plugins/noop-c/noop: plugins/noop-c/noop.c
	$(MAKE) --no-print-directory -C $(@D)

.venv/core: EXTRAS =
.venv/dev: EXTRAS = [test,dev]
.venv/core .venv/dev: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "RUNE needs Python 3.11 \
	or newer, $(PYTHON) is " + sys.version.split()[0] + "; try: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo '$(PYTHON) cannot make a virtual environment; Debian: apt-get install python3-venv'; \
		exit 1; } >&2
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --editable '.$(EXTRAS)'
	@touch $@

# Some of them want older libraries than RUNE takes. A tool that is missing is told in its row.
.venv/rivals/bench: setup.cfg
	@test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]' || \
		echo 'not all of the other tools could be installed; the table says which' >&2
	@touch $@
