# `make` alone lists the targets. Each makes .venv first, once; nothing but Python 3.11+, make and a package index is needed.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint types imports unit docs bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## Score, select, export and map real images, and compare with a random pick; writes ./demo
	@$(BIN)/python examples/demo.py

test: lint types imports unit ## Everything that must hold: style, types, import floors, tests with coverage

lint: $(READY) ## Formatting and style
	@$(BIN)/ruff format --check --quiet . || { echo 'Error: not formatted. Mend it: $(BIN)/ruff format .' >&2; exit 1; }
	@$(BIN)/ruff check --quiet .

types: $(READY) ## mypy, strict
	@$(BIN)/mypy --no-error-summary curate

imports: $(READY) ## Imports go down, never up or sideways
	@log=$$($(BIN)/lint-imports 2>&1) || { echo "$$log" >&2; exit 1; }

unit: $(READY) ## The tests alone, in two processes
	@$(BIN)/python tests/halves.py || { \
	  code=$$?; [ $$code -ne 5 ] || echo 'Error: pytest collected no test at all.' >&2; exit $$code; }
	@$(BIN)/coverage combine --quiet .coverage.part-*
	@echo "coverage $$($(BIN)/coverage report --format=total)%"

docs: $(READY) ## Rewrite the generated tables of README.md and docs/
	@$(BIN)/python docs/tables.py

bench: $(READY) ## The benchmarks that need no other data or code; each file's head says how the others are run
	$(BIN)/python benchmarks/fingerprint.py
	$(BIN)/python benchmarks/recorder.py
	$(BIN)/python benchmarks/store.py --dir build/bench

clean: ## Remove the environment, caches and what the demo wrote
	rm -rf .venv demo dist build .coverage .coverage.part-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Error: curate needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@echo 'Making .venv: the first time this takes some minutes, most of them for torch.' >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)
