# Every target sets up what it needs by itself: a virtual environment in .venv, nothing global, no root.
# Needs Python 3.11 or newer, make and a package index; another interpreter: make setup PYTHON=/path/to/python3

.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from
PACKS := corp jp-gov
# Three workers for two cores, whole files: tests wait for servers, which one file shares since they are dear to start.
WORKERS ?= 3
# Where opa is: $OPA, PATH, .cache/bin (make peers), Go's own folder.
OPA_FOUND = OPA=$$($(BIN)/python -c 'from tests.peers import find_peer; print(find_peer("opa") or "")'); export OPA

.PHONY: help
help: ## Show this list
	@echo 'zt_engine: zero-trust decisions for reverse proxies'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'
	@echo
	@echo 'First time here? make demo'

.PHONY: setup
setup: $(STAMP) ## Make .venv with the locked dependencies (the other targets do it by themselves)
	@echo "$(VENV) is ready; next: make demo"

$(STAMP): requirements/dev.txt pyproject.toml .ci/find-python
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || \
	    { python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && rm -rf $(VENV) && \
	      echo "setting up $(VENV) with $$python" && "$$python" -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: $(STAMP) ## A real nginx, a backend and the sidecar: requests that tell the story (ARGS="--lang ja --keep")
	@$(BIN)/zt demo $(ARGS)

.PHONY: test
test: $(STAMP) ## All tests; lists every peer that is missing (ARGS="-k nginx")
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

.PHONY: check
check: $(STAMP) lint type ## Everything that is true without running the product: lint, types, layers, locks, policies
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/locks.py
	@$(OPA_FOUND); \
	    if test -n "$$OPA"; then $(BIN)/zt policy check $(addprefix policies/,$(PACKS)); \
	    elif test -n "$$CI"; then echo 'no opa: the policies cannot be checked' >&2; exit 1; \
	    else echo 'policies not checked, since there is no opa here: make peers'; fi

.PHONY: bench
bench: $(STAMP) ## Measure against OPA and a no-op app; writes benchmarks/results/latest.json
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: conformance
conformance: $(STAMP) ## OPA's own conformance vectors through the wasm engine
	@$(BIN)/python -m tests.conformance.run $(ARGS)

.PHONY: peers
peers: $(STAMP) ## Build what tests compare with (OPA) into .cache; list what else a machine may have
	@.ci/peers

.PHONY: packs
packs: $(STAMP) ## Compile the packs in policies/ into policies/compiled
	@$(OPA_FOUND); test -n "$$OPA" || { echo 'compiling takes opa: make peers' >&2; exit 1; }; \
	    mkdir -p policies/compiled; for pack in $(PACKS); do \
	        $(BIN)/zt policy build policies/$$pack --out policies/compiled/$$pack.tar.gz || exit 1; done

.PHONY: lint
lint: $(STAMP) ## ruff
	@$(BIN)/ruff check .

.PHONY: type
type: $(STAMP) ## mypy: strict for the packages, lighter for tests and benchmarks
	@$(BIN)/mypy
	@$(BIN)/mypy tests benchmarks

.PHONY: fmt
fmt: $(STAMP) ## Format Python and Rego
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .
	@$(OPA_FOUND); test -z "$$OPA" || "$$OPA" fmt --write policies

.PHONY: coverage
coverage: $(STAMP) ## Branch coverage of the pure core, line by line
	@rm -rf .cache/coverage && mkdir -p .cache/coverage
	@$(BIN)/coverage run -m pytest -q tests/unit tests/contract
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --include='zt_engine/core/*,device_inventory/*'

.PHONY: lock
lock: $(STAMP) ## Make the lock files again from pyproject.toml (needs uv; taken from the package index if missing)
	@uv=$$(command -v uv || true); \
	    test -n "$$uv" || { test -x .cache/uv-venv/bin/uv || { $(BIN)/python -m venv .cache/uv-venv && \
	        .cache/uv-venv/bin/python -m pip install --quiet --disable-pip-version-check uv; }; \
	        uv=.cache/uv-venv/bin/uv; }; \
	    $(BIN)/python .ci/locks.py "$$uv"

.PHONY: clean
clean: ## Remove everything that was made here
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
