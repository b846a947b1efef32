# make demo   compare plain RecBole with DTL-NS on ml-100k
# make test   lint, types and tests
PYTHON ?= python3
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q

# Threads that wait must not take a core from those that work.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help install demo test lint clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# make/make/p' Makefile

install: $(VENV)/.installed

demo: install
	$(BIN)/recbole-dtlns demo

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.test-tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# RecBole comes last and alone: its own pins (a Ray that does not run on NumPy 2) must not take part.
$(VENV)/.installed: setup.cfg pyproject.toml
	@echo "installing into $(VENV)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --no-warn-conflicts "$(TORCH)"
	$(PIP) install --no-warn-conflicts -e .
	$(PIP) install --no-warn-conflicts --no-deps recbole==1.2.1
	@touch $@

$(VENV)/.test-tools: $(VENV)/.installed
	$(PIP) install --no-warn-conflicts -e ".[test]"
	@touch $@
