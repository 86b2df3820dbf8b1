# Everything that is done with this repository, on a machine that has Python 3.11 or newer, pip and make.
# `make` lists it. All of it installs into $(VENV); a second call installs nothing.

PYTHON ?= python3
VENV ?= .venv
# Given to every pytest call: make test PYTEST_ARGS="tests/adapters -x"
PYTEST_ARGS ?=

# The main job: every shipped config of the folder quickstart, then one report over all of them.
QUICKSTART_CONFIGS = $(patsubst plora/configs/%.yaml,%,$(sort $(wildcard plora/configs/quickstart/*.yaml)))
QUICKSTART_OUTPUT = runs/quickstart$(if $(QUICK),-quick)
# Sizes of the quick form (QUICK=1), as key=value.
QUICK_OVERRIDES = training.epochs=1
QUICKSTART_OVERRIDES = $(if $(QUICK),$(QUICK_OVERRIDES))

PY = $(VENV)/bin/python
PIP_INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt
# A worker per core, each with one thread: tests are many small computations, which two threads make hardly faster.
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal
MKDOCS = NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
USE = $(VENV)/.installed-quickstart
DEVELOP = $(VENV)/.installed-all

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all check docs bench results clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; \
		do printf '  make %-12s %s\n' "$$name" "$$text"; done

# ---------------------------------------------------------------------- use

quickstart: $(USE)  ## Install, learn the embedded streams with every quickstart config, write one report (QUICK=1: small)
	rm -rf $(QUICKSTART_OUTPUT)
	$(VENV)/bin/plora run $(QUICKSTART_CONFIGS) output=$(QUICKSTART_OUTPUT) $(QUICKSTART_OVERRIDES)
	$(VENV)/bin/plora report $(QUICKSTART_OUTPUT) --out $(QUICKSTART_OUTPUT)/report.html

# ---------------------------------------------------------------------- develop

test: $(DEVELOP)  ## Install everything, run the tests that take seconds
	$(PYTEST) -m "not slow and not gpu" $(PYTEST_ARGS)

test-all: $(DEVELOP)  ## Run every test, the slow ones too; what this machine lacks is skipped with its reason
	$(PYTEST) --hypothesis-profile=thorough $(PYTEST_ARGS)

check: $(DEVELOP)  ## Lint, format, types, and a strict build of the documentation
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m benchmarks.render --check
	$(PY) -m benchmarks.features --check
	$(PY) -m benchmarks.odd_input --check
	$(PY) -m benchmarks.attention --check
	$(MKDOCS)

docs: $(DEVELOP)  ## Build the documentation into site/; open site/index.html
	$(MKDOCS)

bench: $(DEVELOP)  ## Time plora against what a user would write today, into committed JSON
	$(PY) -m benchmarks

results: $(DEVELOP)  ## Render every number in README and docs, and the tables made from code and tests
	$(PY) -m benchmarks.render
	$(PY) -m benchmarks.features
	$(PY) -m benchmarks.odd_input
	$(PY) -m benchmarks.attention

clean:  ## Remove caches and build outputs; runs/ and the virtual environment stay
	rm -rf site dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find plora tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------- install

# Some systems have no ensurepip; their own pip can then put one into the environment.
$(PY):
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit(f"plora needs Python 3.11 or newer, {sys.executable} is {v}; use: make PYTHON=python3.11")'
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { $(PYTHON) -m venv --clear --without-pip $(VENV) \
		&& $(PYTHON) -m pip --python $(VENV) install --quiet pip; }

$(USE): EXTRAS = quickstart
$(DEVELOP): EXTRAS = quickstart,hub,images,sweep,lightning,video,docs,dev
$(USE) $(DEVELOP): pyproject.toml constraints.txt | $(PY)
	@echo "installing plora[$(EXTRAS)] into $(VENV); torch is large, the first time takes minutes"
	@$(PIP_INSTALL) -e '.[$(EXTRAS)]'
	@touch $@
