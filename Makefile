# Everything runs in .venv, made on first use; `make help` lists the targets.
PYTHON   ?= python3
PROFILE  ?= quick
SYSTEMS  ?= all
MODELS   ?=
JOBS     ?= $(shell nproc 2>/dev/null || echo 2)
RESULTS  ?= results
VENV     := .venv
BENCH    := $(VENV)/bin/dysts-bench
# Not empty where a model of darts runs: it is named, or nothing is and the profile is a larger one.
DARTS    := $(or $(findstring darts,$(MODELS)),$(filter all,$(MODELS)),$(if $(MODELS),,$(filter-out quick,$(PROFILE))))
PIP      := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help benchmark test data leaderboard report lint bench bench-peers calibrate certify docs site test-report test-wheel test-resume test-faults test-delay test-diffrax clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1	\2/' | expand -t 22
	@echo "  variables: PROFILE=quick|standard|full SYSTEMS=Lorenz,Rossler MODELS=nvar,esn JOBS=2"

benchmark: $(VENV)/.zoo $(if $(DARTS),$(VENV)/.darts) ## fit and score the models of PROFILE on every system, print the leaderboard
	@$(BENCH) run --profile $(PROFILE) --systems $(SYSTEMS) $(if $(MODELS),--models $(MODELS)) --jobs $(JOBS) --results $(RESULTS)

data: $(VENV)/.core ## generate the trajectories of all systems into the cache
	@$(BENCH) run --data-only --profile $(PROFILE) --systems $(SYSTEMS) --jobs $(JOBS) --results $(RESULTS)

leaderboard: $(VENV)/.core ## print the leaderboard of what is under results/
	@$(BENCH) leaderboard --results $(RESULTS)

report: $(VENV)/.core ## write report/index.html: leaderboard, heat map, a page a system and a model
	@$(PIP) -e '.[report]'
	@$(BENCH) report --results $(RESULTS)

test: $(VENV)/.dev ## run the test suite
	@$(VENV)/bin/python -m pytest -n $(JOBS)

lint: $(VENV)/.dev ## format check, lint and types
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

bench: $(VENV)/.dev ## all systems from process start to arrays, cold and warm, beside dysts
	@$(VENV)/bin/python -m benchmarks.start

bench-peers: $(VENV)/.dev ## trajectories, spectra, metrics, reservoirs and Mamba layers beside heyoka, scipy, lyapax, nolds, antropy, dysts, reservoirpy, mambapy, transformers
	@$(PIP) -e '.[bench]'
	@$(VENV)/bin/python -m benchmarks.peers
	@$(VENV)/bin/python -m benchmarks.spectra
	@$(VENV)/bin/python -m benchmarks.metrics
	@$(VENV)/bin/python -m benchmarks.reservoir
	@$(VENV)/bin/python -m benchmarks.scans

certify: $(VENV)/.core ## measure how long trajectories are right, where anything has changed
	@$(PIP) -e '.[certify]'
	@$(BENCH) certify --jobs $(JOBS)

calibrate: $(VENV)/.core ## measure what the catalog says of entries that changed, and of published exponents
	@$(BENCH) calibrate --jobs $(JOBS)
	@$(BENCH) calibrate --literature

docs: $(VENV)/.core ## write the pages of docs/ that are made from the catalog, docstrings and reference results
	@$(PIP) -e '.[plots]'
	@$(VENV)/bin/python -m dysts_bench.catalog_pages
	@$(VENV)/bin/python -m dysts_bench.certificates_page
	@$(VENV)/bin/python -m dysts_bench.metrics_page
	@$(VENV)/bin/python -m dysts_bench.study_page
	@$(VENV)/bin/python -m dysts_bench.zoo_page
	@$(VENV)/bin/python -m dysts_bench.phyxmamba_page
	@$(VENV)/bin/python -m dysts_bench.ablations_page
	@$(VENV)/bin/python -m dysts_bench.scaling_page
	@$(VENV)/bin/python -m dysts_bench.reproduction_page
	@$(VENV)/bin/python -m dysts_bench.findings_page
	@$(VENV)/bin/python -m dysts_bench.budget_page

site: $(VENV)/.core ## build the documentation into site/
	@$(PIP) -e '.[docs,report]'
	@$(VENV)/bin/python -m sphinx -q -W --keep-going -b html -d docs/_build docs site
	@echo "site/index.html"

test-report: $(VENV)/.dev ## the report in a headless Chromium (which must be installed)
	@$(PIP) -e '.[browser]'
	@$(VENV)/bin/python -m pytest -m browser tests/test_report_browser.py

test-wheel: $(VENV)/.dev ## build the package, install it elsewhere, run it there
	@$(VENV)/bin/python -m pytest -m wheel tests/test_wheel.py

test-resume: $(VENV)/.dev ## kill a run ten times, resume, compare leaderboards byte for byte
	@$(VENV)/bin/python -m benchmarks.resume

test-faults: $(VENV)/.dev ## crash, hang, kill and starve runs, fill their disk, damage their files, lose workers
	@$(VENV)/bin/python -m pytest -m faults tests/test_faults.py

test-delay: $(VENV)/.dev ## delay systems against jitcdde over 50 delays (needs a C compiler)
	@$(PIP) -e '.[delay]'
	@$(VENV)/bin/python -m benchmarks.delay

test-diffrax: $(VENV)/.dev ## trajectories of every smooth system on diffrax against the built-in integrator
	@$(VENV)/bin/python -m pytest -n $(JOBS) -m diffrax tests/test_diffrax.py

clean: ## remove the environment (results and caches stay)
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 …"; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing dysts-bench"
	@$(PIP) -e .
	@touch $@

$(VENV)/.zoo: $(VENV)/.core
	@echo "installing JAX and PyTorch, which neural networks need"
	@$(PIP) -e '.[jax,torch]'
	@touch $@

$(VENV)/.darts: $(VENV)/.zoo
	@echo "installing darts and its libraries, which models of the larger profiles need"
	@$(PIP) -e '.[darts,prophet]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "installing what the tests need"
	@$(PIP) -e '.[dev]'
	@touch $@
