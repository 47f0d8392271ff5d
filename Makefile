# Paddock. `make` or `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.SHELLFLAGS := -ec

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MEMBERS := libs/common services/auth services/ingest services/leagues services/scoring services/analytics services/webhooks \
           gateway tools/trackside tools/mailbox tools/paddock tools/devstack
DEPLOYABLES := auth ingest leagues scoring analytics webhooks gateway trackside mailbox devstack cli
EDITABLE := $(foreach member,$(MEMBERS),-e $(member))

.PHONY: help run test lint types fmt check migrate e2e chaos bench verify clean k8s-check docs lock sbom audit install

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(BIN)/uv: requirements/build.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Paddock needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	@touch $@

$(VENV)/.run: $(BIN)/uv requirements/devstack.txt $(foreach member,$(MEMBERS),$(member)/pyproject.toml)
	@echo "Installing what Paddock runs on …"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/devstack.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo "Installing what its developers use …"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

install: $(VENV)/.dev ## Make the virtual environment with everything a developer needs

run: $(VENV)/.run ## Run a race weekend: servers, six services, gateway (PORT=8000 SOURCE=sim|live|recorded PACE=120)
	@exec env $(foreach name,PORT SOURCE PACE TEAMS RECORDED SEASON ROUNDS,$(if $($(name)),$(name)="$($(name))")) \
	  $(BIN)/python -m devstack run

test: $(VENV)/.dev ## Unit, integration, contract and architecture tests on real servers
	@$(BIN)/python -m pytest -n 3 --dist loadfile -q

e2e: $(VENV)/.dev ## Whole race weekends over HTTP
	@$(BIN)/python -m pytest -q --timeout 600 tests/e2e

chaos: $(VENV)/.dev ## Kill, freeze and cut off everything, and count every effect (about ten minutes)
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -q --timeout 600 -m 'not timed' tests/chaos
	@$(BIN)/python -m pytest -q --timeout 600 -m timed tests/chaos

lint: $(VENV)/.dev ## Style, import contracts, sizes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev ## mypy --strict on sources, tests and examples
	@$(BIN)/mypy libs services gateway tools tests bench deploy conftest.py
	@$(BIN)/mypy examples/python-subscriber/subscriber.py
	@$(BIN)/mypy examples/faststream-subscriber

fmt: $(VENV)/.dev ## Format, and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

check: lint types verify ## Everything that needs no server

docs: $(VENV)/.dev ## Write OpenAPI, AsyncAPI, events.md, schemas and .env.example from the code
	@$(BIN)/python -m paddock docs write

verify: $(VENV)/.dev ## Fail when a generated document is stale, or an event breaks the promise of the last release
	@$(BIN)/python -m paddock docs check
	@$(BIN)/python -m paddock events compat

migrate: $(VENV)/.run ## Roles, schemas, migrations and streams (DATABASE_URL of an administrator, NATS_URL)
	@$(BIN)/python -m paddock migrate

bench: $(VENV)/.dev ## Every benchmark, each a ratio measured in one run
	@for file in bench/*.py; do echo "== $$file"; $(BIN)/python $$file; done

k8s-check: $(VENV)/.dev ## Render the Kubernetes manifests and hold them against the API's schemas and our policy
	@$(BIN)/python deploy/k8s/check.py

lock: $(BIN)/uv ## Resolve again and write requirements/*.txt with hashes
	@$(BIN)/uv lock --quiet --upgrade
	@for name in $(DEPLOYABLES); do \
	  $(BIN)/uv export --quiet --frozen --no-header --no-annotate --no-dev --no-emit-workspace --package paddock-$$name \
	    -o requirements/$$name.txt >/dev/null; done
	@$(BIN)/uv export --quiet --frozen --no-header --no-annotate --no-emit-workspace --all-packages --group dev \
	  -o requirements/dev.txt >/dev/null
	@$(BIN)/uv export --quiet --frozen --no-header --no-annotate --only-group build -o requirements/build.txt >/dev/null

sbom: $(VENV)/.dev ## A CycloneDX bill of materials for each deployable, into dist/sbom
	@$(BIN)/python deploy/supply/sbom.py dist/sbom

audit: $(VENV)/.dev ## Ask an advisory service about every locked package (needs the network; exit 3: it could not be asked)
	@$(BIN)/python deploy/supply/audit.py

clean: ## Remove the state of `make run`; the virtual environment stays
	@if [ -x $(BIN)/python ] && $(BIN)/python -c 'import devstack' 2>/dev/null; then $(BIN)/python -m devstack clean; \
	  else rm -rf .paddock; fi
