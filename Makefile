# make demo   sets everything up and runs the demo grid
# make test   sets everything up and runs the tests
# Both need Python 3.11 or newer with venv and pip. A second call is quick.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# More options for Snakemake: make demo RUN_ARGS="--cores 4"
RUN_ARGS ?=

.PHONY: demo test check clean

demo: $(VENV)/.installed
	$(BIN)/nst demo config/demo
	$(BIN)/nst run config/config.yaml $(RUN_ARGS)
	@echo
	@echo "Pictures: results/demo/cells/    Contact sheet: results/demo/sheets/all.png"
	@echo "Report:   results/demo/report/index.html"

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# What continuous integration checks besides the tests.
check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/nst demo config/demo # the workflow's plan wants its pictures
	$(BIN)/snakemake --lint

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e ".[test]"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .snakemake .pytest_cache .mypy_cache .ruff_cache
