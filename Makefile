# Four commands; each works on a fresh machine with Python 3.11 or later, and makes .venv if there is none.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python -m genwerk
SHELL  := /bin/bash

.PHONY: quickstart test lint bench docs clean help
help:
	@echo "make quickstart   all six steps on the Python reference, then a page at http://127.0.0.1:8000"
	@echo "make test         lint, types and every test"
	@echo "make lint         ruff and mypy --strict"
	@echo "make bench        every claim in the README, measured beside its peer"

quickstart: $(VENV)/.core
	$(RUN) quickstart

test: lint
	@scripts/ensure_browser.sh
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/.bench
	$(VENV)/bin/python benchmarks/run.py

docs: $(VENV)/.core
	$(RUN) reference > docs/cli.md

# One stamp per set of extras; it is renewed when the dependencies change.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@ $(VENV)/.core

$(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test,bench]'
	@touch $@ $(VENV)/.core $(VENV)/.test

clean:
	rm -rf $(VENV) build dist *.egg-info
