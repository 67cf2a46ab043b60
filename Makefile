# make demo       sets everything up and runs the demo grid
# make test       sets everything up and runs the quick tests: minutes
# make test-all   the slow ones too: kills, Slurm, browsers, little memory, long runs
# make docs       writes what is generated from the code: reference, schema, diagram
# make bench      measures speed and memory on this machine, into benchmarks/results/
# make bench-gpu  checks and measures a GPU within ten minutes, with the torch that python3 has there
# All need Python 3.11 or newer, and all but bench-gpu venv and pip. A second call is quick.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# More options for Snakemake: make demo RUN_ARGS="--cores 4"
RUN_ARGS ?=

.PHONY: demo test test-slow test-all check bench bench-gpu bench-gpu-wheels docs clean

demo: $(VENV)/.installed
	$(BIN)/nst demo config/demo
	$(BIN)/nst run config/config.yaml $(RUN_ARGS)
	@echo
	@echo "Pictures: results/demo/cells/    Contact sheet: results/demo/sheets/all.png"
	@echo "Report:   results/demo/report/index.html"

# Tests run side by side, a core each, the longest files first.
WORKERS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
QUICK := not slow and not slurm and not browser and not gpu
test: $(VENV)/.installed-test
	$(PYTEST) -m "$(QUICK)" -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

# What `make test` leaves out; last, one at a time, what needs the machine for itself.
test-slow: $(VENV)/.installed-test
	$(PYTEST) -m "(slow or browser) and not serial and not slurm and not gpu" -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)
	$(PYTEST) -m "(serial or slurm) and not gpu" $(PYTEST_ARGS)

test-all: test test-slow

# What continuous integration checks besides the tests.
check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/nst demo config/demo # the workflow's plan wants its pictures
	$(BIN)/snakemake --lint

# What is generated from the code: config/README.md, the schema, the diagram of docs/architecture.md.
docs: $(VENV)/.installed
	$(BIN)/python -m tools.write_docs

# Some three quarters of an hour on two cores with nothing else running; BENCH_ARGS="--device cuda" for a GPU.
BENCH_ARGS ?=
bench: $(VENV)/.installed
	$(BIN)/python benchmarks/kernels.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/evaluation.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/estimate.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/roofline.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/scaling.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/planning.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/threads.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/report.py $(BENCH_ARGS)
	@echo
	@echo "As root, with slurmctld, slurmd and slurm-client installed: $(BIN)/python benchmarks/cluster.py"
	@echo "With VGG-19's weights (a state dict of torchvision's), two more:"
	@echo "  benchmarks/peers.py            against neural-style from PyPI, in an environment of its own:"
	@echo "      python3 -m venv peer && peer/bin/pip install neural-style==0.5.7"
	@echo "      $(BIN)/python benchmarks/peers.py --weights vgg19.pth --peer-python peer/bin/python"
	@echo "  benchmarks/encoder_quality.py  the compact encoder, judged by VGG-19:"
	@echo "      $(BIN)/python benchmarks/encoder_quality.py --teacher vgg19.pth --contents DIR --styles DIR"

# Installs nothing: PYTHON is one that has torch, torchvision, numpy, pandas, pillow, safetensors and
# scikit-image. What else the engine imports comes from .wheels/, if it is missing.
bench-gpu:
	$(PYTHON) benchmarks/gpu.py $(BENCH_ARGS)

# Where there is a network: the wheels (32 MB) to carry to a Linux machine (x86-64) with this Python.
GPU_PYTHON ?= 3.12
FETCH = $(PYTHON) -m pip download --quiet --dest .wheels --only-binary=:all: --implementation cp \
	--python-version $(GPU_PYTHON) $(foreach n,5 17 27 28,--platform manylinux_2_$(n)_x86_64) --platform manylinux2014_x86_64
bench-gpu-wheels:
	rm -rf .wheels
	$(FETCH) filelock psutil pydantic pyyaml
	$(FETCH) --no-deps imagecodecs tifffile
	du -sh .wheels

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
	rm -rf $(VENV) .snakemake .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
