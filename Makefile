# Every target sets up what it needs by itself: a virtual environment in .venv, from pyproject.toml.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell $(PYTHON) -c 'import hashlib, pathlib; print(hashlib.sha256(pathlib.Path("pyproject.toml").read_bytes()).hexdigest()[:12])')

.PHONY: help run test check format bench proof clean
BENCH := $(VENV)/.bench-$(lastword $(subst -, ,$(READY)))

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("batchrun needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@echo "setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@rm -f $(VENV)/.ready-*
	@touch $@

run: $(READY) ## Animate the demo catalog on this machine: free, no key
	@$(BIN)/batchrun jobs/catalog.yaml --preview

test: $(READY) ## Run the tests
	@$(BIN)/python -m pytest

check: $(READY) ## Lint, types, import order, format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY) ## Format the code and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(BENCH): $(READY)
	@echo "adding what batchrun is measured against to $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@rm -f $(VENV)/.bench-*
	@touch $@

# ARGS=--quick is a short run, ARGS=--full goes up to a queue of a million jobs, ARGS=--readme refreshes the README's table and picture;
# ARGS="crowd store" asks these questions only.
ARGS ?=
bench: $(BENCH) ## Measure, beside a bare loop, the vendor's SDK and a durable engine (about 25 minutes; ARGS=--quick: 7)
	@$(BIN)/python -m tests.bench $(ARGS)

# Sizes of `make proof`; the tests run the same proofs in small ones.
SEED ?= 1
KILLS ?= 300
CUTS ?= 3000
CROWD ?= 2 4 8
CAPS ?= 5
JOBS ?= 20000
CASES ?= 10000

proof: $(READY) ## Prove the promises: simulated nights, kills, crowds, frozen processes, power cuts (about 30 minutes)
	@$(BIN)/python -m tests.sim crash
	@$(BIN)/python -m tests.sim nights --jobs $(JOBS) --seed $(SEED)
	@$(BIN)/python -m tests.sim downloads --jobs $(JOBS) --seed $(SEED)
	@$(BIN)/python -m tests.proof hidden --cases $(CASES) --seed $(SEED)
	@$(BIN)/python -m tests.proof torn --cuts $(CUTS) --seed $(SEED)
	@$(BIN)/python -m tests.proof kills --kills $(KILLS) --seed $(SEED)
	@$(BIN)/python -m tests.proof processes --processes $(CROWD) --seed $(SEED)
	@$(BIN)/python -m tests.proof rate --seed $(SEED)
	@$(BIN)/python -m tests.proof caps --times $(CAPS) --seed $(SEED)
	@$(BIN)/python -m tests.proof frozen --seed $(SEED)
	@$(BIN)/python -m tests.proof frozen --short-lease --hide-inputs --moments posting intent accepted --seed $(SEED)

clean: ## Remove the virtual environment, caches and previews
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis build dist videos-preview jobs/.batchrun/preview jobs/.batchrun/preview.db* jobs/.batchrun/rehearsal*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
