# Two commands do everything: `make demo` and `make test`. `make` alone lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.SUFFIXES:

# The newest interpreter that works (a shim that exists may still refuse), 3.11 to 3.13.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
READER := .venv-reader
BENCH := .venv-bench
BIN := $(VENV)/bin
CODE := claimx tests bench celeryconfig.py
UV := $(shell command -v uv 2>/dev/null)

define make_venv
	@test -n "$(PYTHON)" || { echo "claimx needs Python 3.11, 3.12 or 3.13 on the path (or make PYTHON=/path/to/python)" >&2; exit 1; }
	@echo "setting up $(1) with $(PYTHON) from $(2)" >&2
	@$(if $(UV),uv venv --quiet --clear --python $$($(PYTHON) -c 'import sys; print(sys.executable)') $(1), \
		$(PYTHON) -m venv --clear $(1) || { echo "python's venv module is missing: on Debian and Ubuntu install python3-venv" >&2; exit 1; })
	@$(if $(UV),uv pip install --quiet --python $(1)/bin/python --require-hashes -r $(2), \
		$(1)/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r $(2))
	@touch $(1)/.stamp
endef

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.stamp: requirements-dev.txt
	$(call make_venv,$(VENV),requirements-dev.txt)
	@printf '#!/bin/sh\nPYTHONPATH="%s$${PYTHONPATH:+:$$PYTHONPATH}" exec "%s/python" -m claimx "$$@"\n' \
		"$(CURDIR)" "$(CURDIR)/$(BIN)" > $(BIN)/claimx && chmod +x $(BIN)/claimx

$(READER)/.stamp: requirements-reader.txt
	$(call make_venv,$(READER),requirements-reader.txt)

$(BENCH)/.stamp: requirements-bench.txt
	$(call make_venv,$(BENCH),requirements-bench.txt)

.PHONY: env
env: $(VENV)/.stamp ## set up .venv (product, sandbox, tests), pinned with hashes

.PHONY: reader
reader: $(READER)/.stamp ## set up .venv-reader (DuckDB, which reads the lake back in tests)

.PHONY: demo
demo: $(VENV)/.stamp ## run the whole pipeline on local stand-ins, check every table, stop
	@exec $(BIN)/python -m claimx demo $(ARGS)

.PHONY: up
up: $(VENV)/.stamp ## keep the local stack running, with Flower, until Ctrl-C
	@exec $(BIN)/python -m claimx up $(ARGS)

.PHONY: bench
bench: $(VENV)/.stamp $(BENCH)/.stamp ## claimx beside the floor, naive Celery and dlt, five rounds; under an hour
	@PYTHONPATH=. exec $(BIN)/python bench/pipeline.py $(ARGS)

.PHONY: bench-short
bench-short: $(VENV)/.stamp $(BENCH)/.stamp ## the same in one small round, four minutes at most
	@PYTHONPATH=. exec $(BIN)/python bench/pipeline.py --short $(ARGS)

.PHONY: bench-mixes
bench-mixes: $(VENV)/.stamp ## claimx beside the floor: small and large files, doubles, failing calls
	@PYTHONPATH=. exec $(BIN)/python bench/pipeline.py --others $(ARGS)

.PHONY: bench-media
bench-media: $(VENV)/.stamp ## downloads and uploads beside aiohttp alone; one file of 5 GiB for its memory
	@PYTHONPATH=. exec $(BIN)/python bench/media.py $(ARGS)

.PHONY: bench-enrich
bench-enrich: $(VENV)/.stamp ## calls of the API a second, of one core
	@PYTHONPATH=. exec $(BIN)/python bench/enrich.py $(ARGS)

.PHONY: bench-scaling
bench-scaling: $(VENV)/.stamp ## one to four worker processes
	@PYTHONPATH=. exec $(BIN)/python bench/scaling.py $(ARGS)

.PHONY: bench-remembered
bench-remembered: $(VENV)/.stamp ## what it costs Redis to remember an id for a day
	@PYTHONPATH=. exec $(BIN)/python bench/remembered.py $(ARGS)

.PHONY: bench-soak
bench-soak: $(VENV)/.stamp ## half a million events, and whether memory, files or threads grow
	@PYTHONPATH=. exec $(BIN)/python bench/soak.py $(ARGS)

.PHONY: bench-stages
bench-stages: $(VENV)/.stamp ## CPU, Redis commands and messages of each stage for an event, without HTTP
	@PYTHONPATH=. $(BIN)/python bench/stages.py $(ARGS)

ROWS ?= 1000000
.PHONY: bench-lake
bench-lake: $(VENV)/.stamp ## flushes into a large table beside a plain MERGE: make bench-lake ROWS=10000000
	@PYTHONPATH=. $(BIN)/python bench/lake.py --rows $(ROWS) $(ARGS)

.PHONY: bench-week
bench-week: $(VENV)/.stamp $(READER)/.stamp ## a week of commits into all tables, compressed in time
	@PYTHONPATH=. $(BIN)/python bench/week.py $(ARGS)

.PHONY: bench-backlog
bench-backlog: $(VENV)/.stamp ## take in a source a million events behind (ARGS="--rows 200000 --minutes 10")
	@exec $(BIN)/python bench/backlog.py $(ARGS)

.PHONY: test
test: $(VENV)/.stamp $(READER)/.stamp lint ## everything that CI runs: lint, types, architecture, all tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not long" $(ARGS)

.PHONY: test-long
test-long: $(VENV)/.stamp ## planted mistakes, deaths of real processes, ten minutes of short tokens
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m long $(ARGS)

.PHONY: crash-walk
crash-walk: $(VENV)/.stamp ## die at every crash point, in plays and in real processes (half an hour)
	@$(BIN)/python tests/crash/crash_walk.py $(ARGS)

AZURITE := .azurite/node_modules/.bin/azurite-blob
$(AZURITE):
	npm install --silent --no-fund --no-audit --prefix .azurite azurite@3.35.0

.PHONY: test-azurite
test-azurite: $(VENV)/.stamp $(AZURITE) ## the lake's contract on Azurite, a second server (needs Node.js and npm)
	CLAIMX_AZURITE="$(CURDIR)/$(AZURITE)" $(BIN)/python -m pytest tests/contracts/test_lake.py -k azurite $(ARGS)

.PHONY: test-quick
test-quick: $(VENV)/.stamp ## unit, property, contract and architecture tests only
	$(BIN)/python -m pytest -n 2 tests/unit tests/property tests/contracts tests/architecture $(ARGS)

MINUTES ?= 20
SEED ?= 7
.PHONY: chaos
chaos: $(VENV)/.stamp ## everything goes wrong under load: make chaos MINUTES=20 SEED=7
	@PYTHONPATH=.:tests:tests/integration $(BIN)/python tests/chaos/run.py --minutes $(MINUTES) --seed $(SEED) $(ARGS)

HOW ?= kill
TIMES ?= 25
.PHONY: drill
drill: $(VENV)/.stamp ## one victim at a time: make drill HOW=kill TIMES=25, HOW=stop TIMES=100
	@PYTHONPATH=.:tests:tests/integration $(BIN)/python tests/chaos/drill.py --how $(HOW) --times $(TIMES) --seed $(SEED) $(ARGS)

.PHONY: lint
lint: $(VENV)/.stamp ## ruff, import rules, types
	$(BIN)/ruff format --check --quiet $(CODE)
	$(BIN)/ruff check --quiet $(CODE)
	$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.stamp ## let ruff format and mend what it can
	$(BIN)/ruff format --quiet $(CODE)
	$(BIN)/ruff check --quiet --fix $(CODE)

.PHONY: docs
docs: $(VENV)/.stamp ## write the pages that are generated from declarations
	$(BIN)/python -m claimx config page > docs/configuration.md
	$(BIN)/python -m claimx tables page > docs/tables.md

.PHONY: lock
lock: ## compile requirements*.in to pinned files with hashes (needs uv)
	@test -n "$(UV)" || { echo "make lock needs uv on the path" >&2; exit 1; }
	for part in requirements requirements-dev requirements-reader requirements-bench; do \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-header $$part.in -o $$part.txt || exit 1; done

.PHONY: audit
audit: $(VENV)/.stamp ## look the pinned dependencies up among known vulnerabilities (needs a network)
	$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.txt

.PHONY: clean
clean: ## remove environments, caches and what the demo left
	rm -rf $(VENV) $(READER) $(BENCH) .azurite var .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
