# Everything that one does here. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup demo demo-http test fast property e2e check lint types imports format cov bench docs clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 12

setup: $(STAMP)  ## make a virtual environment in .venv and install the program with its development tools

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 3; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: setup  ## run the main job: eight simulated agents refactor a package, offline
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/orchestrate run tasks/refactor.yaml --agents 8

demo-http: setup  ## the same over HTTP: the real SDK against a model service on loopback that is limited and goes wrong
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/python -m benchmarks.demo_http

test: setup  ## run every test
	$(BIN)/python -m pytest -n auto

fast: setup  ## run the tests that take less than about ten seconds each
	$(BIN)/python -m pytest -n auto -q -m "not slow"

property: setup  ## run the property tests alone, with many more examples
	$(BIN)/python -m pytest -n auto tests/property --hypothesis-profile=thorough

e2e: setup  ## run the end-to-end tests alone
	$(BIN)/python -m pytest -n auto tests/e2e

check: lint types imports fast  ## what must be green before a commit

lint: setup  ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## mypy, strict
	$(BIN)/mypy

imports: setup  ## the import contracts: who may import whom
	$(BIN)/lint-imports

format: setup  ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

cov: setup  ## run every test with branch coverage
	$(BIN)/python -m pytest -n auto --cov --cov-report=term-missing:skip-covered

bench: setup  ## run the benchmarks; each prints its reference beside it
	$(BIN)/python -m benchmarks.fanout
	$(BIN)/python -m benchmarks.trees
	$(BIN)/python -m benchmarks.limiter

docs: setup  ## write what is generated: the JSON Schema, the diagram in docs/architecture.md, the README's help texts
	$(BIN)/python -m docs.generate

clean:  ## remove the virtual environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
