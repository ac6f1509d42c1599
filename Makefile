# make demo       the main job: scikit-learn's digits from 5 labels per class (table and picture)
# make test       the tests and the examples in docstrings
# make fuzz       the fuzz tests with FUZZ_EXAMPLES random inputs each (`make test` has a few, always the same)
# make install    only .venv, with skdgm in editable mode; every target below does it by itself
# make lint       ruff (lint, format), mypy and codespell
# make format     let ruff mend what it can
# make test-min   the tests with the lowest supported versions, in .venv-min
# make coverage   the tests, and which lines and branches of skdgm/ they miss
# make dist       wheel and sdist in dist/, and a smoke test of the wheel in .venv-dist
# make doc        the documentation and a test of it (in Chromium, if there is one): doc/_build/html/index.html
# make bench      examples/benchmarks, against other libraries
# make replicate  examples/replication, the papers' tables; resumes where it stopped
# make clean      remove what the targets made, except .venv
#
# Variables, e.g. `make test PYTHON=/usr/bin/python3.12`:
#   PYTHON       the interpreter that .venv is made with (3.11 or newer)
#   PYTHON_MIN   the same for .venv-min (3.11)
#   PIP_EXTRA    more arguments for every `pip install`
#   CONSTRAINTS  the pins of .venv; /dev/null lifts them
#   TORCH_INDEX  an index of wheels to take the old torch of test-min from. Without it pip takes torch from its
#                default index, which on Linux brings gigabytes of CUDA libraries; PyTorch's CPU index avoids that.
#   FUZZ_EXAMPLES  the number of inputs of each test of make fuzz
#   PYTEST_ARGS  e.g. PYTEST_ARGS="tests/test_display.py -x"
#   SPHINXOPTS   e.g. SPHINXOPTS="-q -D plot_gallery=0" for a quick build that runs no example, warnings or not
# Where wheels come from is pip's own configuration (pip.conf, PIP_INDEX_URL, PIP_FIND_LINKS).

PYTHON ?= python3
PYTHON_MIN ?= python3.11
PIP_EXTRA ?=
CONSTRAINTS ?= constraints.txt
TORCH_INDEX ?=
PYTEST_ARGS ?= -q -n auto --maxprocesses=8 --dist=worksteal
FUZZ_EXAMPLES ?= 300
SPHINXOPTS ?= -q -W --keep-going

ifeq ($(OS),Windows_NT)
SCRIPTS := Scripts
EXE := .exe
else
SCRIPTS := bin
EXE :=
endif
BIN := .venv/$(SCRIPTS)
BIN_MIN := .venv-min/$(SCRIPTS)
BIN_DIST := .venv-dist/$(SCRIPTS)
INSTALLED := .venv/.installed
PIP_INSTALL = -m pip --disable-pip-version-check install -qq $(PIP_EXTRA)
PYTEST = OMP_NUM_THREADS=1 MPLBACKEND=Agg

# $(call check_python,INTERPRETER,WAY OUT): stop with a clear message unless it is Python 3.11 or newer
check_python = $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "skdgm needs Python 3.11 or newer, got $$($(1) --version 2>&1). $(2)" >&2; exit 1; }
# $(call make_venv,FOLDER,INTERPRETER): a virtual environment, or nothing at all
make_venv = $(2) -m venv $(1) || { rm -rf $(1); exit 1; }
# $(call run_all,FOLDER): run its scripts in turn, up to the first that fails
run_all = $(if $(wildcard $(1)/[a-z]*.py),,echo "$(1) holds no script yet";) \
	set -e; for script in $(wildcard $(1)/[a-z]*.py); do echo "$$script"; $(BIN)/python "$$script"; done

.PHONY: demo test fuzz install lint format test-min coverage dist doc bench replicate clean

demo: $(INSTALLED)
	@MPLBACKEND=Agg $(BIN)/python examples/digits_few_labels.py

test: $(INSTALLED)
	@$(PYTEST) $(BIN)/python -m pytest $(PYTEST_ARGS)

fuzz: $(INSTALLED)
	@FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PYTEST) $(BIN)/python -m pytest $(PYTEST_ARGS) tests/test_fuzz.py

install: $(INSTALLED)
	@:

lint: $(INSTALLED)
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/codespell

format: $(INSTALLED)
	@$(BIN)/ruff check --quiet --fix --exit-zero
	@$(BIN)/ruff format --quiet

test-min: .venv-min/.installed
	@$(PYTEST) $(BIN_MIN)/python -m pytest $(PYTEST_ARGS)

coverage: $(INSTALLED)
	@$(PYTEST) $(BIN)/python -m pytest $(PYTEST_ARGS) --cov

# The wheel is built from the sdist, so both are complete. .venv-dist holds the wheel and what it requires, nothing else.
dist: .venv/.installed-dist
	@rm -rf dist .venv-dist
	@$(BIN)/python -m build --quiet --no-isolation
	@$(BIN)/python -m venv .venv-dist
	@$(BIN_DIST)/python $(PIP_INSTALL) -c $(CONSTRAINTS) torch
	@$(BIN_DIST)/python $(PIP_INSTALL) -c $(CONSTRAINTS) dist/*.whl
	@$(BIN_DIST)/python tools/check_dist.py dist

doc: .venv/.installed-doc
	@rm -rf doc/generated doc/_build/html
	@$(PYTEST) $(BIN)/python -m sphinx $(SPHINXOPTS) doc doc/_build/html
	@SKDGM_SITE=doc/_build/html $(PYTEST) $(BIN)/python -m pytest -q tests/test_site.py
	@echo "doc/_build/html/index.html"

bench: .venv/.installed-bench
	@$(call run_all,examples/benchmarks)

replicate: $(INSTALLED)
	@$(call run_all,examples/replication)

clean:
	@rm -rf .venv-min .venv-dist .coverage* .mypy_cache .pytest_cache .ruff_cache build dist doc/_build doc/gallery doc/generated
	@find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python$(EXE):
	@$(call check_python,$(PYTHON),Name another one: make PYTHON=/path/to/python3.12)
	@$(call make_venv,.venv,$(PYTHON))

# torch first and under its pin, so that a CPU wheel that pip's configuration offers is taken and nothing replaces it.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python$(EXE)
	@$(call check_python,$(BIN)/python,Remove .venv and call make again)
	@echo "Installing into .venv (minutes on the first call: torch is large)"
	@$(BIN)/python $(PIP_INSTALL) -c $(CONSTRAINTS) torch
	@$(BIN)/python $(PIP_INSTALL) -c $(CONSTRAINTS) hatchling
	@$(BIN)/python $(PIP_INSTALL) -c $(CONSTRAINTS) --no-build-isolation -e '.[test,lint,plot,progress,save,onnx,search,tracking]'
	@touch $@

.venv/.installed-%: $(INSTALLED)
	@echo "Installing what 'make $*' needs into .venv"
	@$(BIN)/python $(PIP_INSTALL) -c $(CONSTRAINTS) --no-build-isolation -e '.[$*]'
	@touch $@

$(BIN_MIN)/python$(EXE):
	@$(call check_python,$(PYTHON_MIN),Name a Python 3.11: make test-min PYTHON_MIN=/path/to/python3.11)
	@$(call make_venv,.venv-min,$(PYTHON_MIN))

.venv-min/.installed: pyproject.toml constraints-min.txt | $(BIN_MIN)/python$(EXE)
	@echo "Installing into .venv-min"
	@$(BIN_MIN)/python $(PIP_INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints-min.txt torch
	@$(BIN_MIN)/python $(PIP_INSTALL) -c constraints-min.txt hatchling
	@$(BIN_MIN)/python $(PIP_INSTALL) -c constraints-min.txt --no-build-isolation -e '.[test]'
	@touch $@
