# Everything runs from the virtual environment that `make setup` prepares; nothing needs root.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.12 python3 python; do "$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := requirements/development.txt
STAMP := $(VENV)/.stamp
RESULTS := .test-results
FAST := not system and not infrastructure
# A uv that answers (a pyenv shim may not), else our own.
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .tools/bin/uv)
UV_TOOL := $(filter .tools/bin/uv,$(UV))

.PHONY: help setup demo up test lint types fast system schema lock clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## Prepare .venv with everything, in locked versions

.tools/bin/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.12 was not found: install it, or run make with PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .tools && .tools/bin/pip install --quiet --disable-pip-version-check uv

$(STAMP): $(REQUIREMENTS) pyproject.toml worker/pyproject.toml $(UV_TOOL)
	@test -n "$(PYTHON)" || { echo "Python 3.12 was not found: install it, or run make with PYTHON=/path/to/python3.12"; exit 1; }
	test -x $(BIN)/python || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --require-hashes $(REQUIREMENTS)
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --editable . --editable worker
	@touch $@

demo: setup ## Train and evaluate Cartpole on this machine's CPU; leaves checkpoints, metrics, pictures and a video
	@$(BIN)/isaaclab-flows demo

test: lint types fast system ## Run every check and test that can run here

up: setup ## Start a local studio: Prefect's server and UI, workers, deployments
	@$(BIN)/isaaclab-flows up

lint: setup ## Check style, format, the direction of imports, and that nothing is dead
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/vulture
	$(BIN)/typos

types: setup ## Check types, strictly
	$(BIN)/mypy

fast: setup ## Run the tests that need no simulator, server or engine, with coverage
	rm -rf $(RESULTS) && mkdir -p $(RESULTS)
	$(BIN)/pytest -n 2 -m "$(FAST)" --cov --cov-report= --junitxml=$(RESULTS)/fast.xml

system: setup ## Run the tests that drive the simulator, Docker, servers, a browser and the CDK
	mkdir -p $(RESULTS)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not ($(FAST))" --durations=25 --cov --cov-append --cov-report=term:skip-covered --junitxml=$(RESULTS)/system.xml

schema: setup ## Write the JSON Schemas of the configurations again
	$(BIN)/python -m isaaclab_flows.schemas
	$(BIN)/python -m infrastructure.config

clean: ## Remove what make has made, but not outputs
	rm -rf .venv .tools $(RESULTS) .mypy_cache .ruff_cache .pytest_cache cdk.out .coverage*

lock: $(UV_TOOL) ## Lock all dependencies again (with hashes, without hosts)
	$(UV) pip compile --quiet --python-version 3.12 --generate-hashes --no-emit-index-url --no-header --no-emit-package prefect-aws-batch --all-extras --group dev -o requirements/development.txt pyproject.toml
	$(UV) pip compile --quiet --python-version 3.12 --generate-hashes --no-emit-index-url --no-header --no-emit-package prefect-aws-batch -c requirements/development.txt --extra aws -o requirements/orchestrator.txt pyproject.toml
	$(UV) pip compile --quiet --python-version 3.12 --generate-hashes --no-emit-index-url --no-header -c requirements/development.txt --extra isaaclab -o requirements/simulator.txt pyproject.toml

synth: $(STAMP) ## Synthesise the AWS deployment (CONFIG=infrastructure/config.yaml), offline
	$(BIN)/python -m infrastructure.app $(or $(CONFIG),$(wildcard infrastructure/config.yaml),infrastructure/config.example.yaml)
