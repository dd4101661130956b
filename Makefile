# Needs python3 (3.11 or later) and nothing else; uses uv where it is installed.
# Another Python: make PYTHON=python3.12 test.   Without uv: make UV= test.   Arguments: make demo ARGS=--exit

PYTHON ?= python3
UV ?= $(shell command -v uv 2>/dev/null)
ARGS ?=
SEEDS ?= 200
OPERATIONS ?= 300
NIGHTS ?= 5
STRIKES ?= 120

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PINNED := pyproject.toml constraints.txt

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start hundreds of processes: each would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench soak chaos clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(INSTALLED) ## the whole of headrace with a sample org: no account, no Docker
	$(BIN)/headrace demo $(ARGS)

test: lint types ## everything a change must pass: lint, types, layers and the quick tests
	$(BIN)/python -m pytest -q -n 4 --dist loadgroup -m "not slow" $(ARGS)

lint: $(INSTALLED_DEV) ## style, format and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

types: $(INSTALLED_DEV) ## strict types
	$(BIN)/mypy

soak: $(INSTALLED_DEV) ## random histories with every trouble at once: 200 seeds of 300 operations (hours)
	$(BIN)/python -m pytest -q -n 2 tests/journeys/test_soak.py --soak-seeds $(SEEDS) --soak-operations $(OPERATIONS) $(ARGS)

chaos: $(INSTALLED_DEV) ## nights in which everything is killed, cut off and filled up: 5 nights of 120 strikes each (an hour)
	$(BIN)/python -m pytest -q tests/journeys/test_chaos.py --chaos-seeds $(NIGHTS) --chaos-strikes $(STRIKES) $(ARGS)

bench: $(INSTALLED_DEV) ## measure speed and memory (minutes; prints a table)
	$(BIN)/python tests/bench $(ARGS)

clean: ## remove the virtual environment and every cache; data files stay
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "headrace needs Python 3.11 or later, and there is no $(PYTHON): install one, or name it with make PYTHON=..." >&2; \
		exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "headrace needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) -V 2>&1): install a newer one, or name it with make PYTHON=python3.12" >&2; \
		exit 1; }
	@if [ -n "$(UV)" ]; then "$(UV)" venv -q --allow-existing --python "$(PYTHON)" $(VENV); else \
		$(PYTHON) -m venv $(VENV) || { \
			rm -rf $(VENV); \
			echo "$(PYTHON) can't make virtual environments: install its venv module (Debian: python3-venv), or uv" >&2; \
			exit 1; }; fi

# Installing again is skipped until the requirements change.
$(INSTALLED): $(PINNED) | $(BIN)/python
	@echo "Installing headrace into $(VENV) (once; a minute or two on a new machine)"
	@$(call install,-e .)
	@touch $@

$(INSTALLED_DEV): $(PINNED) | $(BIN)/python
	@echo "Installing headrace and its tools into $(VENV) (once; a minute or two on a new machine)"
	@$(call install,-e '.[dev]')
	@touch $(INSTALLED) $@

install = if [ -n "$(UV)" ]; then "$(UV)" pip install -q --python $(BIN)/python -c constraints.txt $(1); \
	else $(BIN)/python -m pip install -q -c constraints.txt $(1); fi
