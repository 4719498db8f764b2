# Everything starts here: `make` lists the targets.
.DEFAULT_GOAL := help

# The interpreter that builds .venv. Without PYTHON= the first of these that is 3.11 or 3.12 is
# taken; an interpreter that was named is taken as it is, and refused below if it does not fit.
SUPPORTED := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(firstword $(foreach name,python3 python3.12 python3.11,\
	$(shell $(name) -c '$(SUPPORTED)' >/dev/null 2>&1 && echo $(name))) python3)
O ?=
PATTERN ?=
PORT ?= 5000
RUNS := results/tracking

VENV := .venv
PY := $(VENV)/bin/python
SPHINX := $(PY) -m sphinx -W --keep-going -n -b html
CHECK := docs/site_check
# Half of what a test of real tasks does is waiting for one process.
WORKERS := -n auto --maxprocesses 4 --dist worksteal
# A tool with many requirements of its own has an environment of its own: .tools/NAME.lock, compiled
# from .tools/NAME.txt as .requirements.lock is. The targets that need it name its stamp.
TOOL = $(VENV)/tools/$(1)/.installed
PAGES := $(if $(PATTERN),-D sphinx_gallery_conf.filename_pattern='$(PATTERN)')

export KERAS_BACKEND := tensorflow
export MPLBACKEND := Agg
export TF_CPP_MIN_LOG_LEVEL ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# An environment of another Python than the one now asked for is built again.
ifneq ($(origin PYTHON),file)
ifneq ($(wildcard $(PY)),)
VERSION := import sys; print(*sys.version_info[:2])
ifneq ($(shell "$(PYTHON)" -c '$(VERSION)'),$(shell $(PY) -c '$(VERSION)'))
$(VENV)/.requirements: rebuild
endif
endif
endif

.PHONY: help install html page html-noplot check-site test stress lint audit runs tensorboard \
	project benchmark studies upstream clean rebuild

help:  ## List the targets
	@echo 'Usage: make TARGET [PYTHON=python3.12] [O="options"] [PATTERN=page]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile
	@echo
	@echo '  PYTHON=      the interpreter that builds .venv (3.11 or 3.12)'
	@echo '  O=           options for the command behind the target (sphinx, pytest, mlflow …)'
	@echo '  PORT=        where runs and tensorboard show their page; by default 5000'
	@echo '  PATTERN=     which pages to run, a regular expression: PATTERN=federated_chest'

install: $(VENV)/.installed  ## Build .venv from the pinned requirements

html: install  ## Run the whole gallery and build the site in docs/_build/html
	$(SPHINX) $(PAGES) docs docs/_build/html $(O)
	@echo "The site is ready: docs/_build/html/index.html"

page: install  ## Run the pages that PATTERN names and say where they are: make page PATTERN=leakage
	@test -n '$(PATTERN)' || { echo 'Name a page: make page PATTERN=leakage' >&2; exit 2; }
	$(SPHINX) $(PAGES) docs docs/_build/html $(O)
	@ls docs/_build/html/auto_examples/plot_*.html | grep -E -- '$(PATTERN)'

html-noplot: install  ## Build the site without running the pages
	$(SPHINX) -D plot_gallery=0 docs docs/_build/html $(O)
	@echo "The site is ready: docs/_build/html/index.html"

check-site: $(CHECK)/node_modules  ## Look at the built site in Chromium: accessibility, width, links
	node $(CHECK)/check.mjs $(O)

$(CHECK)/node_modules: $(CHECK)/package-lock.json
	@command -v npm >/dev/null || { \
		echo 'Expected Node and npm on the PATH. On Debian: apt-get install nodejs npm' >&2; exit 2; }
	npm ci --prefix $(CHECK) --ignore-scripts --no-audit --no-fund
	@touch $@

test: install  ## Run every test but the stress tests
	$(PY) -m pytest $(WORKERS) $(O)

stress: install  ## Run the stress tests, which take minutes: killed runs, thousands of damaged files
	$(PY) -m pytest $(WORKERS) -m stress $(O)

lint: install  ## Check style, formatting, layers of the package, spelling, and unsafe calls
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(PY) -m codespell_lib .
	$(PY) -m bandit --quiet --recursive --configfile pyproject.toml helpers docs examples .ci

audit: $(call TOOL,audit)  ## Ask for known vulnerabilities of everything that is pinned
	@.ci/audit $(O)

runs: $(call TOOL,mlflow)  ## Show the tracked runs in MLflow's web page, until Ctrl-C
	@test -f $(RUNS)/mlflow.db || { echo 'No run is tracked yet: see README.md' >&2; exit 2; }
	@echo 'The runs are at http://127.0.0.1:$(PORT); their curves, too: make tensorboard'
	@MLFLOW_DISABLE_TELEMETRY=true $(VENV)/tools/mlflow/bin/mlflow server --workers 1 \
		--port $(PORT) --backend-store-uri sqlite:///$(RUNS)/mlflow.db $(O)

tensorboard: install  ## Show the curves of the tracked runs in TensorBoard, until Ctrl-C
	@test -d $(RUNS)/tensorboard || { echo 'No run is tracked yet: see README.md' >&2; exit 2; }
	@echo 'The curves are at http://127.0.0.1:$(PORT)'
	@$(VENV)/bin/tensorboard --logdir $(RUNS)/tensorboard --port $(PORT) $(O)

project: $(call TOOL,template)  ## Write a project of your own, in the folder beside this one
	@$(VENV)/tools/template/bin/cookiecutter --output-dir .. examples/template source="$(CURDIR)" $(O)

benchmark: install  ## Time the federation on this machine
	$(PY) docs/benchmark/measure.py $(O)

studies: install  ## Run pages with several seeds and keep the tables in docs/studies; takes hours
	$(PY) docs/studies/run.py $(O)

upstream: install  ## Write what can be contributed to SubstraFL and to Substra's documentation
	$(PY) docs/upstream/build.py $(O)

clean:  ## Remove what builds, pages and tests leave behind (.venv stays)
	rm -rf docs/_build docs/auto_examples docs/generated docs/notebooks/*.ipynb
	rm -f docs/sg_execution_times.rst
	rm -rf .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info build results local-worker
	find . -path ./.git -prune -o -path ./$(VENV) -prune -o -type d \
		\( -name __pycache__ -o -name local-worker -o -name 'tmp_substrafl*' \) -prune \
		-exec rm -rf {} +
	find examples -type d -name results -prune -exec rm -rf {} +

# The lock is complete, so nothing is resolved again. uv needs a fifth of pip's time; pip, which
# knows its own settings of mirrors and proxies, takes over where uv reaches no index.
LOCKED := --no-deps --require-hashes
INSTALL = $(PY) -m uv pip install --quiet --system-certs --compile-bytecode --python $(1) $(LOCKED) \
	-r $(2) || $(1) -m pip install --quiet $(LOCKED) -r $(2)

# Two stamps: a changed lock builds the environment anew (nothing of the old one stays), a changed
# pyproject.toml only links the package again.
$(VENV)/.requirements: .requirements.lock
	@"$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { \
		found=$$("$(PYTHON)" --version 2>/dev/null) || found="nothing that runs as '$(PYTHON)'"; \
		echo "Expected Python 3.11 or 3.12. Received $$found."; \
		echo "Name another interpreter: make $(or $(firstword $(MAKECMDGOALS)),install) PYTHON=python3.12"; \
		exit 1; } >&2
	"$(PYTHON)" -m venv --clear $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' .requirements.lock >$(VENV)/uv.txt
	$(PY) -m pip install --quiet $(LOCKED) -r $(VENV)/uv.txt
	$(call INSTALL,$(PY),$<)
	@touch $@

$(VENV)/.installed: $(VENV)/.requirements pyproject.toml
	$(PY) -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/tools/%/.installed: .tools/%.lock $(VENV)/.installed
	$(PY) -m venv --clear $(@D)
	$(call INSTALL,$(@D)/bin/python,$<)
	@touch $@
