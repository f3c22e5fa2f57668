# flash-sale: `make help` lists what there is.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BENCH_VENV := .venv-bench
AUDIT_VENV := .venv-audit
BIN := $(VENV)/bin
JOBS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN) + 1)))
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder --durations=20 --durations-min=5
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help run test all-tests test-quick coverage lint types format docs dashboards dashboard-pictures pictures lock bench clean stack stack-tools stack-check rules drill ship-test chaos signals attacks failovers faults hooks newest matrix audit-dependencies bom dist release

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.runtime ## start the whole service with a demo sale on http://localhost:8000
	@exec $(BIN)/flash-sale run

stack: $(VENV)/.dev ## start Prometheus, Jaeger, the Collector, ... and the service as native processes (CROWD=20 sends shoppers)
	@$(BIN)/python -m deploy.stack tools alertmanager jaeger otelcol prometheus >/dev/null
	@exec $(BIN)/python -m deploy.stack up

stack-tools: $(VENV)/.dev ## build or install the programs of the stack and its tests that are missing, with Go and npm, into a cache
	@$(BIN)/python -m deploy.stack tools

test: $(VENV)/.dev ## run every check and every test, side by side (STACK=require: a skip is a failure)
	@$(MAKE) --no-print-directory -j3 lint types all-tests

all-tests: $(VENV)/.dev
	$(PYTEST) $(if $(RERUNS),--reruns $(RERUNS))

test-quick: $(VENV)/.dev ## run the tests that start no server but a store: no process of ours, no stack, no browser (90 s)
	$(PYTEST) -m "not slow and not starts"

coverage: $(VENV)/.dev ## measure branches in all but the slowest tests, and fail below the floor in pyproject.toml (ALL=1: in all); htmlcov/ shows it
	$(PYTEST) $(if $(ALL),,-m "not slow") --cov --cov-report=term:skip-covered --cov-report=html

lint: $(VENV)/.dev ## ruff and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

format: $(VENV)/.dev ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

stack-check: $(VENV)/.dev ## of a stack that runs: every target, panel and exemplar; then the drill, on a stack of its own
	$(BIN)/python -m deploy.stack check
	$(BIN)/python -m monitoring.drill

rules: $(VENV)/.dev ## write the rules of Prometheus anew from monitoring/rules and monitoring/slo.yaml
	$(BIN)/python -m monitoring.rules
	$(BIN)/python -m deploy.kubernetes

chaos: $(VENV)/.dev ## kill, stop, fill and cut everything at random (MINUTES=10, SEED=... repeats one, OTHER=COMMIT sells beside)
	PUT_DOWN=docs/reliability.md CHAOS_MINUTES=$(or $(MINUTES),10) CHAOS_OTHER=$(OTHER) FAULTS_SEED=$(SEED) $(BIN)/python -m pytest -q -s --timeout=0 -k endless tests/faults/test_chaos.py

signals: $(VENV)/.dev ## kill, stop and end processes and the store at random (ROUNDS=20, SEED=... repeats one) and send each order again
	PUT_DOWN=docs/reliability.md SIGNAL_ROUNDS=$(or $(ROUNDS),20) FAULTS_SEED=$(SEED) $(BIN)/python -m pytest -q -s --timeout=0 tests/faults/test_random_signals.py

failovers: $(VENV)/.dev ## let clusters and sentinels fail over ten times each in mid-sale, and write what came of it into docs/reliability.md (SEED=...)
	FAILOVERS=10 FAILOVER_COUNTS=docs/reliability.md FAULTS_SEED=$(SEED) $(BIN)/python -m pytest -q -s tests/faults/test_failovers.py

attacks: $(VENV)/.dev ## attack the service as docs/reliability.md says, and write there what was sent and answered (SEED=... repeats one)
	COUNTS=docs/reliability.md ATTACK_SEED=$(SEED) $(BIN)/python -m pytest -q tests/security

faults: $(VENV)/.dev ## run each fault of docs/reliability.md, and write there what was injected, lost and doubled (SEED=... repeats one)
	COUNTS=docs/reliability.md FAULTS_SEED=$(SEED) $(PYTEST) -n 2 -q tests/faults

drill: $(VENV)/.dev ## break the stack on purpose and see every alert fire (needs what `make stack` needs)
	$(BIN)/python -m monitoring.drill

ship-test: $(VENV)/.dev ## build the image, run docker-compose.yml in a real engine, sell, upgrade, restore, stop (minutes)
	@$(BIN)/python -m deploy.ship

docs: $(VENV)/.dev ## write docs/metrics.md, docs/monitoring.schema.json and the table in docs/architecture.md anew
	$(BIN)/python -m service.metrics_page > docs/metrics.md.new && mv docs/metrics.md.new docs/metrics.md
	$(BIN)/python -m service.monitoring.messages > docs/monitoring.schema.json.new && mv docs/monitoring.schema.json.new docs/monitoring.schema.json
	$(BIN)/python -m tests.architecture.packages

dashboards: $(VENV)/.runtime ## write monitoring/grafana/dashboards/ anew from monitoring/dashboards/
	$(BIN)/python -m monitoring.dashboards make

dashboard-pictures: $(VENV)/.dev ## play a sale on the stack and draw the dashboards into docs/pictures (needs chromium)
	$(BIN)/python -m monitoring.pictures make

pictures: $(VENV)/.dev ## take the pictures of the pages in docs/pictures anew (needs chromium)
	$(BIN)/python -m tests.browser.pictures

lock: $(VENV)/.dev ## pin the dependencies anew in requirements/ (UPGRADE=1: at their newest releases within the bounds)
	$(LOCK) --group build pyproject.toml -o requirements/runtime.txt
	$(LOCK) --group build --extra crowd -c requirements/runtime.txt pyproject.toml -o requirements/crowd.txt
	$(LOCK) --group dev --extra crowd -c requirements/runtime.txt pyproject.toml -o requirements/dev.txt
	$(LOCK) --group bench --extra crowd -c requirements/runtime.txt pyproject.toml -o requirements/bench.txt
	$(LOCK) --group audit -o requirements/audit.txt
	$(LOCK) --group clients -o requirements/clients.txt

matrix: $(VENV)/.dev ## run truemeter on every version that its ranges promise, and write docs/truemeter-matrix.md (needs the internet)
	$(BIN)/python -m deploy.matrix --write $(addprefix --python ,$(PYTHONS))

newest: $(VENV)/.dev ## forget bounds and pins for the newest releases of everything: for a check, not to be committed
	$(BIN)/python -m deploy.newest
	$(MAKE) --no-print-directory --assume-old=$(VENV)/.dev lock UPGRADE=1

audit-dependencies: $(AUDIT_VENV)/.installed ## look all that is pinned up among the known vulnerabilities (needs the internet)
	$(AUDIT_VENV)/bin/pip-audit --strict --disable-pip --require-hashes $(addprefix -r ,$(wildcard requirements/*.txt))

bom: $(AUDIT_VENV)/.installed ## write the bill of materials of what the service runs with to dist/ (CycloneDX)
	@mkdir -p dist
	$(AUDIT_VENV)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o dist/flash-sale.cdx.json requirements/runtime.txt

dist: $(VENV)/.dev ## build the wheel and the source distribution into dist/
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist

release: $(VENV)/.dev ## check this commit (clean, changelog, tag, .ci/run) and tag it as the version in pyproject.toml
	$(BIN)/python -m deploy.release

hooks: $(VENV)/.dev ## let git run ruff and the import contracts before each commit
	$(BIN)/pre-commit install

bench: $(BENCH_VENV)/.installed ## measure the service side by side with its peers, 15 minutes (QUICK=1: 3 minutes, docs/ stays)
	@$(BENCH_VENV)/bin/python -m benchmarks all $(if $(QUICK),--quick)

clean: ## remove .venv, .data and every cache
	rm -rf $(VENV) $(BENCH_VENV) $(AUDIT_VENV) .data .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis .coverage* htmlcov build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "flash-sale needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python3)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python requirements/crowd.txt pyproject.toml
	@echo "installing into $(VENV) (once)"
	@$(PIP) install --require-hashes -r requirements/crowd.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	@echo "installing the test tools into $(VENV) (once)"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(BENCH_VENV)/.installed: requirements/crowd.txt requirements/bench.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "flash-sale needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python3)" >&2; exit 1; }
	@echo "installing the service and its peers into $(BENCH_VENV) (once)"
	@test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/crowd.txt
	$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/bench.txt
	$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation -e .
	@touch $@

$(AUDIT_VENV)/.installed: requirements/audit.txt
	@test -n "$(PYTHON)" || { echo "flash-sale needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python3)" >&2; exit 1; }
	@echo "installing what looks at the dependencies into $(AUDIT_VENV) (once)"
	@test -x $(AUDIT_VENV)/bin/python || $(PYTHON) -m venv $(AUDIT_VENV)
	@$(AUDIT_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/audit.txt
	@touch $@
