# `make` lists the commands. Each one sets itself up in .venv first; a second call installs nothing.

# Any Python from 3.11; the first that works is taken. Choose one with `make PYTHON=/path/to/python3 ...`.
PYTHON ?= python3.11 python3.12 python3.13 python3
VENV := .venv
BIN := $(VENV)/bin
# Tests run side by side in so many processes, each file in one of them; studies under test use two cores.
PROCESSES ?= 2
PINS := pyproject.toml constraints.txt
# As pip does with what it installs; else a first run, or any run where Python may not write its caches, compiles
# our modules anew in each of its processes, which takes a second in each.
COMPILE := @$(BIN)/python -m compileall -q studies search_spaces trainers reports

.PHONY: help quickstart test test-fast check docs ui clean
.DEFAULT_GOAL := help

help:
	@echo 'make quickstart   run the quickstart study (again: resumes, or shows what it found)'
	@echo 'make ui           open the MLflow pages of the studies run here'
	@echo 'make test         run the tests'
	@echo 'make test-fast    those that need neither programs nor servers, in two minutes'
	@echo 'make check        the whole gate: lint, format, types, tests'
	@echo 'make docs         render the documentation into build/docs'
	@echo 'make clean        remove the environment and caches; the workspace with your results stays'

quickstart: $(VENV)/.installed
	$(BIN)/groundrules run quickstart

ui: $(VENV)/.installed
	$(BIN)/groundrules ui

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder -m fast

check: $(VENV)/.installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" bash infra/check.sh

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --config-file infra/mkdocs.yml
	@echo 'open build/docs/index.html'

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Both stamps are written last, so an interrupted install is taken up again by the next call.
$(VENV)/.installed: $(PINS) | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --editable . --constraint constraints.txt
	$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: $(PINS) | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --editable '.[dev,docs]' --constraint constraints.txt
	$(COMPILE)
	@touch $(VENV)/.installed $@

$(VENV)/pyvenv.cfg:
	@for python in $(PYTHON); do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "making $(VENV) with $$("$$python" --version); installing takes some minutes, once"; \
			"$$python" -m venv $(VENV) && exit 0; \
			rm -rf $(VENV); exit 1; \
		fi; \
	done; \
	echo 'No Python of version 3.11 or newer with its venv module was found (tried: $(PYTHON)).' >&2; \
	echo 'Install one (on Debian and Ubuntu: python3 and python3-venv), or name it:' >&2; \
	echo '    make PYTHON=/path/to/python3 quickstart' >&2; \
	exit 1
